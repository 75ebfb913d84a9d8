/**
 * Every way a Redis server can be of no use, under mail: nothing acknowledged is lost, no reply is wrong, nobody waits for a server
 * that does not answer, and an edge starts without it.
 */

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { describe, it, type TestContext } from 'node:test'
import type { SharedStateSpec } from '../../services/contract/layout.ts'
import { Client } from '../edge/edge-support.ts'
import { FaultyProxy } from '../support/faulty-proxy.ts'
import { RedisServer } from '../support/redis-server.ts'
import { until } from './clients.ts'
import { MailUnderLoad } from './mail-under-load.ts'

const splitMessages = 4

interface Trouble {
  /** Where edges look for it. */
  readonly port: number
  readonly user?: { readonly name: string; readonly password: string }
  /** Absent: it is so from the start. */
  readonly begin?: () => Promise<unknown>
  /** Absent: it does not end. */
  readonly end?: () => Promise<unknown>
}

type Prepare = (test: TestContext) => Promise<Trouble>

async function throughProxy(test: TestContext): Promise<FaultyProxy> {
  return FaultyProxy.start(test, (await RedisServer.start(test)).port)
}

const troubles: Readonly<Record<string, Prepare>> = {
  'is down from the start': async () => ({ port: 1 }),
  'is killed': async (test) => {
    const server = await RedisServer.start(test)
    return { port: server.port, begin: () => server.kill(), end: () => server.restart() }
  },
  'stands still': async (test) => {
    const server = await RedisServer.start(test)
    return { port: server.port, begin: async () => server.freeze(), end: async () => server.thaw() }
  },
  'is slower than the deadline': async (test) => {
    const proxy = await throughProxy(test)
    const late = async (lateMs: number) => {
      proxy.mode = { kind: 'pass', lateMs }
    }
    return { port: proxy.port, begin: () => late(700), end: () => late(0) }
  },
  'answers nonsense': async (test) => {
    const proxy = await throughProxy(test)
    const begin = async () => {
      proxy.mode = { kind: 'nonsense' }
    }
    const end = async () => {
      proxy.mode = { kind: 'pass', lateMs: 0 }
    }
    return { port: proxy.port, begin, end }
  },
  'takes another password': async (test) => {
    const { port } = await RedisServer.start(test, { users: ['user default off', 'user qmq on >right ~* +@all'] })
    return { port, user: { name: 'qmq', password: 'wrong' } }
  },
  'becomes a replica that only reads': async (test) => {
    const server = await RedisServer.start(test)
    return {
      port: server.port,
      begin: () => server.command(['REPLICAOF', '127.0.0.1', '1']),
      end: () => server.command(['REPLICAOF', 'NO', 'ONE']),
    }
  },
  'has no memory left': async (test) => {
    const server = await RedisServer.start(test)
    return {
      port: server.port,
      begin: () => server.command(['CONFIG', 'SET', 'maxmemory', '1']),
      end: () => server.command(['CONFIG', 'SET', 'maxmemory', '0']),
    }
  },
}

describe('mail, when the server of the shared state', () => {
  for (const [name, prepare] of Object.entries(troubles)) it(name, async (test) => carries(test, await prepare(test)))
})

async function carries(test: TestContext, { port, user, begin, end }: Trouble): Promise<void> {
  const login = user === undefined ? {} : { user: user.name, passwordFile: 'password' }
  const spec: SharedStateSpec = { host: '127.0.0.1', port, database: 0, deadlineMs: 300, ...login }
  const mail = await MailUnderLoad.start(test, [spec])
  if (user !== undefined) writeFileSync(`${mail.directory}/password`, user.password)
  const status = () => mail.edges[0]?.state().sharedState
  if (begin !== undefined) await until(() => status()?.reached === true)
  mail.load(splitMessages)
  await mail.more(60)
  await begin?.()
  await mail.more(100)
  await until(() => status()?.reached === false)
  await mail.more(40)
  assert.ok((status()?.unanswered ?? 0) > 0, 'the trouble was noticed')
  await mail.stop()
  await mail.restartEdges()
  const again = mail.acknowledged.length
  await afterRestart(mail)
  assert.ok(mail.acknowledged.length > again)
  if (end !== undefined) {
    await end()
    await until(() => status()?.reached === true, 30_000)
  }
  assert.deepEqual(mail.wrong, [])
  const copies = mail.copies()
  for (const id of mail.acknowledged) assert.equal(copies.get(id), 1, id)
  // One more of each split message: its first recipient's, however often it was tried.
  assert.equal(mail.audit.queued - mail.acknowledged.length, splitMessages)
  test.diagnostic(`${mail.replies} replies, slowest ${Math.round(mail.slowestMs)} ms`)
}

/** An edge that has never reached the server takes mail like any other. */
async function afterRestart(mail: MailUnderLoad): Promise<void> {
  const port = mail.edges[0]?.state().listeners[0]?.port ?? 0
  const cleanup: (() => void | Promise<void>)[] = []
  const client = await Client.greeted({ after: (task) => cleanup.push(task) }, port)
  const { last } = await client.mail('a@x', ['b@example.com'], 'Subject: after the restart\r\n\r\nhello')
  if (last?.code === 250) mail.acknowledged.push(last.lines[0]?.split(' ').at(-1) ?? '')
  for (const task of cleanup) await task()
}
