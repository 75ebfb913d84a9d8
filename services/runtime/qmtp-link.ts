/**
 * One persistent, pipelined QMTP connection to one server, for any tier that hands packages over.
 *
 * What the link promises about a package, and all its owner may build on:
 *   `answered`: one reply per recipient was read.
 *   `not-sent`: no byte of it was given to an open connection; another server may have it.
 *   `unclear`: bytes were given to an open connection, which was lost or fell silent before the last reply. The
 *     server may have committed it; only the same server may be asked again.
 * Each package taken by `offer` gets exactly one of these, never from inside `offer`. An error that nobody foresaw, in here or in
 * a package, loses the connection or stays with its package.
 *
 * The link connects by itself, and again after a loss with growing, jittered pauses. Timeouts are noticed by `check`, which the
 * owner calls about once a second; no timer runs per package. A session grows no older than QMTP section 5 allows.
 *
 * With `security` it speaks TLS or not at all. It counts as open once the server has said that it takes the client's certificate: in
 * TLS 1.3 a client may write before it knows, and a package written then would be `unclear` although nobody could have taken it.
 */

import type { ByteString } from '../protocol/byte-string.ts'
import { defaultQmtpReplyLimits, type QmtpLetter, QmtpReplyReader, qmtpWelcome } from '../protocol/qmtp.ts'
import { reportHandlerFailure } from './handler-failure.ts'
import type { Address, Connection, ConnectionHandler, Timer, TlsClientOptions, World } from './world.ts'

export interface QmtpLinkLimits {
  readonly connectTimeoutMs: number
  /** From the last byte that left, until a reply. */
  readonly replyTimeoutMs: number
  readonly reconnectMinMs: number
  readonly reconnectMaxMs: number
  readonly windowPackages: number
  readonly windowBytes: number
}

export interface QmtpAnswer {
  readonly letter: QmtpLetter
  readonly text: ByteString
}

export type QmtpLinkOutcome =
  | { readonly kind: 'answered'; readonly answers: readonly QmtpAnswer[] }
  | { readonly kind: 'not-sent'; readonly why: string }
  | { readonly kind: 'unclear'; readonly why: string }

export interface QmtpLinkPackage {
  /** Its size on the wire, about. */
  readonly bytes: number
  readonly recipientCount: number
  /** Writes all of it; the answer is that of the last write. */
  writeTo(connection: Connection): boolean
  settled(outcome: QmtpLinkOutcome): void
}

/** What TLS is begun with, asked before each connection; or why there can be none now. */
export type LinkSecurity = () => TlsClientOptions | string

/** `paused`: the last connection failed and the next attempt waits. `closed`: for good. */
type LinkState = 'new' | 'connecting' | 'open' | 'paused' | 'closed'

interface InFlight {
  readonly package: QmtpLinkPackage
  readonly answers: QmtpAnswer[]
}

/** QMTP section 5: a session lasts an hour at most, on either side. */
const sessionMaxMs = 50 * 60 * 1000
const grewOld = 'session grew old'

/** A path slower than this is taken for a dead one: 25 MiB leave within the ten minutes a mail client waits. */
const transmitBytesPerSecondMin = 65_536
/** What the two systems between may hold of the bytes that have left. */
const systemBufferBytes = 4 * 1024 * 1024

export class QmtpLink implements ConnectionHandler {
  readonly address: Address
  readonly #world: World
  readonly #localAddress: string | undefined
  readonly #security: LinkSecurity | undefined
  #limits: QmtpLinkLimits
  #state: LinkState = 'new'
  #connection: Connection | undefined
  #reader = new QmtpReplyReader(defaultQmtpReplyLimits)
  #waiting: QmtpLinkPackage[] = []
  #inFlight: InFlight[] = []
  #inFlightBytes = 0
  /** Bytes that may still be on their way out. */
  #transmittingBytes = 0
  #blocked = false
  #pumpingSoon = false
  #retiring = false
  #openedAt = 0
  #connectedAt = 0
  #tls: TlsClientOptions | undefined
  /** What came of the server's welcome. */
  #welcome = ''
  /** When the oldest package in flight was sent, what was written had left, or the last reply was read; the latest of them. */
  #progressAt = 0
  #failures = 0
  #lastError = ''
  #timer: Timer | undefined

  constructor(world: World, address: Address, limits: QmtpLinkLimits, localAddress?: string, security?: LinkSecurity) {
    this.#world = world
    this.address = address
    this.#limits = limits
    this.#localAddress = localAddress
    this.#security = security
  }

  /** True while `offer` takes packages: connected, or about to be. */
  get accepting(): boolean {
    return this.#state === 'open' || this.#state === 'connecting'
  }

