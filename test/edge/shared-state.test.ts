/** Two edges and a real redis-server: what one learns of a client counts at the other, and changes need no restart. */

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import type { SharedStateSpec } from '../../services/contract/layout.ts'
import { until } from '../shared-state/clients.ts'
import { RedisServer } from '../support/redis-server.ts'
import { type Cleanup, temporaryDirectory } from '../support/temporary-directory.ts'
import { Client, type RunningEdge, startEdge } from './edge-support.ts'
import { FakeInstance } from './fake-instance.ts'
import { smallLayout, type Variation } from './small-layout.ts'

const text = 'Subject: x\r\n\r\nhello'

/** Patient, for a machine that is busy. */
function at(port: number, more: Partial<SharedStateSpec> = {}): SharedStateSpec {
  return { host: '127.0.0.1', port, database: 0, deadlineMs: 5000, ...more }
}

async function reached(test: Cleanup, variation: Variation, directory?: string): Promise<RunningEdge> {
  const running = await startEdge(test, variation, undefined, directory)
  await until(() => running.edge.state().sharedState?.reached === true)
  return running
}

describe('edges that share their state', { concurrency: true }, () => {
  it('send only the rest of a message that another edge has partly placed, once', async (test) => {
    const redis = await RedisServer.start(test)
    const internal = await FakeInstance.start(test)
    const customer = await FakeInstance.start(test, () => 'Z')
    const variation = { ports: { '00': internal.port, '01': customer.port }, sharedState: at(redis.port) }
    const [one, two] = [await reached(test, variation), await reached(test, variation)]
    const mail = async ({ port }: RunningEdge) => {
      const client = await Client.greeted(test, port)
      return (await client.mail('a@x', ['b@example.com', 'c@customer.example'], text)).last?.code
    }
    assert.equal(await mail(one), 451)
    // The other has heard of it after its next round: two more calls have gone out.
    const calls = two.edge.state().sharedState?.calls ?? 0
    await until(() => (two.edge.state().sharedState?.calls ?? 0) >= calls + 2)
    customer.behaviour = () => 'K'
    assert.equal(await mail(two), 250)
    assert.equal(internal.arrivals.length, 1)
    assert.deepEqual(customer.arrivals.at(-1)?.recipients, ['c@customer.example'])
    assert.equal(await mail(two), 250)
    assert.equal(await mail(one), 250)
    assert.equal(internal.arrivals.length, 3)
  })

  it('count the connections of a client together, and free them', async (test) => {
    const redis = await RedisServer.start(test)
    const variation = { limits: { connectionsPerClientClusterMax: 2 }, sharedState: at(redis.port) }
    const [one, two] = [await reached(test, variation), await reached(test, variation)]
    const greeting = async ({ port }: RunningEdge) => {
      const client = await Client.open(test, port)
      return { client, reply: await client.reply() }
    }
    const first = await greeting(one)
    const second = await greeting(two)
    assert.deepEqual([first.reply?.code, second.reply?.code], [220, 220])
    for (const edge of [one, two]) {
      const { reply } = await greeting(edge)
      assert.deepEqual([reply?.code, reply?.enhanced], [421, '4.7.0'])
      assert.match(reply?.lines[0] ?? '', /too many connections from your network \(#4\.7\.0\)/)
    }
    first.client.destroy()
    for (let code: number | undefined = 0; code !== 220; ) code = (await greeting(two)).reply?.code
  })

  it('count the messages of a network together, and not those of clients that may relay', async (test) => {
    const redis = await RedisServer.start(test)
    const instance = await FakeInstance.start(test)
    const limits = { messagesPerNetworkClusterMax: 3 }
    const variation = { limits, ports: { '00': instance.port }, sharedState: at(redis.port) }
    const [one, two] = [await reached(test, variation), await reached(test, variation)]
    const ours = await reached(test, { ...variation, relayFrom: ['127.0.0.0/8'] })
    const send = async ({ port }: RunningEdge) => {
      const client = await Client.greeted(test, port)
      return await client.mail('a@x', ['b@example.com'], text)
    }
    for (const edge of [one, two, one]) assert.equal((await send(edge)).last?.code, 250)
    for (const edge of [two, one]) assert.deepEqual((await send(edge)).codes, [250, 250, 451])
    assert.equal((await send(ours)).last?.code, 250)
    assert.equal(instance.arrivals.length, 4)
  })

  it('allow each its part while the server is gone, without a wrong reply', async (test) => {
    const instance = await FakeInstance.start(test)
    const limits = { messagesPerNetworkClusterMax: 2, connectionsPerClientClusterMax: 2 }
    const variation = { limits, ports: { '00': instance.port }, sharedState: at(1) }
    const { port, edge } = await startEdge(test, variation)
    const client = await Client.greeted(test, port)
    assert.equal((await client.mail('a@x', ['b@example.com'], text)).last?.code, 250)
    assert.equal((await client.mail('a@x', ['b@example.com'], text)).last?.code, 250)
    assert.deepEqual((await client.mail('a@x', ['b@example.com'], text)).codes.at(-1), 451)
    await Client.greeted(test, port)
    assert.equal((await (await Client.open(test, port)).reply())?.code, 421)
    const status = edge.state().sharedState
    assert.deepEqual([status?.server, status?.reached], ['redis://127.0.0.1:1', false])
  })

  it('go to another server by a new layout, with every session', async (test) => {
    const [first, second] = [await RedisServer.start(test), await RedisServer.start(test)]
    const instance = await FakeInstance.start(test)
    const limits = { messagesPerNetworkClusterMax: 1, connectionsPerClientClusterMax: 5 }
    const variation = { limits, ports: { '00': instance.port }, sharedState: at(first.port) }
    const { edge, port } = await reached(test, variation)
    const client = await Client.greeted(test, port)
    assert.equal((await client.mail('a@x', ['b@example.com'], text)).last?.code, 250)
    assert.deepEqual((await client.mail('a@x', ['b@example.com'], text)).codes.at(-1), 451)
    edge.apply({ ...smallLayout({ ...variation, sharedState: at(second.port) }), epoch: 2 })
    await until(() => edge.state().sharedState?.server.endsWith(String(second.port)) === true)
    await until(() => edge.state().sharedState?.reached === true)
    await client.ask('RSET')
    assert.equal((await client.mail('a@x', ['b@example.com'], text)).last?.code, 250)
    edge.apply({ ...smallLayout({ ...variation, limits: {}, sharedState: at(second.port) }), epoch: 3 })
    assert.equal((await client.mail('a@x', ['b@example.com'], text)).last?.code, 250)
  })

  it('read the password anew for each connection, and never show it', async (test) => {
    const users = ['user default off', 'user qmq on >first-s3cret ~* +@all']
    const redis = await RedisServer.start(test, { users })
    const directory = temporaryDirectory(test)
    writeFileSync(`${directory}/password`, 'wrong-s3cret\n')
    const told: string[] = []
    const tell = (event: string, fields?: object) => told.push(JSON.stringify([event, fields]))
    const log = { debug: tell, info: tell, warn: tell, error: tell }
    const sharedState = at(redis.port, { user: 'qmq', passwordFile: 'password' })
    const { edge } = await startEdge(test, { sharedState }, undefined, directory, log)
    await until(() => /WRONGPASS/.test(edge.state().sharedState?.why ?? ''))
    writeFileSync(`${directory}/password`, 'first-s3cret\n')
    await until(() => edge.state().sharedState?.reached === true)
    const login = { name: 'qmq', password: 'first-s3cret' }
    await redis.command(['ACL', 'SETUSER', 'qmq', 'resetpass', '>second-s3cret'], login)
    writeFileSync(`${directory}/password`, 'second-s3cret\n')
    await redis.command(['CLIENT', 'KILL', 'TYPE', 'normal'], { name: 'qmq', password: 'second-s3cret' })
    await until(() => told.filter((line) => line.includes('shared state reached')).length === 2)
    assert.doesNotMatch(JSON.stringify(edge.state()) + told.join('\n'), /s3cret/)
  })
})
