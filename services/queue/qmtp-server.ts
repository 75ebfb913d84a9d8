/**
 * QMTP on a socket: pumps packages into the intake and answers back out, in order.
 *
 * Answers of one batch leave with one write per connection. A client may send any number of packages ahead; past
 * `outstandingBytesMax` it is not read from until answers have gone out. A half package that stands still is dropped.
 * Only peers in the layout's list are served: QMTP has no authentication of its own.
 *
 * Where the layout wants TLS, one port serves both: the first byte of a handshake is none that QMTP can begin with. Processes of the
 * cluster prove themselves in the handshake and are welcomed (`qmtpWelcome`); without TLS only the networks named for it are served. Without
 * a usable certificate every handshake is refused, so that mail waits at the edges, which answer 451, and never comes in the clear.
 */

import type { ByteString } from '../protocol/byte-string.ts'
import { type QmtpPackage, type QmtpServerLimits, QmtpServerReader, qmtpWelcome } from '../protocol/qmtp.ts'
import { AddressList } from '../runtime/address-list.ts'
import type { Connection, ConnectionHandler, Listener, Timer, TlsServerOptions, World } from '../runtime/world.ts'
import type { Intake } from './intake.ts'

export interface QmtpListenLimits {
  readonly reader: QmtpServerLimits
  readonly connectionsMax: number
  /** Body bytes of unanswered packages of one connection. */
  readonly outstandingBytesMax: number
  /** A package begun must go on at least this often. */
  readonly packageTimeoutMs: number
}

/** Who may connect, in CIDR form. */
export interface QmtpAdmission {
  readonly acceptFrom: readonly string[]
  /** Those who need no TLS; absent: nobody needs it, and it is not spoken. */
  readonly plainFrom?: readonly string[]
}

export class QmtpServer {
  readonly #world: World
  readonly #intake: Intake
  #limits: QmtpListenLimits
  readonly #sessions = new Set<QmtpSession>()
  #allowed: AddressList
  #plain: AddressList | undefined
  #tls: TlsServerOptions | undefined
  #listener: Listener | undefined
  #sweep: Timer | undefined

  constructor(world: World, intake: Intake, limits: QmtpListenLimits, admission: QmtpAdmission) {
    this.#world = world
    this.#intake = intake
    this.#limits = limits
    this.#allowed = new AddressList(admission.acceptFrom)
    this.#plain = plainListOf(admission)
  }

  /** Rejects where the port cannot be had. */
  async listen(host: string, port: number): Promise<void> {
    this.#listener = await this.#world.network.listen({ host, port }, (connection) => this.#accept(connection))
    if (this.#tls !== undefined) this.#listener.setTls(this.#tls)
    this.#scheduleSweep()
  }

  /** For handshakes that begin later; those of undefined are refused. */
  setTls(options: TlsServerOptions | undefined): void {
    this.#tls = options
    if (options !== undefined) this.#listener?.setTls(options)
  }

  get address(): { readonly host: string; readonly port: number } | undefined {
    return this.#listener?.address
  }

  /** For connections that come later. */
  apply(admission: QmtpAdmission, limits: QmtpListenLimits): void {
    this.#allowed = new AddressList(admission.acceptFrom)
    this.#plain = plainListOf(admission)
    this.#limits = limits
  }

  /** Takes no more connections and no more packages; answers under way still leave. */
  async close(): Promise<void> {
    this.#sweep?.cancel()
    await this.#listener?.close()
    for (const session of this.#sessions) session.finish()
  }

  /** Drops what is still open. */
  destroy(): void {
    for (const session of this.#sessions) session.connection.destroy()
  }

  #accept(connection: Connection): ConnectionHandler {
    const peer = connection.remote.host
    const door: Door | undefined =
      this.#plain === undefined
        ? undefined
        : { takesPlain: this.#plain.has(peer), takesTls: () => this.#tls !== undefined }
    const session = new QmtpSession(connection, peer, this.#intake, this.#limits, this.#world, door, () =>
      this.#sessions.delete(session),
    )
    if (!this.#allowed.has(peer) || this.#sessions.size >= this.#limits.connectionsMax) {
      this.#world.log.warn('QMTP client refused', {
        peer,
        why: this.#allowed.has(peer) ? 'too many connections' : 'not in the layout',
      })
      connection.destroy()
      return session
    }
    this.#sessions.add(session)
    return session
  }

  #scheduleSweep(): void {
    this.#sweep = this.#world.clock.after(this.#limits.packageTimeoutMs / 4, () => {
      const now = this.#world.clock.monotonic()
      for (const session of this.#sessions) session.check(now)
      this.#scheduleSweep()
    })
  }
}

function plainListOf({ plainFrom }: QmtpAdmission): AddressList | undefined {
  return plainFrom === undefined ? undefined : new AddressList(plainFrom)
}

/** What a client must show before it is listened to. */
interface Door {
  readonly takesPlain: boolean
  readonly takesTls: () => boolean
}

/** The first byte of a TLS handshake; a package of QMTP begins with a digit. */
const tlsHandshakeByte = 0x16
const handshakeMsMax = 10_000

interface Slot {
  replies: ByteString | undefined
  readonly bytes: number
}

