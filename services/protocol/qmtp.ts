/**
 * QMTP: the packages a client sends and the replies a server gives (QMTP section 2 and 3).
 *
 *   package  = netstring(form byte, text) netstring(sender) netstring(netstring(recipient) ...)
 *   response = netstring(`K` | `Z` | `D`, text), one per recipient, in order, none before the last byte of the package
 *
 * Both line forms are read and neither is converted: LF-form text is stored as it came, CR-form text with its CR LF. What a
 * package means (relaying, sizes, addresses that are too long) is the server's business, not this file's. A package over
 * `messageBytesMax` is read to its end without being kept. A malformed stream ends the session.
 */

import type { ByteString } from './byte-string.ts'
import { byteStringOfChunks, encodeNetstring, NetstringReader, splitNetstrings } from './netstring.ts'

export type QmtpLineForm = 'lf' | 'crlf'

export interface QmtpServerLimits {
  /** Text bytes kept; a longer message is read, dropped and reported as oversize. */
  readonly messageBytesMax: number
  /** A message announced longer than this ends the session. */
  readonly announcedBytesMax: number
  readonly senderBytesMax: number
  /** The list of recipients with its inner framing. */
  readonly recipientListBytesMax: number
  readonly leadingZeros: 'refuse' | 'allow'
}

export const defaultQmtpServerLimits: QmtpServerLimits = {
  messageBytesMax: 50 * 1024 * 1024,
  announcedBytesMax: 200_000_000,
  senderBytesMax: 65_536,
  recipientListBytesMax: 4 * 1024 * 1024,
  leadingZeros: 'refuse',
}

export interface QmtpPackage {
  readonly form: QmtpLineForm
  /** The text without its form byte; empty where oversize. */
  readonly body: readonly Buffer[]
  readonly bodyBytes: number
  readonly oversize: boolean
  readonly sender: ByteString
  readonly recipients: readonly ByteString[]
}

export type QmtpServerEvent =
  | { readonly kind: 'need-data' }
  | { readonly kind: 'package'; readonly package: QmtpPackage }
  | { readonly kind: 'malformed'; readonly why: string }

const needData: { readonly kind: 'need-data' } = { kind: 'need-data' }
const lineFeed = 0x0a
const carriageReturn = 0x0d

export class QmtpServerReader {
  readonly #limits: QmtpServerLimits
  readonly #reader: NetstringReader
  readonly #messageLimits: { readonly bytesMax: number; readonly keptBytesMax: number }
  #expecting: 'message' | 'sender' | 'recipients' = 'message'
  #form: QmtpLineForm = 'lf'
  #body: readonly Buffer[] = []
  #bodyBytes = 0
  #oversize = false
  #sender: ByteString = ''
  #malformed: QmtpServerEvent | undefined

  constructor(limits: QmtpServerLimits) {
    this.#limits = limits
    this.#reader = new NetstringReader(limits.leadingZeros)
    this.#messageLimits = { bytesMax: limits.announcedBytesMax, keptBytesMax: limits.messageBytesMax + 1 }
  }

  /** Bytes held for the package being read. */
  get bufferedBytes(): number {
    return this.#reader.bufferedBytes + (this.#oversize ? 0 : this.#bodyBytes)
  }

  /** True between packages: the client may close here without leaving half of one. */
  get atBoundary(): boolean {
    return this.#expecting === 'message' && this.#reader.atBoundary
  }

