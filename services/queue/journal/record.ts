/**
 * One journal record: header, meta, body. The one reader and the one writer; no I/O.
 *
 *   0  u32  magic `QMQ` and the record's type
 *   4  u32  CRC-32 of the header from byte 8 and the meta, seeded with the segment's salt
 *   8  u32  bytes of meta        12 u32  bytes of body
 *   16 u32  CRC-32 of the body   20 u32  batch, counted from 1 in each segment
 *   24 u32  records of the same batch that follow this one        28 u32  segment
 *   32      meta, then body
 *
 * The salt makes records of a segment file's earlier life worthless after it is reused, and records that a message's text
 * imitates worthless always. Batch numbers tell a torn tail from
 * damage: batch n + 1 is written only after batch n is durable, so a bad record followed by a later batch was durable
 * once (`recovery.ts`). Numbers are little-endian; times are unix milliseconds; text is latin1, one byte a character.
 */

import type { ByteString } from '../../protocol/byte-string.ts'
import type { Failure } from '../../protocol/failure.ts'
import { crc32 } from '../../runtime/digest.ts'

export const recordHeaderBytes = 32
/** A longer meta is refused before it is written, and taken for damage when read: 50 000 recipients with their last failures fit. */
export const metaBytesMax = 128 * 1024 * 1024
export const bodyBytesMax = 2 ** 31

const magic = 0x00514d51
const types = ['message', 'carried', 'result', 'deferral', 'bounced', 'hold'] as const
export type RecordType = (typeof types)[number]

export type RecipientStatus = 'pending' | 'delivered' | 'failed' | 'discarded'
const statuses: readonly RecipientStatus[] = ['pending', 'delivered', 'failed', 'discarded']

/** What became of one recipient so far. */
export interface RecipientState {
  readonly address: ByteString
  readonly status: RecipientStatus
  readonly attempts: number
  /** Next attempt, while pending. */
  readonly dueAt: number
  /** The last failure, or why it failed for good. */
  readonly failure: Failure | undefined
  readonly remote: string
  /** When the status was reached. */
  readonly at: number
}

export interface MessageRecord {
  readonly type: 'message'
  readonly number: number
  readonly id: string
  readonly birthAt: number
  readonly form: 'lf' | 'crlf'
  readonly sender: ByteString
  readonly recipients: readonly ByteString[]
}

/** A message copied out of an old segment, with all that had become of it. */
export interface CarriedRecord {
  readonly type: 'carried'
  readonly number: number
  readonly id: string
  readonly birthAt: number
  readonly form: 'lf' | 'crlf'
  readonly sender: ByteString
  readonly recipients: readonly RecipientState[]
}

/** Recipients settled: `status` is never pending. */
export interface ResultRecord {
  readonly type: 'result'
  readonly number: number
  readonly at: number
  readonly results: readonly {
    readonly index: number
    readonly status: 'delivered' | 'failed'
    readonly failure: Failure | undefined
    readonly remote: string
  }[]
}

export interface DeferralRecord {
  readonly type: 'deferral'
  readonly number: number
  readonly at: number
  readonly dueAt: number
  readonly deferrals: readonly { readonly index: number; readonly failure: Failure; readonly remote: string }[]
}

/** The failed recipients were reported (or, with `discarded`, dropped by a named rule): the message is over. */
export interface BouncedRecord {
  readonly type: 'bounced'
  readonly number: number
  readonly at: number
  readonly discarded: boolean
  /** Recipients this settles. */
  readonly count: number
  /** Id of the bounce, or the rule that discarded. */
  readonly bounce: string
}

/** Set aside by an operator, or because its body is damaged; or released again. */
export interface HoldRecord {
  readonly type: 'hold'
  readonly number: number
  readonly at: number
  readonly held: boolean
  readonly why: string
}

export type JournalRecord = MessageRecord | CarriedRecord | ResultRecord | DeferralRecord | BouncedRecord | HoldRecord

export interface RecordHeader {
  readonly type: RecordType
  readonly metaBytes: number
  readonly bodyBytes: number
  readonly bodyCrc: number
  readonly batch: number
  readonly recordsLeft: number
  readonly segment: number
}

