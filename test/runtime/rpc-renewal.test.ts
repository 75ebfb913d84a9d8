/** Certificates of gRPC that are renewed while it runs, and authorities that follow one another: who is let in, and what goes on undisturbed. */

import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { describe, it } from 'node:test'
import tls from 'node:tls'
import { anyTierOf, tierIdentity, writeIdentity } from '../../services/contract/identity.ts'
import { handoverMessageBytesMax, handoverService } from '../../services/runtime/handover-wire.ts'
import { RpcClient, type RpcDuplex } from '../../services/runtime/rpc-client.ts'
import type { RpcSecurity } from '../../services/runtime/rpc-identity.ts'
import { listenRpc, type RpcDuplexStream, type RpcServer } from '../../services/runtime/rpc-server.ts'
import { silentLog } from '../../services/runtime/silent-log.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import { TierCredentials } from '../../services/runtime/tier-credentials.ts'
import { freePortRange } from '../support/free-ports.ts'
import { type Cleanup, temporaryDirectory } from '../support/temporary-directory.ts'
import { TestAuthority, writeCredentials } from '../support/test-authority.ts'

const cluster = 'mail.example.com'
const allowed = anyTierOf(cluster, ['queue'])

/** One instance, with its certificate where it finds it. */
class Instance {
  readonly #name: string
  readonly #directory: string
  readonly #identity: ReturnType<typeof tierIdentity>
  readonly #credentials: TierCredentials

  constructor(test: Cleanup, id: string) {
    this.#directory = temporaryDirectory(test, id)
    this.#identity = tierIdentity(cluster, 'queue', id)
    this.#name = writeIdentity(this.#identity)
    this.#credentials = new TierCredentials(systemWorld(silentLog), this.#directory, this.#identity)
  }

  readonly security: RpcSecurity = () => this.#credentials.mutual(allowed)

