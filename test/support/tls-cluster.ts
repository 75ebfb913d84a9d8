/**
 * One edge and one queue instance, 01, on real sockets, that speak QMTP over TLS with certificates of a test's own authority; and
 * what a stranger can put in the place of either.
 */

import { mkdirSync } from 'node:fs'
import type net from 'node:net'
import { join } from 'node:path'
import tls from 'node:tls'
import { bounceOptionsOf, QmailBouncePolicy } from '../../services/bounce/bounce-policy.ts'
import { tierIdentity, writeIdentity } from '../../services/contract/identity.ts'
import type { Layout } from '../../services/contract/layout.ts'
import { Edge } from '../../services/edge/edge.ts'
import { encodeQmtpHead, encodeQmtpTail } from '../../services/protocol/qmtp.ts'
import { QueueInstance } from '../../services/queue/instance.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import { credentialsDirectory, TierCredentials } from '../../services/runtime/tier-credentials.ts'
import type { Clock, Log, World } from '../../services/runtime/world.ts'
import { smallLayout } from '../edge/small-layout.ts'
import { freePortRange } from './free-ports.ts'
import { type Cleanup, temporaryDirectory } from './temporary-directory.ts'
import { TestAuthority, writeCredentials } from './test-authority.ts'

export const cluster = 'mail.example.com'
export const edgeName = writeIdentity(tierIdentity(cluster, 'edge', 'e1'))
export const queueName = writeIdentity(tierIdentity(cluster, 'queue', '01'))

const noTransport = { attempt: () => {}, close: () => {} }

export class TlsCluster {
  readonly state: string
  readonly authority: TestAuthority
  readonly port: number
  readonly layout: Layout
  readonly logged: string[] = []
  readonly #test: Cleanup
  readonly #log: Log

  private constructor(test: Cleanup, authority: TestAuthority, port: number, plainFrom: readonly string[]) {
    this.state = temporaryDirectory(test, 'tls-cluster')
    this.authority = authority
    this.port = port
    const note = (event: string, fields?: object) => void this.logged.push(`${event} ${JSON.stringify(fields ?? {})}`)
    this.#log = { debug() {}, info: note, warn: note, error: note }
    this.#test = test
    const small = smallLayout({ ports: { '01': port }, instances: ['01'] })
    const instances = small.instances.map((one) => ({ ...one, acceptFrom: ['127.0.0.1/32'], tls: { plainFrom } }))
    this.layout = { ...small, instances }
  }

  static async make(test: Cleanup, plainFrom: readonly string[] = []): Promise<TlsCluster> {
    return new TlsCluster(test, await TestAuthority.make(test), await freePortRange(1), plainFrom)
  }

  /** Credentials of a place as it finds them; `reload` is the test's to call. */
  async credentials(tier: 'edge' | 'queue', id: string, authority = this.authority): Promise<TierCredentials> {
    const identity = tierIdentity(cluster, tier, id)
    const directory = credentialsDirectory(this.state, id)
    writeCredentials(directory, authority.certificate, await authority.issue([writeIdentity(identity)]))
    return await this.credentialsAsTheyAre(tier, id)
  }

  async credentialsAsTheyAre(tier: 'edge' | 'queue', id: string): Promise<TierCredentials> {
    const directory = credentialsDirectory(this.state, id)
    const credentials = new TierCredentials(systemWorld(this.#log), directory, tierIdentity(cluster, tier, id))
    await credentials.reload()
    return credentials
  }

  /** `hurried`: whatever it would wait for takes a moment only. */
  async startQueue(credentials?: TierCredentials, given: { readonly hurried?: true } = {}): Promise<QueueInstance> {
    mkdirSync(join(this.state, 'queues/01'), { recursive: true })
    const real = systemWorld(this.#log)
    const after = (delayMs: number, task: () => void) => real.clock.after(Math.min(delayMs, 20), task)
    const world = given.hurried === undefined ? real : { ...real, clock: { ...clockOf(real), after } }
    const instance = new QueueInstance(world, {
      ...{ layout: this.layout, id: '01', state: this.state, ledger: { record() {} } },
      ...(credentials === undefined ? {} : { credentials }),
      transports: { smtp: noTransport, qmtp: noTransport, maildir: noTransport },
      handoverDoors: () => Promise.reject(new Error('nothing is handed over here')),
      bouncePolicyOf: (name, pool) => new QmailBouncePolicy(bounceOptionsOf(name, pool)),
      onFatal: (why) => {
        throw new Error(why)
      },
      limits: { stopWaitMs: 100 },
    })
    await instance.start()
    this.#test.after(() => instance.stop())
    return instance
  }

  async startEdge(credentials?: TierCredentials): Promise<{ edge: Edge; smtp: number }> {
    const given = credentials === undefined ? {} : { credentials }
    const edge = new Edge(systemWorld(this.#log), this.layout, 'e1', { ledger: { record() {} }, ...given })
    await edge.start()
    this.#test.after(() => edge.stop())
    return { edge, smtp: edge.state().listeners[0]?.port ?? 0 }
  }
}

function clockOf({ clock }: World): Clock {
  return {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    after: (delayMs, task) => clock.after(delayMs, task),
    soon: (task) => clock.soon(task),
  }
}

const body = 'Subject: test\r\n\r\nhello\r\n'
const onePackage = Buffer.from(
  encodeQmtpHead('crlf', body.length) + body + encodeQmtpTail('s@sender.example', ['r@customer.example']),
  'latin1',
)

/** What a server answers to one package, over TLS or without, until it closes; '' where it takes nothing. */
export function offer(socket: net.Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    socket.setEncoding('latin1')
    socket.on('data', (piece: string) => {
      text += piece
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(text))
    socket.write(onePackage)
    socket.end()
  })
}

export interface Shown {
  readonly certificate: Buffer
  readonly key: Buffer
}

/** A client that shows any certificate, or none, and trusts everybody. */
export function stranger(port: number, shown: Shown | undefined): net.Socket {
  const pair = shown === undefined ? {} : { cert: shown.certificate, key: shown.key }
  return tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...pair })
}

/** A server in the place of an instance; keeps what it is told once TLS is up, and takes every client. */
export async function impostor(test: Cleanup, port: number, shown: Shown): Promise<{ heard: string; clients: number }> {
  const seen = { heard: '', clients: 0 }
  const options = { cert: shown.certificate, key: shown.key, requestCert: true, rejectUnauthorized: false }
  const server = tls.createServer(options, (socket) => {
    socket.on('error', () => {})
    socket.write('0:,')
    socket.on('data', (chunk) => {
      seen.heard += chunk.toString('latin1')
    })
  })
  server.on('connection', () => {
    seen.clients++
  })
  await listening(test, server, port)
  return seen
}

export async function listening(test: Cleanup, server: net.Server, port: number): Promise<void> {
  const sockets = new Set<net.Socket>()
  server.on('connection', (socket: net.Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  test.after(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
}