/** Header (without what `sealRecord` adds) and meta in one buffer. */
export function encodeRecord(record: JournalRecord, bodyBytes: number, bodyCrc: number): Buffer {
  const metaBytes = metaLength(record)
  if (metaBytes > metaBytesMax)
    throw new RangeError(`a journal record's meta of ${metaBytes} bytes exceeds ${metaBytesMax}`)
  const buffer = Buffer.allocUnsafe(recordHeaderBytes + metaBytes)
  buffer.writeUInt32LE(((types.indexOf(record.type) << 24) | magic) >>> 0, 0)
  buffer.writeUInt32LE(metaBytes, 8)
  buffer.writeUInt32LE(bodyBytes, 12)
  buffer.writeUInt32LE(bodyCrc, 16)
  const end = writeMeta(new MetaWriter(buffer, recordHeaderBytes), record)
  if (end !== buffer.length) throw new Error(`a ${record.type} record came to ${end} bytes instead of ${buffer.length}`)
  return buffer
}

export interface RecordPlace {
  readonly segment: number
  readonly salt: number
  readonly batch: number
  readonly recordsLeft: number
}

/** Completes a record for its place. */
export function sealRecord(encoded: Buffer, place: RecordPlace): void {
  encoded.writeUInt32LE(place.batch, 20)
  encoded.writeUInt32LE(place.recordsLeft, 24)
  encoded.writeUInt32LE(place.segment >>> 0, 28)
  encoded.writeUInt32LE(crc32([encoded.subarray(8)], place.salt), 4)
}

/** The header at `offset`, or undefined where none can be: not a record, or not all of it and its meta in `buffer`. */
export function readHeader(buffer: Buffer, offset: number, salt: number): RecordHeader | undefined {
  const header = peekHeader(buffer, offset)
  if (header === undefined) return undefined
  const end = offset + recordHeaderBytes + header.metaBytes
  if (end > buffer.length) return undefined
  const crc = crc32([buffer.subarray(offset + 8, end)], salt)
  return crc === buffer.readUInt32LE(offset + 4) ? header : undefined
}

/** A header by its looks alone; its CRC is not checked. */
export function peekHeader(buffer: Buffer, offset: number): RecordHeader | undefined {
  if (offset + recordHeaderBytes > buffer.length) return undefined
  const word = buffer.readUInt32LE(offset)
  if ((word & 0xffffff) !== magic) return undefined
  const type = types[word >>> 24]
  const metaBytes = buffer.readUInt32LE(offset + 8)
  const bodyBytes = buffer.readUInt32LE(offset + 12)
  if (type === undefined || metaBytes > metaBytesMax || bodyBytes > bodyBytesMax) return undefined
  return {
    type,
    metaBytes,
    bodyBytes,
    bodyCrc: buffer.readUInt32LE(offset + 16),
    batch: buffer.readUInt32LE(offset + 20),
    recordsLeft: buffer.readUInt32LE(offset + 24),
    segment: buffer.readUInt32LE(offset + 28),
  }
}

/** The record whose checked header stands at `offset`. Throws RangeError where the meta does not fit its type. */
export function decodeRecord(buffer: Buffer, offset: number, header: RecordHeader): JournalRecord {
  const start = offset + recordHeaderBytes
  const reader = new MetaReader(buffer, start, start + header.metaBytes)
  const record = readMeta(reader, header.type)
  reader.finish()
  return record
}

function metaLength(record: JournalRecord): number {
  switch (record.type) {
    case 'message': {
      let bytes = 8 + 8 + 1 + 1 + record.id.length + 2 + record.sender.length + 4
      for (const recipient of record.recipients) bytes += 2 + recipient.length
      return bytes
    }
    case 'carried': {
      let bytes = 8 + 8 + 1 + 1 + record.id.length + 2 + record.sender.length + 4
      for (const recipient of record.recipients) bytes += stateLength(recipient)
      return bytes
    }
    case 'result': {
      let bytes = 8 + 8 + 4
      for (const result of record.results) bytes += 4 + 1 + failureLength(result.failure, result.remote)
      return bytes
    }
    case 'deferral': {
      let bytes = 8 + 8 + 8 + 4
      for (const deferral of record.deferrals) bytes += 4 + failureLength(deferral.failure, deferral.remote)
      return bytes
    }
    case 'bounced':
      return 8 + 8 + 1 + 4 + 2 + record.bounce.length
    case 'hold':
      return 8 + 8 + 1 + 2 + record.why.length
  }
}