  /** Gives the serial number of what is shown from now on. */
  async take(issuer: TestAuthority, trusted: readonly TestAuthority[] = [issuer]): Promise<string> {
    const pair = await issuer.issue([this.#name])
    writeCredentials(this.#directory, Buffer.concat(trusted.map(({ certificate }) => certificate)), pair)
    await this.#credentials.reload()
    return new X509Certificate(pair.certificate).serialNumber
  }
}

/** Says welcome to every message. */
async function serve(
  test: Cleanup,
  given: { tls: RpcSecurity; port?: number; sessionMaxMs?: number },
): Promise<RpcServer> {
  const { tls: security, port = 0, ...limits } = given
  const open = (stream: RpcDuplexStream<object, object>): void => {
    stream.on('data', () => stream.write({ welcome: {} }))
  }
  const server = await listenRpc({
    ...{ place: { host: '127.0.0.1', port, tls: security }, log: silentLog, ...limits },
    offers: [{ service: handoverService(), handlers: { HandOver: { kind: 'duplex', open } } }],
    ...{ admit: () => undefined, messageBytesMax: handoverMessageBytesMax },
  })
  test.after(() => server.close())
  return server
}

function clientOf(test: Cleanup, { address }: RpcServer, security: RpcSecurity): RpcClient {
  const client = new RpcClient({ ...address, tls: security }, handoverService(), handoverMessageBytesMax)
  test.after(() => client.close())
  return client
}

interface Talk {
  /** What comes back for one message: `welcome`, or why nothing does. */
  say(): Promise<string>
  end(): void
}

function talkOn(client: RpcClient): Talk {
  let heard: (what: string) => void = () => {}
  let over: string | undefined
  const stream: RpcDuplex = client.open('HandOver', { timeoutMs: 0 }, (failure) => {
    over = failure?.why ?? 'ended'
    heard(over)
  })
  stream.on('data', (value: object) => heard(Object.keys(value)[0] ?? ''))
  return {
    say: () =>
      new Promise((resolve) => {
        heard = resolve
        if (over === undefined) stream.write({ hello: {} })
        else resolve(over)
      }),
    end: () => stream.cancel(),
  }
}

/** On the connection that is open, or on a new one. */
async function onceOn(client: RpcClient): Promise<string> {
  const talk = talkOn(client)
  const heard = await talk.say()
  talk.end()
  return heard
}

interface Seen {
  /** Of the server's certificate. */
  readonly serial: string
  /** Whether it speaks HTTP/2 with us, or has ended the connection instead. */
  readonly served: boolean
  readonly session: Buffer | undefined
}

/** One handshake by node:tls, with whatever is shown. */
function handshake({ address }: RpcServer, security: RpcSecurity, session?: Buffer): Promise<Seen> {
  const shown = security()
  assert.ok(typeof shown !== 'string', String(shown))
  return new Promise((resolve) => {
    let [serial, last] = ['', session]
    const socket = tls.connect({
      ...{ ...address, ca: shown.ca, cert: shown.certificate, key: shown.key, ALPNProtocols: ['h2'] },
      ...{ rejectUnauthorized: false, ...(session === undefined ? {} : { session }) },
    })
    const seen = (served: boolean): void => {
      resolve({ serial, served, session: last })
      socket.destroy()
    }
    socket.on('secureConnect', () => {
      serial = socket.getPeerX509Certificate()?.serialNumber ?? ''
    })
    socket.on('session', (ticket) => {
      last = ticket
    })
    socket.once('data', () => setImmediate(seen, true))
    socket.on('error', () => seen(false))
    socket.on('close', () => seen(false))
  })
}

describe('a certificate that is renewed', { concurrency: true }, () => {
  it('is shown to connections that begin later, while a stream that is open goes on', async (test) => {
    const authority = await TestAuthority.make(test)
    const [target, source] = [new Instance(test, '01'), new Instance(test, '02')]
    const first = await target.take(authority)
    await source.take(authority)
    const server = await serve(test, { tls: target.security })
    const talk = talkOn(clientOf(test, server, source.security))
    assert.equal(await talk.say(), 'welcome')
    assert.equal((await handshake(server, source.security)).serial, first)
    const second = await target.take(authority)
    assert.notEqual(second, first)
    assert.equal((await handshake(server, source.security)).serial, second)
    assert.equal(await talk.say(), 'welcome')
  })

  it('is shown by a client that connects again', async (test) => {
    const [old, next] = [await TestAuthority.make(test, 1), await TestAuthority.make(test, 2)]
    const [target, source] = [new Instance(test, '01'), new Instance(test, '02')]
    const port = await freePortRange(1)
    await target.take(old)
    await source.take(old)
    const server = await serve(test, { tls: target.security, port })
    const client = clientOf(test, server, source.security)
    assert.equal(await onceOn(client), 'welcome')
    await server.close()
    await target.take(next)
    await source.take(next)
    await serve(test, { tls: target.security, port })
    assert.equal(await onceOn(client), 'welcome')
  })

  it('opens a port that had none to show, and a way that had none; one that has ended closes them', async (test) => {
    const authority = await TestAuthority.make(test)
    const [target, source] = [new Instance(test, '01'), new Instance(test, '02')]
    let hasEnded = false
    const server = await serve(test, { tls: () => (hasEnded ? 'it has ended' : target.security()) })
    assert.match(await onceOn(clientOf(test, server, source.security)), /ca\.pem|not read yet/)
    await source.take(authority)
    assert.notEqual(await onceOn(clientOf(test, server, source.security)), 'welcome')
    await target.take(authority)
    assert.equal(await onceOn(clientOf(test, server, source.security)), 'welcome')
    hasEnded = true
    assert.notEqual(await onceOn(clientOf(test, server, source.security)), 'welcome')
  })
})

describe('authorities that follow one another', { concurrency: true }, () => {
  it('are trusted in turn, and what was open at the first stays open to the end', async (test) => {
    const [old, next] = [await TestAuthority.make(test, 1), await TestAuthority.make(test, 2)]
    const [target, source, left] = [new Instance(test, '01'), new Instance(test, '02'), new Instance(test, '03')]
    for (const instance of [target, source, left]) await instance.take(old)
    const server = await serve(test, { tls: target.security })
    const talk = talkOn(clientOf(test, server, source.security))
    assert.equal(await talk.say(), 'welcome')
    const { session, served } = await handshake(server, left.security)
    assert.ok(served)
    // Each place trusts both before any certificate is by the next, and the old is trusted as long as one is.
    for (const [issuer, trusted] of [
      [old, [old, next]],
      [next, [old, next]],
      [next, [next]],
    ] as const) {
      for (const instance of [target, source]) {
        await instance.take(issuer, trusted)
        if (instance === source) assert.equal(await onceOn(clientOf(test, server, source.security)), 'welcome')
        assert.equal(await talk.say(), 'welcome')
      }
    }
    // Who has a certificate of the old authority is locked out, and so is his memory of an earlier handshake.
    assert.equal((await handshake(server, left.security)).served, false)
    assert.equal((await handshake(server, left.security, session)).served, false)
    assert.notEqual(await onceOn(clientOf(test, server, left.security)), 'welcome')
  })

  it('end what was open under the old one when it is old', async (test) => {
    const [old, next] = [await TestAuthority.make(test, 1), await TestAuthority.make(test, 2)]
    const [target, source] = [new Instance(test, '01'), new Instance(test, '02')]
    await target.take(old)
    await source.take(old)
    const server = await serve(test, { tls: target.security, sessionMaxMs: 1000 })
    const client = clientOf(test, server, source.security)
    assert.equal(await onceOn(client), 'welcome')
    await target.take(next)
    assert.equal(await onceOn(client), 'welcome')
    for (let calls = 0; (await onceOn(client)) === 'welcome'; calls++) {
      assert.ok(calls < 600, 'one connection lasts for ever')
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  })
})
