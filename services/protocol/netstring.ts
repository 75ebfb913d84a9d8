/**
 * Netstrings: decimal byte count, `:`, the bytes, `,` (netstrings; QMTP section 6). The one reader and the one writer.
 *
 * Strict by default: the count is digits without leading zeros, at most `lengthDigitsMax` of them, and at most the caller's
 * limit. `leadingZeros: 'allow'` serves old peers and loosens nothing else. Nothing is allocated for an announced
 * length: content is kept as the chunks it came in, and past `keptBytesMax` it is counted and dropped.
 * A malformed stream stays malformed: there is no way to find the next netstring in it.
 */

import type { ByteString } from './byte-string.ts'

export interface NetstringLimits {
  /** A longer netstring is malformed. */
  readonly bytesMax: number
  /** A netstring longer than this, but within `bytesMax`, is read to its end and reported as oversize without content. */
  readonly keptBytesMax?: number
}

export type NetstringEvent =
  | { readonly kind: 'need-data' }
  | {
      readonly kind: 'netstring'
      readonly chunks: readonly Buffer[]
      readonly bytes: number
      readonly oversize: boolean
    }
  | { readonly kind: 'malformed'; readonly why: string }

export const lengthDigitsMax = 10

const needData: NetstringEvent = { kind: 'need-data' }
const colon = 0x3a
const comma = 0x2c
const zero = 0x30

export class NetstringReader {
  readonly #leadingZeros: 'refuse' | 'allow'
  #input: Buffer[] = []
  #offset = 0
  #state: 'length' | 'content' | 'malformed' = 'length'
  #digits = 0
  #length = 0
  #remaining = 0
  #kept: Buffer[] = []
  #keptBytes = 0
  #inputBytes = 0
  #malformed: NetstringEvent = needData

  constructor(leadingZeros: 'refuse' | 'allow' = 'refuse') {
    this.#leadingZeros = leadingZeros
  }

  /** Bytes held: not yet read, or content of an unfinished netstring. */
  get bufferedBytes(): number {
    return this.#inputBytes + this.#keptBytes
  }

  /** True between netstrings: the stream may end here. */
  get atBoundary(): boolean {
    return this.#state === 'length' && this.#digits === 0 && this.#inputBytes === 0
  }

  receive(chunk: Buffer): void {
    if (chunk.length === 0) return
    this.#input.push(chunk)
    this.#inputBytes += chunk.length
  }

  /** The next netstring; the limits are those of the one now being read. */
  next(limits: NetstringLimits): NetstringEvent {
    if (this.#state === 'length') this.#readLength(limits)
    if (this.#state === 'content') return this.#readContent(limits)
    return this.#state === 'malformed' ? this.#malformed : needData
  }

  #readLength(limits: NetstringLimits): void {
    for (;;) {
      const chunk = this.#input[0]
      if (chunk === undefined) return
      while (this.#offset < chunk.length) {
        const byte = chunk[this.#offset++]!
        this.#inputBytes--
        if (byte === colon) return this.#lengthEnds(limits)
        const digit = byte - zero
        if (digit < 0 || digit > 9) return this.#fail('a length holds a byte that is not a digit')
        if (this.#digits > 0 && this.#length === 0 && this.#leadingZeros === 'refuse')
          return this.#fail('a length has a leading zero')
        if (++this.#digits > lengthDigitsMax) return this.#fail(`a length has more than ${lengthDigitsMax} digits`)
        this.#length = this.#length * 10 + digit
      }
      this.#input.shift()
      this.#offset = 0
    }
  }

  #lengthEnds(limits: NetstringLimits): void {
    if (this.#digits === 0) return this.#fail('a length is empty')
    if (this.#length > limits.bytesMax)
      return this.#fail(`a netstring of ${this.#length} bytes exceeds the limit of ${limits.bytesMax}`)
    this.#state = 'content'
    this.#remaining = this.#length
  }

  #readContent(limits: NetstringLimits): NetstringEvent {
    const oversize = this.#length > (limits.keptBytesMax ?? limits.bytesMax)
    for (;;) {
      const chunk = this.#input[0]
      if (chunk === undefined) return needData
      const take = Math.min(this.#remaining, chunk.length - this.#offset)
      if (take > 0) {
        if (!oversize) {
          this.#kept.push(chunk.subarray(this.#offset, this.#offset + take))
          this.#keptBytes += take
        }
        this.#offset += take
        this.#remaining -= take
        this.#inputBytes -= take
      }
      if (this.#offset === chunk.length) {
        this.#input.shift()
        this.#offset = 0
        continue
      }
      this.#inputBytes--
      if (chunk[this.#offset++] !== comma) {
        this.#fail('a netstring does not end in a comma')
        return this.#malformed
      }
      if (this.#offset === chunk.length) {
        this.#input.shift()
        this.#offset = 0
      }
      return this.#finish(oversize)
    }
  }

  #finish(oversize: boolean): NetstringEvent {
    const event: NetstringEvent = { kind: 'netstring', chunks: this.#kept, bytes: this.#length, oversize }
    this.#state = 'length'
    this.#digits = 0
    this.#length = 0
    this.#kept = []
    this.#keptBytes = 0
    return event
  }

  #fail(why: string): void {
    this.#state = 'malformed'
    this.#malformed = { kind: 'malformed', why }
    this.#input = []
    this.#inputBytes = 0
    this.#kept = []
    this.#keptBytes = 0
  }
}

/** A netstring of byte-string content. */
export function encodeNetstring(content: ByteString): ByteString {
  return `${content.length}:${content},`
}

/** Chunks as one byte string. */
export function byteStringOfChunks(chunks: readonly Buffer[]): ByteString {
  const only = chunks[0]
  if (only === undefined) return ''
  if (chunks.length === 1) return only.toString('latin1')
  let text = ''
  for (const chunk of chunks) text += chunk.toString('latin1')
  return text
}

/** The contents of back-to-back netstrings that fill `text` exactly, or why they do not. */
export function splitNetstrings(
  text: ByteString,
  leadingZeros: 'refuse' | 'allow' = 'refuse',
): { readonly ok: true; readonly contents: readonly ByteString[] } | { readonly ok: false; readonly why: string } {
  const contents: ByteString[] = []
  let position = 0
  while (position < text.length) {
    const end = text.indexOf(':', position)
    if (end < 0 || end - position > lengthDigitsMax) return { ok: false, why: 'an inner length does not end' }
    const digits = text.slice(position, end)
    if (!/^[0-9]+$/.test(digits)) return { ok: false, why: 'an inner length is not a number' }
    if (leadingZeros === 'refuse' && digits.length > 1 && digits.startsWith('0'))
      return { ok: false, why: 'an inner length has a leading zero' }
    const length = Number(digits)
    const contentEnd = end + 1 + length
    if (contentEnd >= text.length) return { ok: false, why: 'an inner netstring is longer than the list that holds it' }
    if (text.charCodeAt(contentEnd) !== comma) return { ok: false, why: 'an inner netstring does not end in a comma' }
    contents.push(text.slice(end + 1, contentEnd))
    position = contentEnd + 1
  }
  return { ok: true, contents }
}
