/**
 * One TCP connection: a link with a client's and a server's end, each end a `Connection` of its process.
 *
 * Bytes written wait in the process (`#unsent`), leave it while fewer than a window's worth is under way or unread at the
 * peer, and arrive in order. Bytes that had not left are lost with their process; those under way may be.
 */

import type { Address, Connection, ConnectionHandler, Secured, TlsClientOptions } from '../../services/runtime/world.ts'
import type { NetworkOwner, SimulatedNetworkFabric } from './simulated-network.ts'
import { systemError } from './system-error.ts'

const windowBytes = 65_536
const highWaterBytes = 65_536

export class Link {
  readonly fabric: SimulatedNetworkFabric
  readonly clientHost: string
  readonly serverHost: string
  client!: SimulatedConnection
  server: SimulatedConnection | undefined
  #isClientDeaf = false

  constructor(fabric: SimulatedNetworkFabric, owner: NetworkOwner, serverHost: string) {
    this.fabric = fabric
    this.clientHost = owner.host
    this.serverHost = serverHost
  }

  joins(a: string, b: string): boolean {
    return (this.clientHost === a && this.serverHost === b) || (this.clientHost === b && this.serverHost === a)
  }

  peerOf(end: SimulatedConnection): SimulatedConnection | undefined {
    return end === this.client ? this.server : this.client
  }

  hostOf(end: SimulatedConnection): string {
    return end === this.client ? this.clientHost : this.serverHost
  }

  canPass(from: SimulatedConnection): boolean {
    return from === this.client
      ? this.fabric.canPass(this.clientHost, this.serverHost)
      : this.fabric.canPass(this.serverHost, this.clientHost)
  }

  /** Everything the server says from now on is lost, and so is everything that would tell the client of its end. */
  deafenClient(): void {
    this.#isClientDeaf = true
  }

  isLost(from: SimulatedConnection): boolean {
    return this.#isClientDeaf && from === this.server
  }

  reset(): void {
    this.client.close(systemError('ECONNRESET', 'read'))
    this.server?.close(systemError('ECONNRESET', 'read'))
  }

  /** What had to wait goes on. */
  flow(): void {
    this.client.flow()
    this.server?.flow()
  }

  ownerDied(owner: NetworkOwner): void {
    for (const end of [this.client, this.server]) {
      if (end === undefined || end.owner !== owner || end.isOver) continue
      end.vanish()
      const peer = this.peerOf(end)
      if (peer === undefined) {
        if (end === this.client) this.fabric.links.delete(this)
        continue
      }
      if (this.fabric.random.chance(0.5)) end.sendFin()
      else end.sendReset(this.fabric.random.chance(0.5))
    }
  }

  hostVanished(host: string): void {
    if (this.clientHost === host) this.client.vanish()
    if (this.serverHost === host) this.server?.vanish()
  }

  hostReturned(host: string): void {
    if (this.clientHost !== host && this.serverHost !== host) return
    const survivor = this.client.isVanished ? this.server : this.client
    survivor?.resetWhenHeard()
  }

  settled(): void {
    if (this.client.isOver && (this.server?.isOver ?? true)) this.fabric.links.delete(this)
  }
}

interface Segment {
  readonly kind: 'data' | 'fin' | 'reset'
  readonly bytes: Buffer
}

export class SimulatedConnection implements Connection {
  handler: ConnectionHandler | undefined
  readonly owner: NetworkOwner
  readonly remote: Address
  readonly local: Address
  isOpen = false
  isClosed = false
  isVanished = false
  secure: Secured | undefined
  readonly #link: Link
  #unsent: Buffer[] = []
  #unsentBytes = 0
  #underWay: Segment[] = []
  #underWayBytes = 0
  #unread: Segment[] = []
  #unreadBytes = 0
  #corks = 0
  #isPaused = false
  #isPumping = false
  #wantsDrain = false
  #finWanted = false
  #finSent = false
  #finHeard = false
  #isReset = false
  #hasWritten = false
  #nextArrivalMs = 0

