import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { describe, it } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { Edge } from '../../services/edge/edge.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import type { Connection, ConnectionHandler } from '../../services/runtime/world.ts'
import { certificate } from '../support/certificate.ts'
import type { Cleanup } from '../support/temporary-directory.ts'
import { Client, eventually, startEdge } from './edge-support.ts'
import { FakeInstance } from './fake-instance.ts'
import { smallLayout } from './small-layout.ts'

const text = 'Subject: x\r\n\r\nhello'

/** A client that connects and says nothing; `closed` once the edge has dropped it. */
function silentClient(test: Cleanup, port: number): { readonly socket: Socket; closed: boolean } {
  const client = { socket: connect(port, '127.0.0.1'), closed: false }
  client.socket.resume()
  client.socket.on('error', () => {})
  client.socket.on('close', () => {
    client.closed = true
  })
  test.after(() => void client.socket.destroy())
  return client
}

/** Resolves when the handshake has come to an end, one way or the other. */
async function handshake(socket: Socket): Promise<string> {
  const secure = connectTls({ socket, rejectUnauthorized: false })
  return Promise.race([
    once(secure, 'secureConnect').then(() => 'secure'),
    once(secure, 'close').then(() => 'closed'),
    once(secure, 'error').then(() => 'closed'),
  ]).catch(() => 'closed')
}

function breakLedger(edge: Edge): () => void {
  const { record } = edge.ledger
  Object.assign(edge.ledger, {
    record() {
      throw new Error('the ledger is broken')
    },
  })
  return () => void Object.assign(edge.ledger, { record })
}

describe('an edge in trouble', { concurrency: true }, () => {
  it('drops a client that never begins its TLS handshake', async (test) => {
    const limits = { handshakeTimeoutMs: 300, commandTimeoutMs: 20_000 }
    const { ports, edge } = await startEdge(test, { kinds: ['smtp', 'smtps'], limits }, certificate(test))
    const began = Date.now()
    const implicit = silentClient(test, ports['smtps'] ?? 0)
    const upgrading = await Client.greeted(test, ports['smtp'] ?? 0)
    assert.equal((await upgrading.ask('STARTTLS'))?.code, 220)
    assert.equal(await upgrading.reply(), undefined)
    await eventually(() => implicit.closed && edge.state().load.queued === 0)
    assert.ok(Date.now() - began >= 290 && Date.now() - began < 3000)
  })

  it('does not take the time of a handshake for silence', async (test) => {
    const limits = { handshakeTimeoutMs: 20_000, commandTimeoutMs: 150 }
    const { ports } = await startEdge(test, { kinds: ['smtps'], limits }, certificate(test))
    const { socket } = silentClient(test, ports['smtps'] ?? 0)
    await new Promise((resolve) => setTimeout(resolve, 500))
    assert.equal(await handshake(socket), 'secure')
  })

  it('stops at once where only handshakes are under way, and outlives one that comes too late', async (test) => {
    const { ports, edge } = await startEdge(test, { kinds: ['smtp', 'smtps'] }, certificate(test))
    const implicit = silentClient(test, ports['smtps'] ?? 0)
    const upgrading = await Client.greeted(test, ports['smtp'] ?? 0)
    await upgrading.ask('STARTTLS')
    await eventually(() => edge.state().load.queued === 2)
    const late = handshake(implicit.socket)
    const began = Date.now()
    await edge.stop()
    assert.ok(Date.now() - began < 800)
    await late
  })

  it('holds its connection limit against clients of smtps that stay silent', { timeout: 20_000 }, async (test) => {
    const limits = { connectionsMax: 2, handshakeTimeoutMs: 60_000 }
    const { ports, edge } = await startEdge(test, { kinds: ['smtps'], limits }, certificate(test))
    const clients = Array.from({ length: 12 }, () => silentClient(test, ports['smtps'] ?? 0))
    await eventually(() => edge.state().load.queued === 12)
    await eventually(() => edge.state().load.queued === 2, 9000)
    assert.deepEqual(
      clients.slice(0, 2).map((client) => client.closed),
      [false, false],
    )
    const refused = await Client.openTls(test, ports['smtps'] ?? 0)
    assert.deepEqual([(await refused.reply())?.enhanced, await refused.reply()], ['4.3.2', undefined])
  })

  it('ends the session an unforeseen error is in, and no other', async (test) => {
    const instance = await FakeInstance.start(test)
    const { port, edge } = await startEdge(test, { ports: { '00': instance.port }, limits: { hopsMax: 20 } })
    const bystander = await Client.greeted(test, port)
    const mend = breakLedger(edge)
    const inHandler = await Client.greeted(test, port)
    const loop = `${'Received: x\r\n'.repeat(20)}\r\n`
    assert.equal((await inHandler.mail('a@x', ['b@example.com'], loop)).last, undefined)
    const inVerdict = await Client.greeted(test, port)
    assert.equal((await inVerdict.mail('a@x', ['b@example.com'], text)).last, undefined)
    mend()
    await eventually(() => edge.state().load.queued === 1)
    assert.equal((await bystander.mail('a@x', ['b@example.com'], text)).last?.code, 250)
    assert.equal(instance.connections, 1)
    assert.equal(edge.handOver.underWay, 0)
  })

  it('says nothing to a handshake that ends after its session', async () => {
    const said: string[] = []
    const address = { host: '127.0.0.1', port: 1 }
    const write = (data: string) => said.push(data) > 0
    const connection = { remote: address, write, destroy: () => said.push('destroyed') }
    let accept: ((connection: Connection) => ConnectionHandler) | undefined
    const network = {
      listen: async (_: unknown, given: (connection: Connection) => ConnectionHandler) => {
        accept = given
        return { address, setTls() {}, close: async () => {} }
      },
      connect: () => connection as unknown as Connection,
    }
    const world = { ...systemWorld({ debug() {}, info() {}, warn() {}, error() {} }), network }
    const tls = { certificate: Buffer.alloc(0), key: Buffer.alloc(0) }
    const edge = new Edge(world, smallLayout({ kinds: ['smtps'] }), 'e1', { ledger: { record() {} }, tls })
    await edge.start()
    const handler = accept?.(connection as unknown as Connection)
    handler?.onOpen()
    const stopped = edge.stop()
    await new Promise((resolve) => setImmediate(resolve))
    handler?.onSecure()
    assert.deepEqual(said, ['destroyed'])
    handler?.onClose(undefined)
    await stopped
  })
})
