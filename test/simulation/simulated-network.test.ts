/** Streams keep order and every byte, or say that they broke; faults do what their names say. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Connection, ConnectionHandler } from '../../services/runtime/world.ts'
import type { SimulatedHost, SimulatedProcess, Surroundings } from './simulated-host.ts'
import { host, surroundings, until } from './surroundings.ts'

class Recorder implements ConnectionHandler {
  readonly events: string[] = []
  readonly chunks: Buffer[] = []
  drains = 0
  closed: Error | undefined | 'not yet' = 'not yet'
  onData_: (chunk: Buffer) => void = () => {}
  onOpen(): void {
    this.events.push('open')
  }
  onSecure(): void {
    this.events.push('secure')
  }
  onData(chunk: Buffer): void {
    this.chunks.push(chunk)
    this.onData_(chunk)
  }
  onDrain(): void {
    this.drains++
  }
  onEnd(): void {
    this.events.push('end')
  }
  onClose(error: Error | undefined): void {
    assert.equal(this.closed, 'not yet', 'closed once')
    this.closed = error
    this.events.push(error === undefined ? 'close' : `close ${(error as Error & { code: string }).code}`)
  }
  text(): string {
    return Buffer.concat(this.chunks).toString('latin1')
  }
}

interface Pair {
  around: Surroundings
  machines: { client: SimulatedHost; server: SimulatedHost }
  processes: { client: SimulatedProcess; server: SimulatedProcess }
  client: { connection: Connection; heard: Recorder }
  server: { connection: Connection; heard: Recorder }
}

async function pair(seed: number): Promise<Pair> {
  const around = surroundings(seed)
  const machines = { client: host(around, 'c'), server: host(around, 's') }
  const processes = { client: machines.client.start('client'), server: machines.server.start('server') }
  const heardByServer = new Recorder()
  let accepted: Connection | undefined
  await until(
    around,
    processes.server.world.network.listen({ host: '0.0.0.0', port: 25 }, (connection) => {
      accepted = connection
      return heardByServer
    }),
  )
  const heardByClient = new Recorder()
  const connection = processes.client.world.network.connect({ host: 's', port: 25, timeoutMs: 1000 }, heardByClient)
  assert.deepEqual(heardByClient.events, [], 'never from inside connect')
  await around.time.run(around.time.elapsedMs + 100)
  assert.ok(accepted !== undefined)
  return {
    around,
    machines,
    processes,
    client: { connection, heard: heardByClient },
    server: { connection: accepted, heard: heardByServer },
  }
}

const later = (of: Pair, ms: number): Promise<boolean> => of.around.time.run(of.around.time.elapsedMs + ms)

test('bytes arrive in order, cut anywhere; both ends close cleanly', async () => {
  const cuts = new Set<number>()
  for (let seed = 0; seed < 40; seed++) {
    const both = await pair(seed)
    const sent = Array.from({ length: 200 }, (_, index) => `line ${index}\r\n`)
    for (const line of sent) both.client.connection.write(line)
    both.client.connection.end()
    await later(both, 1000)
    assert.equal(both.server.heard.text(), sent.join(''))
    cuts.add(both.server.heard.chunks.length)
    assert.deepEqual(both.server.heard.events, ['open', 'end'])
    both.server.connection.write('bye')
    both.server.connection.end()
    await later(both, 1000)
    assert.equal(both.client.heard.text(), 'bye')
    assert.deepEqual(both.client.heard.events, ['open', 'end', 'close'])
    assert.deepEqual(both.server.heard.events, ['open', 'end', 'close'])
  }
  assert.ok(cuts.size > 1, 'by some seeds the bytes are cut')
})

test('a paused reader holds the writer back; reading lets it go on', async () => {
  const both = await pair(1)
  both.server.connection.pause()
  const block = Buffer.alloc(50_000, 1)
  let blocks = 0
  while (both.client.connection.write(block)) blocks++
  blocks++
  await later(both, 1000)
  while (both.client.connection.write(block) && blocks < 20) blocks++
  await later(both, 1000)
  assert.equal(both.server.heard.chunks.length, 0)
  assert.ok(blocks < 20)
  both.server.connection.resume()
  await later(both, 1000)
  assert.ok(both.client.heard.drains > 0)
  assert.equal(Buffer.concat(both.server.heard.chunks).length, (blocks + 1) * 50_000)
})

test('nobody listens: ECONNREFUSED; no such host: ENOTFOUND; no power: ETIMEDOUT after the timeout', async () => {
  const around = surroundings(1)
  const client = host(around, 'c').start('client')
  const dark = host(around, 'dark')
  dark.cutPower()
  host(around, 's')
  const tried = ['s', 'nowhere', 'dark'].map((name) => {
    const heard = new Recorder()
    client.world.network.connect({ host: name, port: 9, timeoutMs: 500 }, heard)
    return heard
  })
  await around.time.run(400)
  assert.equal(tried[2]?.closed, 'not yet')
  await around.time.run(1000)
  assert.deepEqual(
    tried.map((heard) => heard.events.join()),
    ['close ECONNREFUSED', 'close ENOTFOUND', 'close ETIMEDOUT'],
  )
})

test('a dead process hears nothing more, and its peer is told', async () => {
  const told = new Set<string>()
  for (let seed = 0; seed < 30; seed++) {
    const both = await pair(seed)
    both.server.connection.write('half')
    both.processes.server.kill()
    await later(both, 100)
    both.client.connection.write('more')
    await later(both, 5000)
    told.add(both.client.heard.events.at(-1) ?? '')
    assert.equal(both.server.heard.closed, 'not yet')
    assert.equal(both.server.heard.chunks.length, 0)
  }
  for (const last of told) assert.match(last, /^close (ECONNRESET|EPIPE)$/)
  assert.equal(told.size, 2)
})

test('a partition stops bytes; when it heals they arrive, or the connection is reset', async () => {
  const ends = new Set<string>()
  for (let seed = 0; seed < 30; seed++) {
    const both = await pair(seed)
    both.around.fabric.cut('c', 's')
    both.client.connection.write('a')
    both.client.connection.write('b')
    await later(both, 10_000)
    both.client.connection.write('c')
    await later(both, 10_000)
    assert.equal(both.server.heard.text(), '')
    both.around.fabric.heal('s', 'c')
    await later(both, 10_000)
    ends.add(`${both.server.heard.text()} ${both.server.heard.events.at(-1)}`)
  }
  assert.deepEqual([...ends].sort(), [' close ECONNRESET', 'abc open'])
})

test('lost acknowledgements: the server hears all, the client nothing, then both learn of the end', async () => {
  const both = await pair(5)
  const link = [...both.around.fabric.links][0]
  assert.ok(link !== undefined)
  both.around.fabric.loseAcknowledgements(link, 2000)
  both.client.connection.write('package')
  both.server.heard.onData_ = () => both.server.connection.write('K')
  await later(both, 1000)
  assert.equal(both.server.heard.text(), 'package')
  assert.equal(both.client.heard.text(), '')
  await later(both, 2000)
  assert.equal(both.client.heard.text(), '')
  assert.deepEqual(both.client.heard.events, ['open', 'close ECONNRESET'])
  assert.deepEqual(both.server.heard.events, ['open', 'close ECONNRESET'])
})

test('a host without power is silent; when it is back, what still talks to it is reset', async () => {
  const both = await pair(6)
  both.machines.server.cutPower()
  both.client.connection.write('anybody?')
  await later(both, 60_000)
  assert.deepEqual(both.client.heard.events, ['open'])
  both.machines.server.powerOn()
  await later(both, 10_000)
  assert.deepEqual(both.client.heard.events, ['open', 'close ECONNRESET'])
})

test('destroy drops the connection at once; the peer sees its end', async () => {
  const both = await pair(7)
  both.client.connection.destroy()
  both.client.connection.destroy()
  await later(both, 100)
  assert.deepEqual(both.client.heard.events, ['open', 'close'])
  assert.equal(both.server.heard.events.at(-1), 'end')
  both.server.connection.write('too late')
  await later(both, 100)
  assert.deepEqual(both.server.heard.events, ['open', 'end', 'close EPIPE'])
})

test('TLS comes up on both ends', async () => {
  const both = await pair(8)
  both.server.connection.startTls('server')
  both.client.connection.startTls({ serverName: 's', verify: false })
  await later(both, 100)
  assert.deepEqual(both.client.heard.events, ['open', 'secure'])
  assert.ok(both.server.connection.secure !== undefined)
})