export function stateLength(state: RecipientState): number {
  return 2 + state.address.length + 1 + 4 + 8 + 8 + failureLength(state.failure, state.remote)
}

function failureLength(failure: Failure | undefined, remote: string): number {
  if (failure === undefined) return 1 + 2 + cut(remote, remoteBytesMax).length
  return 1 + 2 + cut(remote, remoteBytesMax).length + 1 + 2 + 2 + failure.enhanced.length + 2 + cut(failure.text).length
}

/** Texts are ours or a peer's; a peer's length is bounded where it is read, and here once more. */
const textBytesMax = 1024
const remoteBytesMax = 256
function cut(text: string, bytesMax = textBytesMax): string {
  return text.length > bytesMax ? text.slice(0, bytesMax) : text
}

function writeMeta(writer: MetaWriter, record: JournalRecord): number {
  writer.float(record.number)
  switch (record.type) {
    case 'message':
    case 'carried':
      writer.float(record.birthAt)
      writer.byte(record.form === 'lf' ? 0 : 1)
      writer.shortText(record.id)
      writer.text(record.sender)
      writer.count(record.recipients.length)
      if (record.type === 'message') for (const recipient of record.recipients) writer.text(recipient)
      else for (const recipient of record.recipients) writer.state(recipient)
      return writer.position
    case 'result':
      writer.float(record.at)
      writer.count(record.results.length)
      for (const result of record.results) {
        writer.count(result.index)
        writer.byte(statuses.indexOf(result.status))
        writer.failure(result.failure, result.remote)
      }
      return writer.position
    case 'deferral':
      writer.float(record.at)
      writer.float(record.dueAt)
      writer.count(record.deferrals.length)
      for (const deferral of record.deferrals) {
        writer.count(deferral.index)
        writer.failure(deferral.failure, deferral.remote)
      }
      return writer.position
    case 'bounced':
      writer.float(record.at)
      writer.byte(record.discarded ? 1 : 0)
      writer.count(record.count)
      writer.text(record.bounce)
      return writer.position
    case 'hold':
      writer.float(record.at)
      writer.byte(record.held ? 1 : 0)
      writer.text(record.why)
      return writer.position
  }
}

function readMeta(reader: MetaReader, type: RecordType): JournalRecord {
  const number = reader.float()
  switch (type) {
    case 'message':
    case 'carried': {
      const birthAt = reader.float()
      const form = reader.byte() === 0 ? 'lf' : 'crlf'
      const id = reader.shortText()
      const sender = reader.text()
      const count = reader.count()
      if (type === 'message') {
        return { type, number, id, birthAt, form, sender, recipients: reader.many(count, () => reader.text()) }
      }
      return { type, number, id, birthAt, form, sender, recipients: reader.many(count, () => reader.state()) }
    }
    case 'result': {
      const at = reader.float()
      const results = reader.many(reader.count(), () => {
        const index = reader.count()
        const status: 'delivered' | 'failed' = reader.status() === 'delivered' ? 'delivered' : 'failed'
        return { index, status, ...reader.failure() }
      })
      return { type, number, at, results }
    }
    case 'deferral': {
      const at = reader.float()
      const dueAt = reader.float()
      const deferrals = reader.many(reader.count(), () => {
        const index = reader.count()
        const { failure, remote } = reader.failure()
        if (failure === undefined) throw new RangeError('a deferral without its reason')
        return { index, failure, remote }
      })
      return { type, number, at, dueAt, deferrals }
    }
    case 'bounced':
      return {
        type,
        number,
        at: reader.float(),
        discarded: reader.byte() === 1,
        count: reader.count(),
        bounce: reader.text(),
      }
    case 'hold':
      return { type, number, at: reader.float(), held: reader.byte() === 1, why: reader.text() }
  }
}

