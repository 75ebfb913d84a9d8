/**
 * Which packages this instance has committed in the last 24 hours (promise 5): 96-bit keys of (id, sender, recipients); and
 * which messages it took over from other instances, by the place each one left.
 *
 * A package offered again after a lost acknowledgement finds its key and is answered `K` without a second copy; the same id
 * with another sender or other recipients is another package. Twelve bytes a message, in hourly sets that expire whole.
 * The keys of a closed segment are saved beside it, so that they outlive the messages; those of later segments come back
 * with the records themselves. Two different packages share a key with a chance of about n^2 / 2^97.
 */

import type { ByteString } from '../protocol/byte-string.ts'
import { crc32 } from '../runtime/digest.ts'

export const idsRememberedMs = 24 * 3600 * 1000
const generationMs = 3600 * 1000
const words = 3

export interface IdKey {
  readonly a: number
  readonly b: number
  readonly c: number
}

/** Three differently seeded multiplicative hashes of the same text. */
export function idKey(id: string, sender: ByteString, recipients: readonly ByteString[]): IdKey {
  const state = new Uint32Array([0x9e3779b9, 0x85ebca6b, 0xc2b2ae35])
  mix(state, id)
  mix(state, sender)
  for (const recipient of recipients) mix(state, recipient)
  // All zero marks an empty slot.
  return { a: finish(state[0]!, state[1]!), b: finish(state[1]!, state[2]!), c: finish(state[2]!, state[0]!) || 1 }
}

/** A key as a key of a map. */
export function nameOfKey(key: IdKey): string {
  return `${key.a}.${key.b}.${key.c}`
}

/**
 * The key of a message taken over: of the place it left and the id it has, so that an instance whose home was lost and whose numbers
 * begin anew is never taken for the one before.
 */
export function transferKey(source: { readonly instance: string; readonly number: number }, id: string): IdKey {
  return idKey(id, `${source.instance}>${source.number}`, [])
}

/** Both keys of a message taken over: a package offered again that its next hop has handed over is recognised where it went. */
export function keysOfTaken(record: {
  readonly id: string
  readonly sender: ByteString
  readonly recipients: readonly { readonly address: ByteString }[]
  readonly source: { readonly instance: string; readonly number: number }
}): readonly [IdKey, IdKey] {
  const addresses = record.recipients.map(({ address }) => address)
  return [transferKey(record.source, record.id), idKey(record.id, record.sender, addresses)]
}

function mix(state: Uint32Array, text: string): void {
  let a = state[0]!
  let b = state[1]!
  let c = state[2]!
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    a = Math.imul(a ^ code, 0x85ebca77)
    b = Math.imul(b ^ code, 0xc2b2ae3d) ^ (a >>> 15)
    c = Math.imul(c ^ code, 0x27d4eb2f) ^ (b >>> 13)
  }
  // The length keeps ('ab', 'c') apart from ('a', 'bc').
  state[0] = Math.imul(a ^ text.length, 0x165667b1)
  state[1] = Math.imul(b ^ text.length, 0x9e3779b1)
  state[2] = Math.imul(c ^ text.length, 0x7feb352d)
}

function finish(value: number, other: number): number {
  let hash = value ^ (other >>> 16)
  hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d)
  hash = Math.imul(hash ^ (hash >>> 15), 0x846ca68b)
  return (hash ^ (hash >>> 16)) >>> 0
}

export class IdIndex {
  /** By hour. */
  readonly #generations = new Map<number, KeySet>()
  /** Keys added since the last `takeFresh`. */
  #fresh: IdKey[] = []
  #freshAt = 0

