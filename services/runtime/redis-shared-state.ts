/**
 * The door to ioredis: shared state in a Redis or Valkey server (6.2 and 7.2 or later).
 *
 * Nothing waits for the server: a call is answered by its deadline, a call without a connection at once. A connection counts
 * as open only after a script of ours has written in time, which a read-only server and one without memory refuse; after a few misses in a row it is given up and made anew, with the
 * credentials as they are then. The client's own queue, resending and reconnecting are off: what is late is not wanted any more.
 */

import net from 'node:net'
import tls from 'node:tls'
import { AbstractConnector, Redis } from 'ioredis'
import { type Answered, gone, type SharedStateStatus } from '../contract/shared-state.ts'
import { errorText } from '../protocol/failure.ts'
import { RespGuard } from '../protocol/resp-guard.ts'
import { PendingCalls } from './pending-calls.ts'
import { Redial } from './redial.ts'
import { keysPerCallMax, readKept, redisScripts, type ScriptName } from './redis-scripts.ts'
import { type ReplyReader, ScriptedSharedState, type ScriptWords } from './scripted-shared-state.ts'
import type { Clock, World } from './world.ts'

/** Where the server is and who we are to it. */
export interface RedisAccess {
  readonly host: string
  readonly port: number
  readonly database?: number
  readonly user?: string
  readonly password?: string
  /** PEM. Present: the connection is TLS, and the server's certificate is verified for `host`. */
  readonly tls?: { readonly authority?: Buffer; readonly certificate?: Buffer; readonly key?: Buffer }
}

export interface RedisSharedStateOptions {
  /** For people: without user or secret. */
  readonly server: string
  readonly cluster: string
  /** Asked before each connection, so that new credentials need no restart. */
  readonly access: () => Promise<RedisAccess>
  readonly deadlineMs: number
}

/** From the lookup of the name to the first answer of a script. */
const openMsMax = 2000
const redialLimits = { firstMs: 100, lastMs: 5000, healthyMs: 10_000 }
const callLimits = { openMax: 10_000, missesMax: 5 }
const guardLimits = { lineBytesMax: 1024, textBytesMax: 1024, arrayItemsMax: keysPerCallMax }

export class RedisSharedState extends ScriptedSharedState {
  readonly #world: Pick<World, 'clock' | 'random' | 'log'>
  readonly #options: RedisSharedStateOptions
  readonly #redial: Redial
  /** The one that counts as open. */
  #link: Link | undefined
  #opening: Link | undefined
  #why = 'not connected yet'
  #toldWhy = ''
  #calls = 0
  #unanswered = 0
  #closed = false

  /** Connects at once, and again for ever. */
  constructor(world: Pick<World, 'clock' | 'random' | 'log'>, options: RedisSharedStateOptions) {
    super(options.cluster)
    this.#world = world
    this.#options = options
    this.#redial = new Redial(world, redialLimits, () => this.#dial())
    this.#dial()
  }

  get reach(): 'cluster' | 'process' {
    return this.#link === undefined ? 'process' : 'cluster'
  }

