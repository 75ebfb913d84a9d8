/** The contract suite over every channel of the embedded back end, and what only channels can do: break. */

import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import fc from 'fast-check'
import type { Change } from '../../services/contract/coordination.ts'
import { EmbeddedCoordination } from '../../services/runtime/embedded-coordination.ts'
import { EmbeddedHub } from '../../services/runtime/embedded-hub.ts'
import { childChannel } from '../../services/runtime/embedded-ipc.ts'
import type { HubChannel } from '../../services/runtime/embedded-message.ts'
import { dialHub, listenForClients } from '../../services/runtime/embedded-socket.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'
import { coordinationContract, eventually, type OpenBackEnd } from './contract.ts'
import { embeddedPair } from './embedded-pair.ts'
import { leaseContract } from './lease-contract.ts'

const clock = new SystemClock()

function inProcess(hub: EmbeddedHub): EmbeddedCoordination {
  const dial = () => {
    const pair = embeddedPair()
    hub.attach(pair.hub)
    return pair.client
  }
  return new EmbeddedCoordination({ clock, dial })
}

function temporaryDirectory(t?: TestContext): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'qmq-hub-'))
  t?.after(() => fs.rmSync(directory, { recursive: true }))
  return directory
}

const openPair: OpenBackEnd = async (lifetimes) => {
  const hub = new EmbeddedHub(clock, lifetimes)
  return { one: inProcess(hub), two: inProcess(hub), close: async () => hub.close() }
}
coordinationContract('a pair inside one process', openPair)
leaseContract('a pair inside one process', openPair)

coordinationContract('a Unix socket', async () => {
  const hub = new EmbeddedHub(clock)
  const directory = temporaryDirectory()
  const file = path.join(directory, 'qmq.sock')
  const listener = await listenForClients(file, (channel) => hub.attach(channel))
  assert.equal(fs.statSync(file).mode & 0o777, 0o600)
  const dial = () => dialHub(file)
  const [one, two] = [new EmbeddedCoordination({ clock, dial }), new EmbeddedCoordination({ clock, dial })]
  const close = async () => {
    one.close()
    two.close()
    hub.close()
    await listener.close()
    fs.rmSync(directory, { recursive: true })
  }
  return { one, two, close }
})

describe('embedded coordination over a process boundary', () => {
  it('a child serves, writes and watches over IPC; its end ends its services', async () => {
    const hub = new EmbeddedHub(clock)
    const child = fork(path.join(import.meta.dirname, 'ipc-child.ts'))
    hub.attach(childChannel(child))
    const one = inProcess(hub)
    const states: Change[] = []
    one.watch('state/', (change) => states.push(change))
    await eventually(() => states[0])
    assert.deepEqual(await one.request('child.double', 21, 5_000), { kind: 'reply', value: 42 })
    assert.deepEqual(await one.request('child.put', ['x'], 5_000), { kind: 'reply', value: 'written' })
    assert.deepEqual((await one.get('from/child'))?.value, ['x'])
    await one.put('from/parent', 'a')
    await one.delete('from/parent')
    assert.deepEqual(await one.request('child.seen', null, 5_000), { kind: 'reply', value: ['a', 'gone'] })
    child.kill('SIGKILL')
    await new Promise((resolve) => child.once('exit', resolve))
    await eventually(() => (hub.store.get('state/child') === undefined ? undefined : true))
    assert.deepEqual(await one.request('child.double', 21, 5_000), { kind: 'no-responder' })
  })
})