  get size(): number {
    let size = 0
    for (const set of this.#generations.values()) size += set.size
    return size
  }

  /** Keys not yet saved with a segment. */
  get freshCount(): number {
    return this.#fresh.length
  }

  has(key: IdKey): boolean {
    for (const set of this.#generations.values()) if (set.has(key)) return true
    return false
  }

  /** A key committed at `at`, to be saved with the segment being written. */
  add(key: IdKey, at: number): void {
    this.#insert(key, at)
    this.#fresh.push(key)
    this.#freshAt = Math.max(this.#freshAt, at)
  }

  /** The keys of the segment that ends now, as a file's bytes. */
  takeFresh(): Buffer {
    const bytes = encodeKeys(this.#fresh, this.#freshAt)
    this.#fresh = []
    this.#freshAt = 0
    return bytes
  }

  /**
   * Adds the keys of a file and answers how young the youngest may be; `expired` where none of them matters any more, `damaged` where
   * it does not check.
   */
  load(file: Buffer, now: number): number | 'expired' | 'damaged' {
    const decoded = decodeKeys(file)
    if (decoded === undefined) return 'damaged'
    if (decoded.at < now - idsRememberedMs) return 'expired'
    for (const key of decoded.keys) this.#insert(key, decoded.at)
    return decoded.at
  }

  /** Forgets hours that are past. */
  expire(now: number): void {
    for (const hour of this.#generations.keys()) {
      if ((hour + 1) * generationMs < now - idsRememberedMs) this.#generations.delete(hour)
    }
  }

  #insert(key: IdKey, at: number): void {
    const hour = Math.floor(at / generationMs)
    let set = this.#generations.get(hour)
    if (set === undefined) {
      set = new KeySet()
      this.#generations.set(hour, set)
    }
    set.add(key)
  }
}

const fileMagic = 'QMQIDS1\n'
const fileHeaderBytes = 28

function encodeKeys(keys: readonly IdKey[], at: number): Buffer {
  const buffer = Buffer.alloc(fileHeaderBytes + keys.length * words * 4)
  buffer.write(fileMagic, 0, 'latin1')
  buffer.writeDoubleLE(at, 8)
  buffer.writeDoubleLE(keys.length, 16)
  let offset = fileHeaderBytes
  for (const key of keys) {
    buffer.writeUInt32LE(key.a, offset)
    buffer.writeUInt32LE(key.b, offset + 4)
    buffer.writeUInt32LE(key.c, offset + 8)
    offset += words * 4
  }
  buffer.writeUInt32LE(crc32([buffer.subarray(0, 24), buffer.subarray(fileHeaderBytes)]), 24)
  return buffer
}

function decodeKeys(file: Buffer): { readonly at: number; readonly keys: readonly IdKey[] } | undefined {
  if (file.length < fileHeaderBytes || file.toString('latin1', 0, 8) !== fileMagic) return undefined
  if (crc32([file.subarray(0, 24), file.subarray(fileHeaderBytes)]) !== file.readUInt32LE(24)) return undefined
  const count = file.readDoubleLE(16)
  if (file.length !== fileHeaderBytes + count * words * 4) return undefined
  const keys: IdKey[] = []
  for (let offset = fileHeaderBytes; offset < file.length; offset += words * 4) {
    keys.push({ a: file.readUInt32LE(offset), b: file.readUInt32LE(offset + 4), c: file.readUInt32LE(offset + 8) })
  }
  return { at: file.readDoubleLE(8), keys }
}

/** Keys that are never forgotten. Open addressing over one typed array; at most half full. */
export class KeySet {
  size = 0
  #slots = 1024
  #table = new Uint32Array(this.#slots * words)

  has(key: IdKey): boolean {
    const slot = this.#find(key)
    return this.#table[slot + 2] !== 0
  }

  add(key: IdKey): void {
    if (this.size * 2 >= this.#slots) this.#grow()
    const slot = this.#find(key)
    if (this.#table[slot + 2] !== 0) return
    this.#table[slot] = key.a
    this.#table[slot + 1] = key.b
    this.#table[slot + 2] = key.c
    this.size++
  }

  /** Where the key is, or the empty slot where it would be. */
  #find(key: IdKey): number {
    const table = this.#table
    let slot = (key.a & (this.#slots - 1)) * words
    while (table[slot + 2] !== 0) {
      if (table[slot] === key.a && table[slot + 1] === key.b && table[slot + 2] === key.c) return slot
      slot += words
      if (slot === table.length) slot = 0
    }
    return slot
  }

  #grow(): void {
    const old = this.#table
    this.#slots *= 2
    this.#table = new Uint32Array(this.#slots * words)
    for (let slot = 0; slot < old.length; slot += words) {
      if (old[slot + 2] === 0) continue
      const to = this.#find({ a: old[slot]!, b: old[slot + 1]!, c: old[slot + 2]! })
      this.#table.set(old.subarray(slot, slot + words), to)
    }
  }
}