  constructor(link: Link, owner: NetworkOwner, local: Address, remote: Address) {
    this.#link = link
    this.owner = owner
    this.local = local
    this.remote = remote
  }

  get isOver(): boolean {
    return this.isClosed || this.isVanished
  }

  // ---- what the process calls

  write(data: Buffer | string): boolean {
    if (this.isOver || this.#finWanted || data.length === 0) return !this.#wantsDrain
    this.#unsent.push(typeof data === 'string' ? Buffer.from(data, 'latin1') : Buffer.from(data))
    this.#unsentBytes += data.length
    this.#hasWritten = true
    this.#pumpSoon()
    if (this.#unsentBytes < highWaterBytes) return true
    this.#wantsDrain = true
    return false
  }

  cork(): void {
    this.#corks++
  }

  uncork(): void {
    if (this.#corks > 0) this.#corks--
    this.#pumpSoon()
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#later(0, () => this.#readUnread())
  }

  /** Without certificates: who may speak to whom is decided by real handshakes alone, in `test/runtime/`. */
  startTls(_options: TlsClientOptions | 'server'): void {
    this.#later(0, () => {
      this.secure = { protocol: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', names: [] }
      this.handler?.onSecure()
    })
  }

  end(): void {
    this.#finWanted = true
    this.#pumpSoon()
  }

  destroy(): void {
    if (this.isOver) return
    this.isClosed = true
    this.#unsent = []
    if (this.#unreadBytes > 0) this.sendReset()
    else this.sendFin()
    this.#tell(undefined)
  }

  // ---- what the network does

  open(): void {
    if (this.isOver) return
    this.isOpen = true
    if (!this.owner.isAlive()) return
    this.handler?.onOpen()
    this.#pumpSoon()
    if (this.#unread.length > 0) this.#later(0, () => this.#readUnread())
  }

  /** Gone for its process, with a reason; the peer is not told. */
  close(error: Error | undefined): void {
    if (this.isOver) return
    this.isClosed = true
    this.#tell(error)
  }

  /** Gone without anybody being told. */
  vanish(): void {
    this.isVanished = true
    this.#unsent = []
    this.#link.settled()
  }

  flow(): void {
    const waiting = this.#underWay
    this.#underWay = []
    this.#underWayBytes = 0
    for (const segment of waiting) this.#send(segment)
    this.#pumpSoon()
  }

  sendFin(): void {
    if (this.#finSent) return
    this.#finSent = true
    this.#send({ kind: 'fin', bytes: Buffer.alloc(0) })
  }

  /** `overtakes`: the peer's kernel throws away what it had not read. */
  sendReset(overtakes = false): void {
    this.#finSent = true
    if (overtakes) this.#underWay = []
    this.#send({ kind: 'reset', bytes: Buffer.alloc(0) })
  }

  /** The peer's host has forgotten this connection: what was written, or is written later, is answered by a reset. */
  resetWhenHeard(): void {
    if (this.isOver) return
    this.#isReset = true
    if (this.#hasWritten) this.#resetSoon()
  }

  #resetSoon(): void {
    const waitMs = this.#link.fabric.random.between(1, 3000)
    this.#link.fabric.time.schedule(waitMs, () => this.close(systemError('ECONNRESET', 'read')))
  }

  #pumpSoon(): void {
    if (this.#isPumping || this.isOver) return
    this.#isPumping = true
    this.#link.fabric.time.schedule(0, () => {
      this.#isPumping = false
      this.#pump()
    })
  }

  #pump(): void {
    if (this.isOver || !this.isOpen || this.#corks > 0) return
    if (this.#isReset && this.#unsentBytes > 0) {
      this.#unsent = []
      this.#resetSoon()
      return
    }
    const peer = this.#link.peerOf(this)
    while (this.#unsentBytes > 0 && this.#underWayBytes + (peer?.unreadBytes ?? 0) < windowBytes) {
      const bytes = this.#takeUnsent()
      this.#send({ kind: 'data', bytes })
    }
    if (this.#unsentBytes > 0) return
    if (this.#wantsDrain) {
      this.#wantsDrain = false
      if (this.owner.isAlive()) this.handler?.onDrain()
    }
    if (this.#finWanted && this.#unsentBytes === 0) {
      this.sendFin()
      this.#closeIfBothEnded()
    }
  }

  get unreadBytes(): number {
    return this.#unreadBytes
  }

  /** Everything that waits, or by chance only a part of it: one segment. */
  #takeUnsent(): Buffer {
    const { random } = this.#link.fabric
    const all = this.#unsent.length === 1 ? (this.#unsent[0] as Buffer) : Buffer.concat(this.#unsent)
    const room = Math.min(all.length, windowBytes)
    const count = random.chance(0.2) ? 1 + random.below(room) : room
    this.#unsent = count < all.length ? [all.subarray(count)] : []
    this.#unsentBytes = all.length - count
    return all.subarray(0, count)
  }

  #send(segment: Segment): void {
    this.#underWay.push(segment)
    this.#underWayBytes += segment.bytes.length
    if (!this.#link.canPass(this)) return
    const { fabric } = this.#link
    const peer = this.#link.peerOf(this)
    const from = this.#link.hostOf(this)
    const latencyMs = fabric.latencyMs(
      from,
      from === this.#link.clientHost ? this.#link.serverHost : this.#link.clientHost,
    )
    const now = fabric.time.elapsedMs
    this.#nextArrivalMs = Math.max(this.#nextArrivalMs, now + latencyMs)
    fabric.time.schedule(this.#nextArrivalMs - now, () => this.#arrive(segment, peer))
  }

  #arrive(segment: Segment, peer: SimulatedConnection | undefined): void {
    if (this.#underWay[0] !== segment || !this.#link.canPass(this)) return
    this.#underWay.shift()
    this.#underWayBytes -= segment.bytes.length
    if (this.#link.isLost(this)) return
    if (peer === undefined || peer.isOver) {
      this.#peerIsGone(peer)
      return
    }
    if (segment.kind === 'reset') peer.close(systemError('ECONNRESET', 'read'))
    else peer.receive(segment)
    if (this.#unsentBytes > 0) this.#pumpSoon()
  }

  /** Bytes for a peer that has closed come back as a reset. */
  #peerIsGone(peer: SimulatedConnection | undefined): void {
    if (peer === undefined || this.isOver || this.#link.isLost(peer)) return
    this.#link.fabric.time.schedule(0.3, () => this.close(systemError('EPIPE', 'write')))
  }

  receive(segment: Segment): void {
    this.#unread.push(segment)
    this.#unreadBytes += segment.bytes.length
    this.#readUnread()
  }

  #readUnread(): void {
    while (!this.#isPaused && this.isOpen && !this.isOver) {
      const segment = this.#unread.shift()
      if (segment === undefined) break
      this.#unreadBytes -= segment.bytes.length
      if (!this.owner.isAlive()) return
      if (segment.kind === 'data') this.handler?.onData(segment.bytes)
      else {
        this.#finHeard = true
        this.handler?.onEnd()
        this.#closeIfBothEnded()
      }
    }
    this.#link.peerOf(this)?.pumpAgain()
  }

  pumpAgain(): void {
    if (this.#unsentBytes > 0) this.#pumpSoon()
  }

  #closeIfBothEnded(): void {
    if (this.#finSent && this.#finHeard) this.close(undefined)
  }

  #tell(error: Error | undefined): void {
    this.#later(0, () => {
      this.handler?.onClose(error)
      this.handler = undefined
    })
    this.#link.settled()
  }

  #later(delayMs: number, task: () => void): void {
    this.#link.fabric.time.schedule(delayMs, () => {
      if (this.owner.isAlive()) task()
    })
  }
}
