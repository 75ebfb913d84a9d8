/** `qmq redis acl` against a real redis-server: the user it makes can do all that edges do, and nothing else. */

import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { it } from 'node:test'
import type { SharedState } from '../../services/contract/shared-state.ts'
import { scriptCommands } from '../../services/runtime/redis-scripts.ts'
import { run } from '../support/child.ts'
import { RedisServer } from '../support/redis-server.ts'
import { type Cleanup, temporaryDirectory } from '../support/temporary-directory.ts'
import { known, reachedClient } from './clients.ts'

const program = new URL('../../services/cli/qmq.js', import.meta.url).pathname
const password = 'a-s3cret'

/** What the command prints for a server at `database`. */
async function acl(test: Cleanup, database: number): Promise<string> {
  const directory = temporaryDirectory(test)
  mkdirSync(`${directory}/state`)
  writeFileSync(`${directory}/state/redis-password`, `${password}\n`)
  const conf = `version: 1
cluster: mail.example.com
shared-state: { server: "redis://127.0.0.1/${database}", user: qmq, password-file: redis-password }
edge: { listen: { smtp: 2525 } }
pools:
  INTERNAL: { ids: 00, role: internal, domains: [example.com] }
  BOUNCES: { ids: 90, role: bounce }
`
  writeFileSync(`${directory}/conf-qmq`, conf)
  const { code, stdout, stderr } = await run(process.execPath, [
    program,
    'redis',
    'acl',
    '--conf',
    `${directory}/conf-qmq`,
  ])
  assert.deepEqual([code, stderr], [0, ''])
  assert.doesNotMatch(stdout, /s3cret/)
  return stdout.trim()
}

async function everyCall(state: SharedState): Promise<void> {
  state.freeSlot({ name: 's', slotsMax: 5, ttlMs: 60_000 }, 'x', 'nobody')
  await known((answered) => state.takeRate({ name: 'r', events: 5, perMs: 60_000 }, 'x', 1, answered))
  const terms = { name: 's', slotsMax: 5, ttlMs: 60_000 }
  await known((answered) => state.takeSlot(terms, 'x', 'h', answered))
  await known((answered) => state.keepSlot(terms, 'x', 'h', answered))
  state.freeSlot(terms, 'x', 'h')
  const triplet = { network: 'n', sender: '', recipient: '' }
  await known((answered) => state.greylist({ delayMs: 1, retryMs: 60_000, keepMs: 9 }, triplet, answered))
  const more = { good: 1, bad: 1 }
  await known((answered) => state.addReputation({ name: 'c', halfLifeMs: 60_000 }, 'x', more, answered))
  await known((answered) => state.keepContents(['x'], 60_000, answered))
  await known((answered) => state.takeContents(['x'], answered))
  await known((answered) => state.noteHints(['x'], 60_000, answered))
  await known((answered) => state.hintsSince(0, answered))
}

for (const database of [0, 3]) {
  it(`serves edges in database ${database}, and no other key or command`, async (test) => {
    const users = ['user default on nopass ~* &* +@all', await acl(test, database)]
    const redis = await RedisServer.start(test, { users })
    const access = async () => ({ host: '127.0.0.1', port: redis.port, database, user: 'qmq', password })
    await everyCall(await reachedClient(test, redis.port, { access }))
    const login = { name: 'qmq', password }
    const key = 'qmq:{mail.example.com}:x'
    const refusals: readonly (readonly string[])[] = [
      ['GET', 'other'],
      ['SET', 'qmq:{other.example.com}:x', '1'],
      ['EVAL', "return redis.call('GET', 'qmq:x')", '0'],
      ['EVAL', "return redis.call('GET', KEYS[1])", '1', 'qmq:{mail.example.co}:x'],
      ['EVAL', "return redis.call('KEYS', '*')", '0'],
      ...['KEYS *', 'FLUSHALL', 'CONFIG GET *', 'ACL LIST', 'SCAN 0', 'SHUTDOWN'].map((line) => line.split(' ')),
      ...(database === 0 ? [['SELECT', '3']] : []),
      ['RENAME', key, `${key}y`],
    ]
    for (const words of refusals)
      assert.match(await redis.command(words, login), /NOPERM|can't (run|access)|no permissions/i, words.join(' '))
    assert.equal(await redis.command(['SET', key, '1'], login), 'OK')
    // Each command it may run is one that edges need: without it the server has something to refuse.
    const state = await reachedClient(test, redis.port, { access })
    for (const command of scriptCommands) {
      await redis.command(['ACL', 'SETUSER', 'qmq', `-${command}`])
      for (const words of ['SCRIPT FLUSH', 'FLUSHALL', 'ACL LOG RESET']) await redis.command(words.split(' '))
      for (let refused = '', round = 0; !refused.split('\n').includes(command); round++) {
        assert.ok(round < 100, `nothing needs ${command}`)
        await everyCall(state).catch(() => {})
        refused = await redis.command(['ACL', 'LOG'])
      }
      await redis.command(['ACL', 'SETUSER', 'qmq', `+${command}`])
    }
  })
}