class QmtpSession implements ConnectionHandler {
  readonly connection: Connection
  readonly #peer: string
  readonly #intake: Intake
  readonly #limits: QmtpListenLimits
  readonly #world: World
  readonly #onClosed: () => void
  /** Until the client is through it. */
  #door: Door | undefined
  #handshake: Timer | undefined
  readonly #reader: QmtpServerReader
  #slots: Slot[] = []
  #outstandingBytes = 0
  #flushing = false
  #blocked = false
  #paused = false
  #ending = false
  #closed = false
  #lastData: number

  constructor(
    connection: Connection,
    peer: string,
    intake: Intake,
    limits: QmtpListenLimits,
    world: World,
    door: Door | undefined,
    onClosed: () => void,
  ) {
    this.connection = connection
    this.#peer = peer
    this.#intake = intake
    this.#limits = limits
    this.#world = world
    this.#door = door
    this.#onClosed = onClosed
    this.#reader = new QmtpServerReader(limits.reader)
    this.#lastData = world.clock.monotonic()
  }

  onOpen(): void {}

  onSecure(): void {
    this.#handshake?.cancel()
    this.#door = undefined
    this.connection.write(qmtpWelcome)
  }

  onData(chunk: Buffer): void {
    if (this.#ending) return
    if (this.#door !== undefined && !this.#isThrough(this.#door, chunk)) return
    this.#lastData = this.#world.clock.monotonic()
    this.#reader.receive(chunk)
    this.#read()
  }

  onDrain(): void {
    this.#blocked = false
    this.#resume()
  }

  onEnd(): void {
    this.finish()
  }

  onClose(error?: Error): void {
    this.#closed = true
    this.#handshake?.cancel()
    if (this.#door !== undefined && error !== undefined) this.#refuse(error.message)
    this.#onClosed()
  }

  /** True where the client has nothing to prove; else a handshake begins, or all is over. */
  #isThrough(door: Door, chunk: Buffer): boolean {
    if (chunk[0] !== tlsHandshakeByte) {
      if (door.takesPlain) this.#door = undefined
      else this.#refuse('it speaks without TLS, and its address is not among those that may')
      return door.takesPlain
    }
    if (!door.takesTls()) {
      this.#refuse('there is no usable certificate here')
      return false
    }
    this.#handshake = this.#world.clock.after(handshakeMsMax, () => this.#refuse('its handshake takes too long'))
    this.connection.startTls('server', chunk)
    return false
  }

  #refuse(why: string): void {
    this.#world.log.warn('QMTP client refused', { peer: this.#peer, why })
    this.#door = undefined
    this.#ending = true
    this.connection.destroy()
  }

  /** Reads no more; closes when every package read has been answered. */
  finish(): void {
    this.#ending = true
    this.#flush()
  }

  /** QMTP section 5: a session that nobody uses any more ends, and a package must go on. */
  check(now: number): void {
    const silentMs = now - this.#lastData
    if (this.#reader.atBoundary && this.#slots.length === 0) {
      if (silentMs > idleSessionMsMax) this.finish()
    } else if (silentMs > this.#limits.packageTimeoutMs && !this.#reader.atBoundary && !this.#paused) {
      this.#world.log.warn('QMTP client dropped: its package stands still', { peer: this.#peer })
      this.connection.destroy()
    }
  }

  #read(): void {
    while (!this.#paused && !this.#ending) {
      const event = this.#reader.next()
      if (event.kind === 'need-data') return
      if (event.kind === 'malformed') {
        this.#world.log.warn('QMTP client dropped', { peer: this.#peer, why: event.why })
        return this.finish()
      }
      const slot: Slot = { replies: undefined, bytes: weightOf(event.package) }
      this.#slots.push(slot)
      this.#outstandingBytes += slot.bytes
      this.#pauseIfFull()
      this.#intake.accept(event.package, this.#peer, (replies) => {
        slot.replies = replies
        this.#flushSoon()
      })
    }
  }

  #pauseIfFull(): void {
    if (this.#outstandingBytes < this.#limits.outstandingBytesMax && !this.#blocked) return
    this.#paused = true
    this.connection.pause()
  }

  #resume(): void {
    if (!this.#paused || this.#blocked || this.#outstandingBytes >= this.#limits.outstandingBytesMax / 2) return
    this.#paused = false
    this.connection.resume()
    this.#read()
  }

  /** After the batch that is being answered now, so that its answers share one write. */
  #flushSoon(): void {
    if (this.#flushing) return
    this.#flushing = true
    queueMicrotask(() => {
      this.#flushing = false
      this.#flush()
    })
  }

  #flush(): void {
    if (this.#closed) return
    let output = ''
    let count = 0
    for (const slot of this.#slots) {
      if (slot.replies === undefined) break
      output += slot.replies
      this.#outstandingBytes -= slot.bytes
      count++
    }
    if (count > 0) this.#slots.splice(0, count)
    if (output !== '' && !this.connection.write(output)) this.#blocked = true
    if (this.#ending && this.#slots.length === 0) return this.connection.end()
    if (this.#blocked) this.#pauseIfFull()
    this.#resume()
  }
}

/** QMTP section 5 gives a session an hour. */
const idleSessionMsMax = 3600 * 1000
/** A recipient costs an object and a reply, however short it is. */
const recipientWeight = 128

function weightOf(given: QmtpPackage): number {
  let bytes = given.bodyBytes
  for (const recipient of given.recipients) bytes += recipient.length + recipientWeight
  return bytes
}
