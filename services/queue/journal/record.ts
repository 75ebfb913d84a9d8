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
 * once (`recovery.ts`). The fields of the meta are written by `meta.ts`. New types are added at the end of the list, and new fields
 * at the end of a meta where they may be missing, so that every journal ever written can be read.
 */

import type { ByteString } from '../../protocol/byte-string.ts'
import type { Failure } from '../../protocol/failure.ts'
import { crc32 } from '../../runtime/digest.ts'
import { failureLength, MetaReader, MetaWriter, type RecipientState, stateLength, statuses } from './meta.ts'

export const recordHeaderBytes = 32
/** A longer meta is refused before it is written, and taken for damage when read: 50 000 recipients with their last failures fit. */
export const metaBytesMax = 128 * 1024 * 1024
export const bodyBytesMax = 2 ** 31

const magic = 0x00514d51
const types = [
  ...(['message', 'carried', 'result', 'deferral', 'bounced', 'hold'] as const),
  ...(['offered', 'taken', 'moved'] as const),
]
export type RecordType = (typeof types)[number]

export interface MessageRecord {
  readonly type: 'message'
  readonly number: number
  readonly id: string
  readonly birthAt: number
  readonly form: 'lf' | 'crlf'
  readonly sender: ByteString
  readonly recipients: readonly ByteString[]
}

/** The instance a message was accepted by, and its number there. */
export interface Origin {
  readonly instance: string
  readonly number: number
}

/** To whom a message was offered last: nobody else may be asked before this one has said what became of it. */
export interface OfferMade {
  readonly target: string
  readonly plan: string
  readonly at: number
}

/** A message with all that had become of it. */
interface Standing {
  readonly number: number
  readonly id: string
  readonly birthAt: number
  readonly form: 'lf' | 'crlf'
  readonly sender: ByteString
  readonly recipients: readonly RecipientState[]
  /** Why it is held, where it is. */
  readonly held: string | undefined
}

/** A message copied out of an old segment. */
export interface CarriedRecord extends Standing {
  readonly type: 'carried'
  /** Undefined: this instance, by this number. */
  readonly origin: Origin | undefined
  readonly offered: OfferMade | undefined
}

/** A message taken over from another instance. */
export interface TakenRecord extends Standing {
  readonly type: 'taken'
  readonly at: number
  readonly plan: string
  readonly source: Origin
  readonly origin: Origin
}

/** The message is about to be offered to `target`; with '' for the target, it is known that none has it, and none is being asked. */
export interface OfferedRecord extends OfferMade {
  readonly type: 'offered'
  readonly number: number
}

/** `target` has the message, durably: it is over here. */
export interface MovedRecord {
  readonly type: 'moved'
  readonly number: number
  readonly at: number
  readonly target: string
  /** Recipients that went with it unsettled. */
  readonly count: number
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

export type JournalRecord =
  | MessageRecord
  | CarriedRecord
  | ResultRecord
  | DeferralRecord
  | BouncedRecord
  | HoldRecord
  | OfferedRecord
  | TakenRecord
  | MovedRecord

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
    case 'carried':
      return standingLength(record) + lateLength(record)
    case 'taken': {
      const { origin, source, plan } = record
      return (
        standingLength(record) + originLength(origin) + originLength(source) + 8 + 1 + plan.length + heldLength(record)
      )
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
    case 'offered':
      return 8 + offerLength(record)
    case 'moved':
      return 8 + 8 + 1 + record.target.length + 4
  }
}

function standingLength(record: Standing): number {
  let bytes = 8 + 8 + 1 + 1 + record.id.length + 2 + record.sender.length + 4
  for (const recipient of record.recipients) bytes += stateLength(recipient)
  return bytes
}

function originLength(origin: Origin): number {
  return 1 + origin.instance.length + 8
}

function offerLength(offer: OfferMade): number {
  return 1 + offer.target.length + 1 + offer.plan.length + 8
}

function heldLength({ held }: Standing): number {
  return 2 + (held?.length ?? 0)
}

/** What a carried record says of a message that is held, was taken over, or is being handed over; most are none of these. */
function isPlain({ origin, held, offered }: CarriedRecord): boolean {
  return origin === undefined && held === undefined && offered === undefined
}