  get status(): SharedStateStatus {
    const reached = this.#link !== undefined
    const counts = { calls: this.#calls, unanswered: this.#unanswered }
    return { server: this.#options.server, reached, ...(reached ? {} : { why: this.#why }), ...counts }
  }

  close(): void {
    this.#closed = true
    this.#why = 'closed'
    this.#redial.stop()
    for (const link of [this.#link, this.#opening]) link?.end()
    this.#link = undefined
    this.#opening = undefined
  }

  protected ask<Value>(
    script: ScriptName,
    words: ScriptWords,
    read: ReplyReader<Value>,
    answered: Answered<Value>,
  ): void {
    this.#calls++
    const link = this.#link
    if (link === undefined) {
      this.#unanswered++
      return answered(gone(this.#why))
    }
    const send = () => link.run(script, words)
    link.calls.call(send, read, (answer) => {
      if (answer.kind === 'gone') this.#unanswered++
      answered(answer)
    })
  }

  #dial(): void {
    const { access, deadlineMs } = this.#options
    let dialled: Link | undefined
    access()
      .then((found) => {
        if (this.#closed) return undefined
        const link = new Link(this.#world.clock, found, deadlineMs, (why) => this.#lost(link, why))
        dialled = link
        this.#opening = link
        return link.open(this.probeKey).then(() => this.#opened(link))
      })
      .catch((error: unknown) => {
        if (dialled === undefined) this.#failed(errorText(error))
        else this.#lost(dialled, errorText(error))
      })
  }

  #opened(link: Link): void {
    if (link !== this.#opening) return
    this.#opening = undefined
    this.#link = link
    this.#toldWhy = ''
    this.#redial.opened()
    this.#world.log.info('shared state reached', { server: this.#options.server })
  }

  #lost(link: Link, why: string): void {
    link.end()
    if (link === this.#link) this.#link = undefined
    else if (link === this.#opening) this.#opening = undefined
    else return
    this.#failed(why)
  }

  #failed(why: string): void {
    if (this.#closed) return
    // The server's words go to logs and terminals.
    this.#why = why.replace(/[^\x20-\x7e]/g, '?').slice(0, 200)
    if (this.#why !== this.#toldWhy) {
      this.#toldWhy = this.#why
      this.#world.log.warn('shared state gone', { server: this.#options.server, why: this.#why })
    }
    this.#redial.lost()
  }
}

type ScriptedClient = Redis & Readonly<Record<ScriptName, (...words: (string | number)[]) => Promise<unknown>>>

/** One connection, from its dialling to its end. `lost` may be called more than once. */
class Link {
  readonly calls: PendingCalls
  readonly #clock: Clock
  readonly #access: RedisAccess
  readonly #deadlineMs: number
  readonly #client: ScriptedClient
  readonly #lost: (why: string) => void
  #wire: net.Socket | undefined
  #ended = false

  constructor(clock: Clock, access: RedisAccess, deadlineMs: number, lost: (why: string) => void) {
    this.#clock = clock
    this.#access = access
    this.#deadlineMs = deadlineMs
    this.#lost = lost
    this.calls = new PendingCalls(clock, { ...callLimits, deadlineMs }, lost)
    this.#client = scriptedClient(access.tls !== undefined, () => {
      this.#wire = wireTo(access)
      return guarded(secured(this.#wire, access))
    })
    this.#client.on('error', (error: unknown) => lost(errorText(error)))
    this.#client.on('close', () => lost('connection closed'))
  }

  /** Rejects where the server does not do what we need, in time. */
  async open(probeKey: string): Promise<void> {
    const { user, password, database = 0 } = this.#access
    const patience = this.#clock.after(openMsMax, () => this.#lost(`not open within ${openMsMax} ms`))
    try {
      await this.#client.connect()
      if (user !== undefined || password !== undefined) {
        await this.#client.call('auth', ...(user === undefined ? [] : [user]), password ?? '')
      }
      // Not asked where it is the usual one, so that a user need not have the right to change it.
      if (database !== 0) await this.#client.call('select', database)
      const asked = this.#clock.monotonic()
      const reply = await this.run('qmqKeep', [1, probeKey, 1])
      if (readKept(reply) === undefined) throw new Error('a reply that is no answer')
      if (this.#clock.monotonic() - asked > this.#deadlineMs) throw new Error(`slower than ${this.#deadlineMs} ms`)
    } finally {
      patience.cancel()
    }
  }

  run(script: ScriptName, words: ScriptWords): Promise<unknown> {
    return this.#client[script](...words)
  }

  /**
   * At once: what the server has not read yet is dropped. Without a reset the kernel would go on sending it, and a server that was cut off
   * would do it when the network heals, after what the next link has told it.
   */
  end(): void {
    if (this.#ended) return
    this.#ended = this.#wire !== undefined
    // One that is being closed already is not reset any more.
    if (this.#wire?.connecting === false && !this.#wire.writableEnded) this.#wire.resetAndDestroy()
    else this.#wire?.destroy()
    this.#client.disconnect()
  }
}

function scriptedClient(secure: boolean, dialled: () => net.Socket): ScriptedClient {
  const client = new Redis({
    Connector: connectorOf(dialled),
    // The sockets are ours; here it only says which event tells that they are open.
    ...(secure ? { tls: {} } : {}),
    // Nothing is sent but what we send: no greeting, no questions about the server.
    protocol: 2,
    disableClientInfo: true,
    enableReadyCheck: false,
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: null,
  })
  for (const [name, script] of Object.entries(redisScripts)) client.defineCommand(name, script)
  return client as ScriptedClient
}

function connectorOf(dialled: () => net.Socket) {
  return class extends AbstractConnector {
    constructor() {
      super(0)
    }

    async connect(): Promise<net.Socket> {
      this.connecting = true
      this.stream = dialled()
      return this.stream
    }
  }
}

function wireTo({ host, port }: RedisAccess): net.Socket {
  return net.connect({ host, port, noDelay: true, keepAlive: true })
}

function secured(wire: net.Socket, { host, tls: secure }: RedisAccess): net.Socket {
  if (secure === undefined) return wire
  const { authority, certificate, key } = secure
  return tls.connect({
    socket: wire,
    // Without a name the certificate is checked against the address.
    ...(net.isIP(host) === 0 ? { servername: host } : { host }),
    ...(authority === undefined ? {} : { ca: authority }),
    ...(certificate === undefined ? {} : { cert: certificate }),
    ...(key === undefined ? {} : { key }),
  })
}

/** The client's parser sees no byte that the guard has not. */
function guarded(socket: net.Socket): net.Socket {
  const guard = new RespGuard(guardLimits)
  const push = socket.push.bind(socket)
  socket.push = (chunk: Buffer | null, encoding?: BufferEncoding) => {
    const why = chunk === null ? undefined : guard.receive(chunk)
    if (why === undefined) return push(chunk, encoding)
    socket.destroy(new Error(`the server sent ${why}`))
    return false
  }
  return socket
}