describe('embedded coordination that breaks', () => {
  it('a client that redials takes up its watches and services on the next hub', async (t) => {
    const file = path.join(temporaryDirectory(t), 'qmq.sock')
    const open = async (key: string, value: string) => {
      const hub = new EmbeddedHub(clock)
      hub.store.put(key, value)
      const listener = await listenForClients(file, (channel) => hub.attach(channel))
      return { hub, listener }
    }
    const first = await open('state/00', 'first')
    const lost: string[] = []
    const client = new EmbeddedCoordination({
      clock,
      dial: () => dialHub(file),
      redialMs: 10,
      onLost: (why) => lost.push(why),
    })
    const seen: string[] = []
    client.watch('state/', (change) => seen.push(`${change.key} ${change.entry?.value ?? 'gone'}`))
    client.serve('echo', async (value) => value)
    await client.put('state/01', 'mine')
    await eventually(() => seen[1])
    first.hub.close()
    await first.listener.close()
    await eventually(() => lost[0])
    assert.deepEqual(await client.put('state/01', 'nowhere'), { kind: 'unreachable' })
    const second = await open('state/01', 'theirs')
    await eventually(() => seen[3])
    assert.deepEqual(seen.slice(2), ['state/00 gone', 'state/01 theirs'])
    const asker = inProcess(second.hub)
    assert.deepEqual(await asker.request('echo', 'still here', 5_000), { kind: 'reply', value: 'still here' })
    client.close()
    second.hub.close()
    await second.listener.close()
  })

  it('a peer of another version is refused in words', async () => {
    const hub = new EmbeddedHub(clock)
    const pair = embeddedPair()
    hub.attach(pair.hub)
    const heard: unknown[] = []
    const ended = new Promise<void>((resolve) => pair.client.open((message) => heard.push(message), resolve))
    pair.client.send({ kind: 'hello', version: 99 })
    pair.client.send({ kind: 'call', number: 1, call: { op: 'put', key: 'state/00', value: 1 } })
    await ended
    assert.deepEqual(heard, [{ kind: 'refused', why: 'this cluster speaks version 1 of coordination, not 99' }])
    assert.equal(hub.store.get('state/00'), undefined)
  })

  it('bytes that are no messages close the connection and nothing else', async (t) => {
    const file = path.join(temporaryDirectory(t), 'qmq.sock')
    const hub = new EmbeddedHub(clock)
    const listener = await listenForClients(file, (channel) => hub.attach(channel))
    const known = '{"kind":"hello","version":1}\n'
    const wrong = [
      ...['{"kind":"call"}', '{"kind":"call","number":1,"call":null}', '{"kind":"watch","number":1}', '[]'],
      '{"kind":"request","number":1,"subject":"a","value":1,"timeoutMs":1e99}',
      '{"kind":"answer","ask":1}',
    ]
    for (const bytes of ['not json\n', '42\n', '{}\n', ...wrong.map((line) => `${known}${line}\n`)]) {
      const socket = net.connect(file)
      socket.resume()
      socket.write(bytes)
      await new Promise((resolve) => socket.once('close', resolve))
    }
    const client = new EmbeddedCoordination({ clock, dial: () => dialHub(file) })
    assert.equal((await client.put('key', 1)).kind, 'written')
    client.close()
    hub.close()
    await listener.close()
  })

  it('no JSON of a client makes the hub throw, and the others go on', async () => {
    const word = fc.constantFrom('hello', 'call', 'watch', 'subscribe', 'serve', 'stop', 'request', 'publish', 'answer')
    const op = fc.constantFrom('get', 'list', 'create', 'update', 'put', 'delete', 'now')
    const some = <Value>(value: fc.Arbitrary<Value>) => fc.oneof(value, fc.jsonValue())
    const keys = { key: some(fc.constant('state/00')), prefix: some(fc.constant('state/')), value: fc.jsonValue() }
    const call = fc.record({ op, ...keys, revision: some(fc.nat()) }, { requiredKeys: ['op'] })
    const parts = {
      ...{ kind: word, version: some(fc.constant(1)), number: some(fc.nat(3)), ask: some(fc.nat(3)) },
      ...{ call: some(call), prefix: keys.prefix, subject: some(fc.constant('echo')), value: fc.jsonValue() },
      ...{ timeoutMs: some(fc.nat(10)), result: some(fc.record({ kind: fc.constantFrom('reply', 'timeout') })) },
    }
    const message = fc.oneof(fc.jsonValue(), fc.record(parts, { requiredKeys: ['kind'] }))
    const hub = new EmbeddedHub(clock)
    const bystander = inProcess(hub)
    await bystander.put('layout', 'kept')
    let refused = 0
    let listening = 0
    fc.assert(
      fc.property(fc.array(message, { maxLength: 10 }), (messages) => {
        let hear: (value: unknown) => void = () => assert.fail('not opened')
        let closed = () => {}
        const channel: HubChannel = {
          send: (sent) => void (sent.kind === 'refused' && refused++),
          open: (heard, whenClosed) => ([hear, closed] = [heard, whenClosed]),
          close: () => {},
        }
        hub.attach(channel)
        hear({ kind: 'hello', version: 1 })
        for (const one of messages) hear(one)
        if (messages.length > 0) listening++
        closed()
      }),
      { numRuns: 2000 },
    )
    assert.ok(refused > 100 && listening > 100, `${refused} of ${listening} refused`)
    assert.equal((await bystander.get('layout'))?.value, 'kept')
    assert.equal((await bystander.put('state/99', 1)).kind, 'written')
    hub.close()
  })

  it('a client that does not read keeps no hub from closing', { timeout: 10_000 }, async (t) => {
    const file = path.join(temporaryDirectory(t), 'qmq.sock')
    const hub = new EmbeddedHub(clock)
    for (let number = 0; number < 20; number++) hub.store.put(`big/${number}`, 'x'.repeat(1_000_000))
    const listener = await listenForClients(file, (channel) => hub.attach(channel))
    const socket = net.connect(file)
    t.after(() => socket.destroy())
    socket.pause()
    socket.write('{"kind":"hello","version":1}\n{"kind":"call","number":1,"call":{"op":"list","prefix":"big/"}}\n')
    await eventually(() => (socket.bytesWritten > 80 ? true : undefined))
    const client = new EmbeddedCoordination({ clock, dial: () => dialHub(file) })
    assert.equal((await client.put('key', 1)).kind, 'written')
    hub.close()
    await listener.close()
  })

  it('a path too long for a socket is refused in words', async () => {
    const file = path.join(os.tmpdir(), 'x'.repeat(200), 'qmq.sock')
    assert.throws(() => dialHub(file), /too long for a socket: .* choose a shorter --state/)
  })

  it('a full store takes no new key, and still the old ones', () => {
    const hub = new EmbeddedHub(clock)
    for (let number = 0; number < 10_000; number++) hub.store.put(`key/${number}`, number)
    assert.deepEqual(hub.store.put('one/more', 1), { kind: 'conflict' })
    assert.equal(hub.store.put('key/7', 'again').kind, 'written')
  })
})
