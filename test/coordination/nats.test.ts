/** The contract suite against a real nats-server, and what happens to clients when that server dies, freezes or forgets. */

import assert from 'node:assert/strict'
import { cpSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import type { Coordination, Json, WriteResult } from '../../services/contract/coordination.ts'
import { NatsCoordination, type NatsCoordinationParts } from '../../services/runtime/nats-coordination.ts'
import { NatsLink } from '../../services/runtime/nats-link.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'
import { SystemRandom } from '../../services/runtime/system-random.ts'
import { Child } from '../support/child.ts'
import { NatsServer, natsPrograms } from '../support/nats-server.ts'
import { AilingStore } from './ailing-store.ts'
import { coordinationContract, eventually, type OpenBackEnd } from './contract.ts'
import { leaseContract } from './lease-contract.ts'

const clock = new SystemClock()
const random = new SystemRandom()
let clients = 0

function connect(server: { readonly address: string }, more: Partial<NatsCoordinationParts> = {}): NatsCoordination {
  return new NatsCoordination({
    clock,
    random,
    servers: [server.address],
    authentication: async () => ({ kind: 'none' }),
    client: `test${++clients}`,
    makesBuckets: true,
    ...more,
  })
}

async function startServer(t: TestContext): Promise<NatsServer> {
  const server = await NatsServer.start()
  t.after(() => server.remove())
  return server
}

const pause = (delayMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, delayMs))

/** Tries until the store takes it. */
async function putUntilTaken(coordination: Coordination, key: string, value: Json): Promise<WriteResult> {
  for (;;) {
    const result = await coordination.put(key, value)
    if (result.kind !== 'unreachable') return result
    await pause(20)
  }
}

for (const { name, path: program } of natsPrograms()) {
  describe(`with one ${name} for the suite`, () => {
    let server: NatsServer
    before(async () => {
      server = await NatsServer.start({ program })
    })
    after(() => server.remove())

    const open: OpenBackEnd = async (lifetimes) => {
      const more = lifetimes === undefined ? {} : { lifetimes, pollMs: 50 }
      const [one, two] = [connect(server, more), connect(server, more)]
      for (const entry of await one.list('')) await one.delete(entry.key)
      const close = async () => {
        one.close()
        two.close()
        await pause(10)
      }
      return { one, two, close }
    }
    coordinationContract(name, open)
    leaseContract(name, open)
  })
}