  receive(chunk: Buffer): void {
    if (this.#malformed === undefined) this.#reader.receive(chunk)
  }

  next(): QmtpServerEvent {
    if (this.#malformed !== undefined) return this.#malformed
    for (;;) {
      const event = this.#reader.next(this.#limitsNow())
      if (event.kind === 'need-data') return needData
      if (event.kind === 'malformed') return this.#fail(event.why)
      switch (this.#expecting) {
        case 'message':
          if (event.oversize) this.#messageDropped(event.bytes)
          else if (!this.#messageEnds(event.chunks, event.bytes))
            return this.#fail('a message begins with neither LF nor CR')
          break
        case 'sender':
          this.#sender = byteStringOfChunks(event.chunks)
          this.#expecting = 'recipients'
          break
        case 'recipients':
          return this.#packageEnds(byteStringOfChunks(event.chunks))
      }
    }
  }

  #limitsNow(): { readonly bytesMax: number; readonly keptBytesMax?: number } {
    if (this.#expecting === 'message') return this.#messageLimits
    return { bytesMax: this.#expecting === 'sender' ? this.#limits.senderBytesMax : this.#limits.recipientListBytesMax }
  }

  #messageEnds(chunks: readonly Buffer[], bytes: number): boolean {
    const first = chunks[0]
    const formByte = first?.[0]
    if (first === undefined || (formByte !== lineFeed && formByte !== carriageReturn)) return false
    this.#form = formByte === lineFeed ? 'lf' : 'crlf'
    const rest = first.subarray(1)
    this.#body = rest.length === 0 ? chunks.slice(1) : chunks.length === 1 ? [rest] : [rest, ...chunks.slice(1)]
    this.#bodyBytes = bytes - 1
    this.#oversize = false
    this.#expecting = 'sender'
    return true
  }

  #messageDropped(bytes: number): void {
    this.#body = []
    this.#bodyBytes = bytes - 1
    this.#oversize = true
    this.#expecting = 'sender'
  }

  #packageEnds(list: ByteString): QmtpServerEvent {
    const split = splitNetstrings(list, this.#limits.leadingZeros)
    if (!split.ok) return this.#fail(split.why)
    const event: QmtpServerEvent = {
      kind: 'package',
      package: {
        form: this.#form,
        body: this.#body,
        bodyBytes: this.#bodyBytes,
        oversize: this.#oversize,
        sender: this.#sender,
        recipients: split.contents,
      },
    }
    this.#expecting = 'message'
    this.#body = []
    this.#bodyBytes = 0
    return event
  }

  #fail(why: string): QmtpServerEvent {
    this.#malformed = { kind: 'malformed', why }
    this.#body = []
    this.#bodyBytes = 0
    return this.#malformed
  }
}

export type QmtpLetter = 'K' | 'Z' | 'D'

/** Text must be one line without control characters; the standard reserves a leading space. */
export function encodeQmtpReply(letter: QmtpLetter, text: ByteString): ByteString {
  return encodeNetstring(letter + text)
}

/** The beginning of a package; exactly `bodyBytes` bytes of text in the announced form must follow. */
export function encodeQmtpHead(form: QmtpLineForm, bodyBytes: number): ByteString {
  return `${bodyBytes + 1}:${form === 'lf' ? '\n' : '\r'}`
}

/** The end of a package, from the comma that closes the message. */
export function encodeQmtpTail(sender: ByteString, recipients: readonly ByteString[]): ByteString {
  let list = ''
  for (const recipient of recipients) list += encodeNetstring(recipient)
  return `,${encodeNetstring(sender)}${encodeNetstring(list)}`
}

export interface QmtpReplyLimits {
  readonly replyBytesMax: number
}

export const defaultQmtpReplyLimits: QmtpReplyLimits = { replyBytesMax: 65_536 }

export type QmtpReplyEvent =
  | { readonly kind: 'need-data' }
  | { readonly kind: 'reply'; readonly letter: QmtpLetter; readonly text: ByteString }
  | { readonly kind: 'malformed'; readonly why: string }

/** What a client reads back. A framing error leaves every unanswered recipient of the session without an outcome. */
/**
 * Sent by a server of ours as the first thing on TLS, once it takes the client's certificate: an empty netstring. QMTP itself has no
 * greeting; between other programs and ours nothing of this is spoken.
 */
export const qmtpWelcome: ByteString = '0:,'

export class QmtpReplyReader {
  readonly #reader = new NetstringReader('allow')
  readonly #limits: { readonly bytesMax: number }
  #malformed: QmtpReplyEvent | undefined

  constructor(limits: QmtpReplyLimits) {
    this.#limits = { bytesMax: limits.replyBytesMax }
  }

  receive(chunk: Buffer): void {
    if (this.#malformed === undefined) this.#reader.receive(chunk)
  }

  next(): QmtpReplyEvent {
    if (this.#malformed !== undefined) return this.#malformed
    const event = this.#reader.next(this.#limits)
    if (event.kind === 'need-data') return needData
    if (event.kind === 'malformed') return this.#fail(event.why)
    const content = byteStringOfChunks(event.chunks)
    const letter = content.charAt(0)
    if (letter !== 'K' && letter !== 'Z' && letter !== 'D') return this.#fail('a reply begins with none of K, Z and D')
    return { kind: 'reply', letter, text: content.slice(1) }
  }

  #fail(why: string): QmtpReplyEvent {
    this.#malformed = { kind: 'malformed', why }
    return this.#malformed
  }
}