function lateLength(record: CarriedRecord): number {
  if (isPlain(record)) return 0
  return originLength(record.origin ?? nowhere) + heldLength(record) + offerLength(record.offered ?? noOffer)
}

const nowhere: Origin = { instance: '', number: 0 }
const noOffer: OfferMade = { target: '', plan: '', at: 0 }

function writeMeta(writer: MetaWriter, record: JournalRecord): number {
  writer.float(record.number)
  switch (record.type) {
    case 'message':
      writeHead(writer, record)
      for (const recipient of record.recipients) writer.text(recipient)
      return writer.position
    case 'carried':
      writeHead(writer, record)
      for (const recipient of record.recipients) writer.state(recipient)
      if (!isPlain(record)) {
        writeOrigin(writer, record.origin ?? nowhere)
        writer.text(record.held ?? '')
        writeOffer(writer, record.offered ?? noOffer)
      }
      return writer.position
    case 'taken':
      writeHead(writer, record)
      for (const recipient of record.recipients) writer.state(recipient)
      writeOrigin(writer, record.origin)
      writeOrigin(writer, record.source)
      writer.float(record.at)
      writer.shortText(record.plan)
      writer.text(record.held ?? '')
      return writer.position
    case 'offered':
      writeOffer(writer, record)
      return writer.position
    case 'moved':
      writer.float(record.at)
      writer.shortText(record.target)
      writer.count(record.count)
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

function writeHead(writer: MetaWriter, record: MessageRecord | Standing): void {
  writer.float(record.birthAt)
  writer.byte(record.form === 'lf' ? 0 : 1)
  writer.shortText(record.id)
  writer.text(record.sender)
  writer.count(record.recipients.length)
}

function writeOrigin(writer: MetaWriter, origin: Origin): void {
  writer.shortText(origin.instance)
  writer.float(origin.number)
}

function writeOffer(writer: MetaWriter, offer: OfferMade): void {
  writer.shortText(offer.target)
  writer.shortText(offer.plan)
  writer.float(offer.at)
}

function readMeta(reader: MetaReader, type: RecordType): JournalRecord {
  const number = reader.float()
  switch (type) {
    case 'message': {
      const head = readHead(reader)
      return { type, number, ...head, recipients: reader.many(reader.count(), () => reader.text()) }
    }
    case 'carried': {
      const head = readHead(reader)
      const recipients = reader.many(reader.count(), () => reader.state())
      return { type, number, ...head, recipients, ...(reader.isAtEnd ? plain : readLate(reader)) }
    }
    case 'taken': {
      const head = readHead(reader)
      const recipients = reader.many(reader.count(), () => reader.state())
      const origin = readOrigin(reader)
      const source = readOrigin(reader)
      const at = reader.float()
      const plan = reader.shortText()
      return { type, number, ...head, recipients, origin, source, at, plan, held: reader.text() || undefined }
    }
    case 'offered':
      return { type, number, ...readOffer(reader) }
    case 'moved':
      return { type, number, at: reader.float(), target: reader.shortText(), count: reader.count() }
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

function readHead(reader: MetaReader): Pick<Standing, 'birthAt' | 'form' | 'id' | 'sender'> {
  const birthAt = reader.float()
  const form = reader.byte() === 0 ? 'lf' : 'crlf'
  return { birthAt, form, id: reader.shortText(), sender: reader.text() }
}

const plain = { origin: undefined, held: undefined, offered: undefined }

function readLate(reader: MetaReader): Pick<CarriedRecord, 'origin' | 'held' | 'offered'> {
  const origin = readOrigin(reader)
  const held = reader.text() || undefined
  const offered = readOffer(reader)
  return {
    origin: origin.instance === '' ? undefined : origin,
    held,
    offered: offered.target === '' ? undefined : offered,
  }
}

function readOrigin(reader: MetaReader): Origin {
  return { instance: reader.shortText(), number: reader.float() }
}

function readOffer(reader: MetaReader): OfferMade {
  return { target: reader.shortText(), plan: reader.shortText(), at: reader.float() }
}