describe('coordination by NATS, in detail', () => {
  it('an answer longer than a message arrives whole, one past the limit is refused', async (t) => {
    const server = await startServer(t)
    const [one, two] = [connect(server), connect(server)]
    const long = Array.from({ length: 300_000 }, (_, index) => `line ${index}`)
    one.serve('long', async () => long)
    one.serve('endless', async () => 'x'.repeat(17 * 1024 * 1024))
    await one.now()
    const result = await two.request('long', null, 10_000)
    assert.equal(result.kind, 'reply')
    assert.deepEqual(result.kind === 'reply' && result.value, long)
    assert.deepEqual(await two.request('endless', null, 10_000), { kind: 'refused', why: 'the answer is too long' })
    one.close()
    two.close()
  })

  it('a record as long as a message may be is read whole', async (t) => {
    const server = await startServer(t)
    const one = connect(server)
    const value = 'ä'.repeat(524_000)
    assert.equal((await one.put('layout', value)).kind, 'written')
    assert.equal((await one.get('layout'))?.value, value)
    assert.equal((await one.put('layout', value + value)).kind, 'unreachable')
    assert.equal((await one.get('layout'))?.value, value)
    one.close()
  })

  it('no key becomes a wildcard or another key', async (t) => {
    const server = await startServer(t)
    const one = connect(server)
    const keys = ['*', '>', 'a.b', 'a/b', 'a/=2e', 'a/*', 'a b', 'ä/\u{1f4ec}', 'line\r\nPUB x', '__proto__', 'a/=']
    for (const [index, key] of keys.entries()) assert.equal((await one.put(key, index)).kind, 'written', key)
    const entries = await one.list('')
    assert.deepEqual(
      entries.map(({ key, value }) => [key, value]),
      keys.map((key, index) => [key, index]).sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)),
    )
    await one.delete('*')
    assert.equal((await one.list('')).length, keys.length - 1)
    one.close()
  })

  it('a lease vanishes after its lifetime and its watchers are told, although the server tells nothing', async (t) => {
    const server = await startServer(t)
    const lifetimes = { leaseMs: 400, stateMs: 60_000 }
    const [one, two] = [connect(server, { lifetimes, pollMs: 50 }), connect(server, { lifetimes, pollMs: 50 })]
    const seen: string[] = []
    two.watch('lease/', ({ key, entry }) => seen.push(`${key} ${entry?.value ?? 'gone'}`))
    const first = await one.create('lease/leader', 'one')
    assert.equal(first.kind, 'written')
    const startedAt = performance.now()
    assert.deepEqual(await two.create('lease/leader', 'two'), { kind: 'conflict' })
    await eventually(() => seen[1])
    assert.ok(performance.now() - startedAt >= 350, 'it lived for its lifetime')
    assert.deepEqual(seen, ['lease/leader one', 'lease/leader gone'])
    const second = await two.create('lease/leader', 'two')
    assert.ok(second.kind === 'written' && first.kind === 'written' && second.revision > first.revision)
    assert.deepEqual(await one.update('lease/leader', 'one', first.revision), { kind: 'conflict' })
    one.close()
    two.close()
  })

  it('a killed server of a subject is missed at the next request, and the one before it answers', async (t) => {
    const server = await startServer(t)
    const one = connect(server)
    one.serve('who', async () => 'one')
    await one.now()
    const child = new Child(process.execPath, [path.join(import.meta.dirname, 'nats-child.ts'), server.address])
    await child.until(({ stdout }) => (stdout.includes('ready') ? true : undefined))
    const two = connect(server)
    assert.deepEqual(await two.request('who', null, 5_000), { kind: 'reply', value: 'child' })
    child.process.kill('SIGKILL')
    await child.finished
    assert.deepEqual(await two.request('who', null, 5_000), { kind: 'reply', value: 'one' })
    assert.deepEqual(await two.request('who', null, 5_000), { kind: 'reply', value: 'one' })
    one.close()
    two.close()
  })
})