  get open(): boolean {
    return this.#state === 'open'
  }

  /** Packages in flight and waiting. */
  get load(): number {
    return this.#inFlight.length + this.#waiting.length
  }

  /** Why the last connection was lost, '' while all is well. */
  get lastError(): string {
    return this.#lastError
  }

  /** It speaks TLS, or not at all. */
  get secured(): boolean {
    return this.#security !== undefined
  }

  set limits(limits: QmtpLinkLimits) {
    this.#limits = limits
  }

  /** Connects now and keeps connecting. */
  start(): void {
    if (this.#state === 'new') this.#connect()
  }

  /** False: not now; nothing will be settled. */
  offer(offered: QmtpLinkPackage): boolean {
    if (this.#state === 'new') this.#connect()
    if (!this.accepting) return false
    this.#waiting.push(offered)
    if (this.#pumpingSoon) return true
    this.#pumpingSoon = true
    // What the clients at hand have ready leaves in one system call, and arrives as one batch for the disk.
    this.#world.clock.soon(() => {
      this.#pumpingSoon = false
      try {
        this.#pump()
      } catch (error) {
        this.#drop(reportHandlerFailure(this.#world.log, 'pump', error).message)
      }
    })
    return true
  }

  /** Ends a connection that has fallen silent or grown old. */
  check(): void {
    const now = this.#world.clock.monotonic()
    const transmitMs = (this.#transmittingBytes * 1000) / transmitBytesPerSecondMin
    if (this.#inFlight.length > 0 && now - this.#progressAt > this.#limits.replyTimeoutMs + transmitMs)
      this.#drop('no reply in time')
    else if (this.#state === 'connecting' && now - this.#connectedAt > 2 * this.#limits.connectTimeoutMs)
      this.#connection?.destroy()
    else if (this.#state === 'open' && now - this.#openedAt > sessionMaxMs) {
      this.#retiring = true
      if (this.#inFlight.length === 0) this.#drop(grewOld)
    }
  }

  /** Takes no more, lets what is in flight be answered, and ends. */
  close(): void {
    if (this.#state === 'closed') return
    const wasOpen = this.#state === 'open'
    this.#state = 'closed'
    this.#timer?.cancel()
    const waiting = this.#waiting
    this.#waiting = []
    if (!wasOpen) this.#connection?.destroy()
    else if (this.#inFlight.length === 0) this.#connection?.end()
    for (const one of waiting) this.#settle(one, { kind: 'not-sent', why: 'link closed' })
  }

  /** Drops the connection at once; what is in flight becomes unclear. */
  destroy(): void {
    this.close()
    this.#connection?.destroy()
  }

  #connect(): void {
    this.#state = 'connecting'
    this.#timer = undefined
    this.#connectedAt = this.#world.clock.monotonic()
    const tls = this.#security?.()
    if (typeof tls === 'string') {
      this.#world.clock.soon(() => this.onClose(new Error(tls)))
      return
    }
    this.#tls = tls
    this.#welcome = ''
    const local = this.#localAddress === undefined ? {} : { localAddress: this.#localAddress }
    const { host, port } = this.address
    const timeoutMs = this.#limits.connectTimeoutMs
    this.#connection = this.#world.network.connect({ host, port, timeoutMs, ...local }, this)
  }

  onOpen(): void {
    if (this.#state !== 'connecting') return
    if (this.#tls === undefined) this.#opened()
    else this.#connection?.startTls(this.#tls)
  }

  #opened(): void {
    this.#state = 'open'
    this.#reader = new QmtpReplyReader(defaultQmtpReplyLimits)
    this.#blocked = false
    this.#transmittingBytes = 0
    this.#retiring = false
    this.#openedAt = this.#world.clock.monotonic()
    this.#pump()
  }

  onSecure(): void {}

  onData(given: Buffer): void {
    const chunk = this.#state === 'connecting' ? this.#readWelcome(given) : given
    if (chunk === undefined) return
    this.#reader.receive(chunk)
    for (;;) {
      const event = this.#reader.next()
      if (event.kind === 'need-data') break
      if (event.kind === 'malformed') return this.#drop(`malformed reply: ${event.why}`)
      const oldest = this.#inFlight[0]
      if (oldest === undefined) return this.#drop('a reply to nothing')
      this.#answer(oldest, event)
    }
    this.#pump()
  }

  /** What follows the welcome, once it is whole. */
  #readWelcome(chunk: Buffer): Buffer | undefined {
    const missing = qmtpWelcome.length - this.#welcome.length
    this.#welcome += chunk.toString('latin1', 0, missing)
    if (!qmtpWelcome.startsWith(this.#welcome)) this.#connection?.destroy()
    else if (this.#welcome === qmtpWelcome) {
      this.#opened()
      return chunk.subarray(missing)
    }
    return undefined
  }

  #answer(oldest: InFlight, answer: QmtpAnswer): void {
    this.#progressAt = this.#world.clock.monotonic()
    if (!this.#blocked) this.#transmittingBytes = 0
    this.#failures = 0
    this.#lastError = ''
    oldest.answers.push({ letter: answer.letter, text: answer.text })
    if (oldest.answers.length < oldest.package.recipientCount) return
    this.#inFlight.shift()
    this.#inFlightBytes -= oldest.package.bytes
    this.#settle(oldest.package, { kind: 'answered', answers: oldest.answers })
    if (this.#inFlight.length > 0) return
    if (this.#state === 'closed') this.#connection?.end()
    else if (this.#retiring) this.#drop(grewOld)
  }

  onDrain(): void {
    this.#blocked = false
    this.#progressAt = this.#world.clock.monotonic()
    this.#transmittingBytes = Math.min(this.#transmittingBytes, systemBufferBytes)
    this.#pump()
  }

  onEnd(): void {
    this.#drop('the server ended the session')
  }

  onClose(error: Error | undefined): void {
    const opened = this.#state === 'open'
    const ended = this.#tls === undefined || opened ? 'connection closed' : 'the server did not take our certificate'
    const why = this.#lastError || (error?.message ?? ended)
    const inFlight = this.#inFlight
    this.#connection = undefined
    this.#inFlight = []
    this.#inFlightBytes = 0
    const waiting = this.#afterLoss(opened, why)
    if (opened && why !== grewOld) this.#world.log.info('link lost', { ...this.address, why })
    for (const one of inFlight) this.#settle(one.package, { kind: 'unclear', why })
    for (const one of waiting) this.#settle(one, { kind: 'not-sent', why })
  }

  /** An owner that fails at the news of one package must not cost the others theirs. */
  #settle(settled: QmtpLinkPackage, outcome: QmtpLinkOutcome): void {
    try {
      settled.settled(outcome)
    } catch (error) {
      reportHandlerFailure(this.#world.log, 'settled', error)
    }
  }

  /**
   * Connects again, at once where the lost connection had worked: then what waited goes on waiting, because one lost
   * connection is no reason to send the mail of a pool elsewhere. Gives the packages that must go back.
   */
  #afterLoss(opened: boolean, why: string): QmtpLinkPackage[] {
    if (this.#state === 'closed') return []
    const worked = opened && this.#failures === 0
    this.#lastError = why === grewOld ? '' : why
    if (worked) {
      this.#failures = why === grewOld ? 0 : 1
      this.#connect()
      return []
    }
    const waiting = this.#waiting
    this.#waiting = []
    this.#state = 'paused'
    const { reconnectMinMs, reconnectMaxMs } = this.#limits
    const ceiling = Math.min(reconnectMaxMs, reconnectMinMs * 2 ** Math.min(this.#failures, 30))
    this.#failures++
    const delay = ceiling / 2 + this.#world.random.below(Math.max(1, Math.floor(ceiling / 2)))
    this.#timer = this.#world.clock.after(delay, () => this.#connect())
    return waiting
  }

  /** The connection is of no more use; `onClose` settles what it carried. */
  #drop(why: string): void {
    if (this.#state === 'open') this.#lastError = why
    this.#connection?.destroy()
  }

  #mayWrite(next: QmtpLinkPackage): boolean {
    if (this.#state !== 'open' || this.#blocked || this.#retiring) return false
    if (this.#inFlight.length === 0) return true
    const limits = this.#limits
    return this.#inFlight.length < limits.windowPackages && this.#inFlightBytes + next.bytes <= limits.windowBytes
  }

  /** Writes what the window allows, in one system call. */
  #pump(): void {
    const connection = this.#connection
    if (connection === undefined || this.#waiting.length === 0) return
    connection.cork()
    for (let next = this.#waiting[0]; next !== undefined && this.#mayWrite(next); next = this.#waiting[0]) {
      this.#waiting.shift()
      this.#write(connection, next)
    }
    connection.uncork()
  }

  #write(connection: Connection, next: QmtpLinkPackage): void {
    if (this.#inFlight.length === 0) this.#progressAt = this.#world.clock.monotonic()
    this.#inFlight.push({ package: next, answers: [] })
    this.#inFlightBytes += next.bytes
    this.#transmittingBytes += next.bytes
    if (!next.writeTo(connection)) this.#blocked = true
  }
}
