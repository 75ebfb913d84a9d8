/**
 * Network between simulated hosts: byte streams with latency, cutting, back-pressure, half close and every way to break.
 *
 * A name or IP address belongs to one host; `127.0.0.1` and `::1` are the caller's own. Bytes of one direction arrive in
 * order, cut anywhere. A partition stops bytes without telling anybody; a dead process's peers are reset or see an end; a
 * host without power says nothing until it is back and refuses what it no longer knows.
 */

import type {
  Connection,
  ConnectionHandler,
  ConnectOptions,
  Listener,
  ListenOptions,
  Network,
} from '../../services/runtime/world.ts'
import type { SeededRandom } from './seeded-random.ts'
import { Link, SimulatedConnection } from './simulated-connection.ts'
import { systemError } from './system-error.ts'
import type { VirtualTime } from './virtual-time.ts'

/** What the network knows of a process. */
export interface NetworkOwner {
  readonly host: string
  isAlive(): boolean
}

interface OpenListener {
  readonly owner: NetworkOwner
  readonly options: ListenOptions
  readonly port: number
  readonly accept: (connection: Connection) => ConnectionHandler
}

const roundTripMs = 0.6

export class SimulatedNetworkFabric {
  readonly links = new Set<Link>()
  readonly time: VirtualTime
  readonly random: SeededRandom
  readonly #hosts = new Map<string, string>()
  readonly #down = new Set<string>()
  readonly #listeners = new Map<string, OpenListener>()
  readonly #cuts = new Set<string>()
  #nextPort = 40_000

  constructor(time: VirtualTime, random: SeededRandom) {
    this.time = time
    this.random = random
  }

  addHost(host: string, names: readonly string[]): void {
    for (const name of [host, ...names]) this.#hosts.set(name, host)
  }

  attach(owner: NetworkOwner): Network {
    return {
      listen: (options, accept) => this.#listen(owner, options, accept),
      connect: (options, handler) => this.#connect(owner, options, handler),
    }
  }

  /** The process is dead: its listeners close, its peers are told now or by a reset. */
  processDied(owner: NetworkOwner): void {
    for (const [key, listener] of this.#listeners) if (listener.owner === owner) this.#listeners.delete(key)
    for (const link of [...this.links]) link.ownerDied(owner)
  }

  /** Power is gone: nothing leaves the host, peers hear nothing. Its processes are dead already. */
  hostDown(host: string): void {
    this.#down.add(host)
    for (const [key, listener] of this.#listeners) if (listener.owner.host === host) this.#listeners.delete(key)
    for (const link of this.links) link.hostVanished(host)
  }

  /** Whatever still talks to a connection of before is reset. */
  hostUp(host: string): void {
    this.#down.delete(host)
    for (const link of [...this.links]) link.hostReturned(host)
  }

  cut(a: string, b: string): void {
    this.#cuts.add(pairOf(a, b))
  }

  /** Bytes flow again; a connection that stood still long may have been given up. */
  heal(a: string, b: string): void {
    if (!this.#cuts.delete(pairOf(a, b))) return
    for (const link of [...this.links]) {
      if (!link.joins(a, b)) continue
      if (this.random.chance(0.3)) link.reset()
      else link.flow()
    }
  }

  canPass(from: string, to: string): boolean {
    return !this.#cuts.has(pairOf(from, to)) && !this.#down.has(from) && !this.#down.has(to)
  }

  /** From now on `link`'s server is no longer heard by its client; after `resetMs` both learn that the connection is gone. */
  loseAcknowledgements(link: Link, resetMs: number): void {
    link.deafenClient()
    this.time.schedule(resetMs, () => link.reset())
  }

  /** One way through the network. */
  latencyMs(from: string, to: string): number {
    const base = from === to ? 0.02 : roundTripMs / 2
    return this.random.chance(0.01) ? base * this.random.between(2, 40) : base * this.random.between(0.5, 1.5)
  }

  #listen(owner: NetworkOwner, options: ListenOptions, accept: OpenListener['accept']): Promise<Listener> {
    const port = options.port === 0 ? this.#nextPort++ : options.port
    const key = `${owner.host}:${port}`
    return new Promise((resolve, reject) => {
      this.time.schedule(0.05, () => {
        if (!owner.isAlive()) return
        if (this.#listeners.has(key)) {
          reject(systemError('EADDRINUSE', key))
          return
        }
        const open: OpenListener = { owner, options, port, accept }
        this.#listeners.set(key, open)
        resolve({
          address: { host: options.host, port },
          setTls: () => {},
          close: () => {
            if (this.#listeners.get(key) === open) this.#listeners.delete(key)
            return Promise.resolve()
          },
        })
      })
    })
  }

  #connect(owner: NetworkOwner, options: ConnectOptions, handler: ConnectionHandler): Connection {
    const target = isLoopback(options.host) ? owner.host : this.#hosts.get(options.host)
    const local = { host: options.localAddress ?? owner.host, port: this.#nextPort++ }
    const link = new Link(this, owner, target ?? options.host)
    const client = new SimulatedConnection(link, owner, local, { host: options.host, port: options.port })
    client.handler = handler
    link.client = client
    this.links.add(link)
    const fail = (code: string): void => client.close(systemError(code, `connect ${options.host}:${options.port}`))
    const oneWayMs = this.latencyMs(owner.host, target ?? '')
    this.time.schedule(options.timeoutMs, () => {
      if (!client.isOpen) fail('ETIMEDOUT')
    })
    if (target === undefined) {
      this.time.schedule(oneWayMs, () => fail(/^[\d.:]+$/.test(options.host) ? 'EHOSTUNREACH' : 'ENOTFOUND'))
      return client
    }
    this.time.schedule(oneWayMs, () => this.#arrive(link, target, options.port, local, fail))
    return client
  }

  /** The first segment has come to the host, or has not. */
  #arrive(
    link: Link,
    target: string,
    port: number,
    local: { host: string; port: number },
    fail: (code: string) => void,
  ): void {
    const from = link.client.owner.host
    if (link.client.isOver || !this.canPass(from, target)) return
    const listener = this.#listeners.get(`${target}:${port}`)
    if (listener === undefined) {
      this.time.schedule(this.latencyMs(target, from), () => fail('ECONNREFUSED'))
      return
    }
    const server = new SimulatedConnection(link, listener.owner, { host: target, port }, local)
    link.server = server
    server.handler = listener.accept(server)
    server.open()
    if (listener.options.tls?.mode === 'implicit') server.startTls('server')
    this.time.schedule(this.latencyMs(target, from), () => link.client.open())
  }
}

function pairOf(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`
}

function isLoopback(host: string): boolean {
  return host === '127.0.0.1' || host === '::1' || host === 'localhost'
}