describe('a nats-server that is not well', () => {
  it('absent at the start: calls answer at once that it is; everything is taken up when it comes', async (t) => {
    const server = await NatsServer.prepare()
    t.after(() => server.remove())
    const links: (string | undefined)[] = []
    const one = connect(server, { reconnectMsMax: 50, onLink: (problem) => links.push(problem) })
    const seen: string[] = []
    one.watch('state/', ({ key, entry }) => seen.push(`${key} ${entry?.value ?? 'gone'}`))
    one.serve('echo', async (value) => value)
    assert.deepEqual(await one.put('state/00', 1), { kind: 'unreachable' })
    await assert.rejects(one.get('state/00'), /cannot be reached/)
    await assert.rejects(one.list('state/'), /cannot be reached/)
    assert.deepEqual(await one.request('echo', 1, 5_000), { kind: 'no-responder' })
    await server.start()
    assert.equal((await putUntilTaken(one, 'state/00', 2)).kind, 'written')
    await eventually(() => seen[0])
    assert.deepEqual(seen, ['state/00 2'])
    const two = connect(server)
    assert.deepEqual(await two.request('echo', 'heard', 5_000), { kind: 'reply', value: 'heard' })
    assert.match(links[0] ?? '', /REFUSED/)
    assert.equal(links.at(-1), undefined)
    one.close()
    two.close()
  })

  it('killed and started again: nothing hangs meanwhile, records and watches are there again', async (t) => {
    const server = await startServer(t)
    const [one, two] = [connect(server, { reconnectMsMax: 50 }), connect(server, { reconnectMsMax: 50 })]
    const seen: string[] = []
    two.watch('layout', ({ entry }) => seen.push(String(entry?.value ?? 'gone')))
    const first = await one.put('layout', 'first')
    await eventually(() => seen[0])
    for (let round = 0; round < 3; round++) {
      await server.kill()
      for (;;) {
        const startedAt = performance.now()
        const result = await one.put('layout', `lost ${round}`)
        assert.ok(performance.now() - startedAt < 2_500)
        if (result.kind === 'unreachable') break
        await pause(1)
      }
      await server.start()
      assert.equal((await putUntilTaken(one, 'layout', round)).kind, 'written')
      await eventually(() => (seen.at(-1) === String(round) ? true : undefined))
    }
    assert.equal(seen.includes('gone'), false)
    const last = await two.get('layout')
    assert.ok(last !== undefined && first.kind === 'written' && last.revision > first.revision)
    one.close()
    two.close()
  })

  it('wiped: an empty store, whose revisions are above all earlier ones; an old revision changes nothing in it', async (t) => {
    const server = await startServer(t)
    const [one, two] = [connect(server, { reconnectMsMax: 50 }), connect(server, { reconnectMsMax: 50, pollMs: 50 })]
    const seen: string[] = []
    two.watch('layout', ({ entry }) => seen.push(String(entry?.value ?? 'gone')))
    const mine = await one.create('layout', 'mine')
    await eventually(() => seen[0])
    await server.kill()
    server.wipe()
    await pause(1_000)
    await server.start()
    await eventually(() => (seen.includes('gone') ? true : undefined))
    const theirs = await two.create('layout', 'theirs')
    assert.ok(mine.kind === 'written' && theirs.kind === 'written')
    assert.ok(theirs.revision > mine.revision, `${theirs.revision} after ${mine.revision}`)
    // The bare sequence is the same: only what it is counted on from tells the stores apart.
    let late: WriteResult = { kind: 'unreachable' }
    for (; late.kind === 'unreachable'; await pause(10)) late = await one.update('layout', 'stale', mine.revision)
    assert.deepEqual(late, { kind: 'conflict' })
    assert.equal((await two.get('layout'))?.value, 'theirs')
    one.close()
    two.close()
  })

  it('gone back to an earlier copy: watchers hear what is written under revisions that were given before', async (t) => {
    const server = await startServer(t)
    const [one, two] = [connect(server, { reconnectMsMax: 50 }), connect(server, { reconnectMsMax: 50, pollMs: 50 })]
    const seen: unknown[] = []
    const hasSeen = (value: string) => eventually(() => (seen.at(-1) === value ? true : undefined))
    await one.create('layout', 'first')
    await server.kill()
    const copy = `${server.directory}/copy`
    cpSync(server.storeDirectory, copy, { recursive: true })
    await server.start()
    two.watch('layout', ({ entry }) => seen.push(entry?.value))
    for (const value of ['second', 'third', 'last']) await putUntilTaken(one, 'layout', value)
    await hasSeen('last')
    const { revision = 0 } = (await one.get('layout')) ?? {}
    await server.kill()
    server.wipe()
    cpSync(copy, server.storeDirectory, { recursive: true })
    await server.start()
    await hasSeen('first')
    const again = await putUntilTaken(one, 'layout', 'another')
    assert.ok(again.kind === 'written' && again.revision < revision, 'it counts on from where it was')
    await hasSeen('another')
    one.close()
    two.close()
  })

  it('a bucket that no server leads is made anew where all servers are there, and waited for where one is missing or lags', async (t) => {
    const store = await AilingStore.start(t)
    const one = connect(store, { pollMs: 20, ailingMsMax: 200, callTimeoutMs: 500 })
    await eventually(() => (store.count('CREATE') === 3 ? true : undefined))
    for (const look of ['incomplete', 'lagging'] as const) {
      store.ailment = { stream: 'KV_qmq-leases', look }
      await pause(400)
      assert.equal(store.count('DELETE'), 0, look)
    }
    store.ailment = { stream: 'KV_qmq-records', look: 'headless' }
    await pause(100)
    assert.equal(store.count('DELETE'), 0, 'it may yet elect one')
    await eventually(() => (store.count('CREATE') === 4 ? true : undefined))
    assert.deepEqual(store.asked.slice(-2), ['DELETE.KV_qmq-records', 'CREATE.KV_qmq-records'])
    await pause(100)
    assert.equal(store.count('DELETE'), 1)
    one.close()
  })

  it('a bucket that is led and answers no write is made anew where all servers are there', async (t) => {
    const store = await AilingStore.start(t)
    const one = connect(store, { pollMs: 20, ailingMsMax: 200, callTimeoutMs: 500 })
    await eventually(() => (store.count('CREATE') === 3 ? true : undefined))
    store.ailment = { stream: 'KV_qmq-records', look: 'incomplete' }
    const tooLong = 'x'.repeat(2 * 1024 * 1024)
    const write = async (forMs: number) => {
      for (const end = performance.now() + forMs; performance.now() < end; await pause(20)) await one.put('layout', 1)
    }
    await write(400)
    assert.equal(store.count('DELETE'), 0, 'a server is away')
    store.ailment = undefined
    for (const end = performance.now() + 400; performance.now() < end; await pause(20)) {
      assert.equal((await one.put('layout', tooLong)).kind, 'unreachable')
    }
    assert.equal(store.count('DELETE'), 0, 'what is longer than a message was not even sent')
    await write(100)
    assert.equal(store.count('DELETE'), 0, 'it may yet recover')
    await write(300)
    assert.equal(store.asked.filter((words) => words === 'DELETE.KV_qmq-records').length, store.count('DELETE'))
    assert.ok(store.count('DELETE') > 0)
    one.close()
  })

  it('a bucket that is deleted is made again by whoever makes buckets, for those who may not', async (t) => {
    const server = await startServer(t)
    const keeper = connect(server, { pollMs: 50 })
    const tier = connect(server, { makesBuckets: false, pollMs: 50 })
    await keeper.now()
    assert.equal((await putUntilTaken(tier, 'state/00', 1)).kind, 'written')
    const link = await NatsLink.open({
      ...{ servers: [server.address], authentication: { kind: 'none' }, name: 'x', inboxPrefix: 'x' },
      ...{ timeoutMs: 5_000, onProblem: () => {} },
    })
    link.publish('$JS.API.STREAM.DELETE.KV_qmq-states', Buffer.alloc(0))
    await link.close()
    // Its own memory of the bucket may outlive it by one call.
    for (let entry = 0; entry < 2; entry++) assert.equal((await putUntilTaken(tier, 'state/00', 2)).kind, 'written')
    assert.equal((await tier.get('state/00'))?.value, 2)
    keeper.close()
    tier.close()
  })

  it('frozen: calls end in their time, and go on after the thaw', async (t) => {
    const server = await startServer(t)
    const one = connect(server, { callTimeoutMs: 150, reconnectMsMax: 50 })
    assert.equal((await one.put('state/00', 1)).kind, 'written')
    server.freeze()
    const startedAt = performance.now()
    assert.deepEqual(await one.put('state/00', 2), { kind: 'unreachable' })
    await assert.rejects(one.get('state/00'), /cannot be reached/)
    assert.deepEqual(await one.request('nobody', null, 100), { kind: 'timeout' })
    assert.ok(performance.now() - startedAt < 2_000)
    server.thaw()
    assert.equal((await putUntilTaken(one, 'state/00', 3)).kind, 'written')
    assert.equal((await one.get('state/00'))?.value, 3)
    one.close()
  })

  it('garbage instead of a server: no harm, no end of trying', async (t) => {
    let connections = 0
    const says = ['SSH-2.0-OpenSSH\r\n', 'INFO {"server_id":\r\n', 'INFO {}\r\nMSG x 1 99999999999\r\n', '\0\r\n', '']
    const garbage = net.createServer((socket) => {
      const words = says[connections++ % says.length] ?? ''
      socket.on('error', () => {})
      socket.write(Buffer.concat([Buffer.from(words), random.bytes(words === '' ? 0 : 300)]))
      if (words === '') socket.end()
    })
    await new Promise<void>((resolve) => garbage.listen(0, '127.0.0.1', resolve))
    t.after(() => garbage.close())
    const { port } = garbage.address() as net.AddressInfo
    const one = connect({ address: `127.0.0.1:${port}` }, { callTimeoutMs: 100, reconnectMsMax: 20 })
    while (connections < 2 * says.length) {
      assert.deepEqual(await one.put('state/00', 1), { kind: 'unreachable' })
      await assert.rejects(one.get('state/00'), /cannot be reached/)
      await pause(10)
    }
    one.close()
  })
})