export class MetaWriter {
  position: number
  readonly #buffer: Buffer

  constructor(buffer: Buffer, position: number) {
    this.#buffer = buffer
    this.position = position
  }

  byte(value: number): void {
    this.position = this.#buffer.writeUInt8(value, this.position)
  }

  count(value: number): void {
    this.position = this.#buffer.writeUInt32LE(value, this.position)
  }

  float(value: number): void {
    this.position = this.#buffer.writeDoubleLE(value, this.position)
  }

  shortText(value: string): void {
    this.byte(value.length)
    this.position += this.#buffer.write(value, this.position, 'latin1')
  }

  text(value: string): void {
    this.position = this.#buffer.writeUInt16LE(value.length, this.position)
    this.position += this.#buffer.write(value, this.position, 'latin1')
  }

  failure(failure: Failure | undefined, remote: string): void {
    this.byte(failure === undefined ? 0 : failure.class === 'temporary' ? 1 : 2)
    this.text(cut(remote, remoteBytesMax))
    if (failure === undefined) return
    this.byte(failure.blame === 'sender' ? 0 : failure.blame === 'peer' ? 1 : 2)
    this.position = this.#buffer.writeUInt16LE(failure.code, this.position)
    this.text(failure.enhanced)
    this.text(cut(failure.text))
  }

  state(state: RecipientState): void {
    this.text(state.address)
    this.byte(statuses.indexOf(state.status))
    this.count(state.attempts)
    this.float(state.dueAt)
    this.float(state.at)
    this.failure(state.failure, state.remote)
  }
}

export class MetaReader {
  #position: number
  readonly #buffer: Buffer
  readonly #end: number

  constructor(buffer: Buffer, position: number, end: number) {
    this.#buffer = buffer
    this.#position = position
    this.#end = end
  }

  finish(): void {
    if (this.#position !== this.#end)
      throw new RangeError(`${this.#end - this.#position} bytes are left of a record's meta`)
  }

  byte(): number {
    return this.#buffer.readUInt8(this.#take(1))
  }

  count(): number {
    return this.#buffer.readUInt32LE(this.#take(4))
  }

  float(): number {
    return this.#buffer.readDoubleLE(this.#take(8))
  }

  shortText(): string {
    return this.#string(this.byte())
  }

  text(): string {
    return this.#string(this.#buffer.readUInt16LE(this.#take(2)))
  }

  many<Item>(count: number, read: () => Item): Item[] {
    if (count > this.#end - this.#position) throw new RangeError('a count larger than its record')
    const items: Item[] = []
    for (let index = 0; index < count; index++) items.push(read())
    return items
  }

  status(): RecipientStatus {
    const status = statuses[this.byte()]
    if (status === undefined) throw new RangeError('an unknown recipient status')
    return status
  }

  failure(): { failure: Failure | undefined; remote: string } {
    const kind = this.byte()
    const remote = this.text()
    if (kind === 0) return { failure: undefined, remote }
    const blame = this.byte()
    const code = this.#buffer.readUInt16LE(this.#take(2))
    const enhanced = this.text()
    const text = this.text()
    return {
      remote,
      failure: {
        class: kind === 1 ? 'temporary' : 'permanent',
        blame: blame === 0 ? 'sender' : blame === 1 ? 'peer' : 'self',
        code,
        enhanced,
        text,
      },
    }
  }

  state(): RecipientState {
    const address = this.text()
    const status = this.status()
    const attempts = this.count()
    const dueAt = this.float()
    const at = this.float()
    return { address, status, attempts, dueAt, at, ...this.failure() }
  }

  #string(length: number): string {
    const start = this.#take(length)
    return this.#buffer.toString('latin1', start, start + length)
  }

  #take(bytes: number): number {
    const start = this.#position
    if (start + bytes > this.#end) throw new RangeError('a record ends inside a field')
    this.#position = start + bytes
    return start
  }
}
