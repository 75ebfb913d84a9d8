/**
 * Reading a segment back: which records stand, where it ends, and what is damaged. Pure; bytes in, findings out.
 *
 * A record that does not check is one of two things. Torn: it belongs to the last batch, which was being written when the
 * power went; nobody was told it was safe, so the segment ends before it. Damaged: it was durable once, because a later
 * batch or a later segment exists; it is reported, and reading goes on at the next record that checks. Nothing damaged is
 * ever passed over in silence.
 */

import { crc32 } from '../../runtime/digest.ts'
import type { Location } from '../live-messages.ts'
import {
  decodeRecord,
  type JournalRecord,
  peekHeader,
  type RecordHeader,
  readHeader,
  recordHeaderBytes,
} from './record.ts'
import { segmentHeaderBytes } from './segment.ts'

export interface ScanVisitor {
  record(record: JournalRecord, location: Location): void
  /** Header and meta check, the body does not. */
  damagedBody(record: JournalRecord, location: Location, recordOffset: number): void
  damaged(offset: number, bytes: number, why: string): void
  torn(offset: number): void
}

export interface ScanInput {
  readonly bytes: Buffer
  readonly segment: number
  readonly salt: number
  /** Where the records end, where a later segment says so. */
  readonly certainEnd: number | undefined
}

const recordMark = Buffer.from('QMQ', 'latin1')

/**
 * Whether a segment whose header cannot be read once held durable records: a record of its second batch or a later one stands
 * there. Without the header's salt its checksum is unknown, so this may be wrong in the direction of keeping too much.
 */
export function looksDurable(bytes: Buffer, segment: number): boolean {
  for (let at = bytes.indexOf(recordMark); at >= 0; at = bytes.indexOf(recordMark, at + 1)) {
    const header = peekHeader(bytes, at)
    if (header !== undefined && header.segment === segment >>> 0 && header.batch >= 2) return true
  }
  return false
}

/** Visits every record in order; answers where the segment's records end. */
export function scanSegment(input: ScanInput, visitor: ScanVisitor): number {
  let offset = segmentHeaderBytes
  let batch = 0
  let recordsLeft = 0
  for (;;) {
    if (input.certainEnd !== undefined && offset >= input.certainEnd) return offset
    const header = readHeader(input.bytes, offset, input.salt)
    const suspect = recordsLeft > 0 ? batch : batch + 1
    const expected =
      header !== undefined && header.batch === suspect && (recordsLeft === 0 || header.recordsLeft === recordsLeft - 1)
    if (header !== undefined && expected && bodyChecks(input.bytes, offset, header)) {
      visitor.record(decodeRecord(input.bytes, offset, header), locationOf(input, offset, header))
      offset += recordBytes(header)
    } else {
      if (!wasDurable(input, offset, suspect)) {
        visitor.torn(offset)
        return offset
      }
      const next =
        expected && header !== undefined
          ? skipBody(input, offset, header, visitor)
          : resync(input, offset, suspect, visitor)
      if (next === undefined) return input.certainEnd ?? input.bytes.length
      if (next !== offset + (header === undefined ? 0 : recordBytes(header))) {
        const found = readHeader(input.bytes, next, input.salt)
        batch = found?.batch ?? batch
        recordsLeft = found === undefined ? 0 : found.recordsLeft + 1
        offset = next
        continue
      }
      offset = next
    }
    batch = header?.batch ?? batch
    recordsLeft = header?.recordsLeft ?? 0
  }
}

export function recordBytes(header: RecordHeader): number {
  return recordHeaderBytes + header.metaBytes + header.bodyBytes
}

function bodyOffset(offset: number, header: RecordHeader): number {
  return offset + recordHeaderBytes + header.metaBytes
}

function locationOf(input: ScanInput, offset: number, header: RecordHeader): Location {
  return { segment: input.segment, offset: bodyOffset(offset, header), bytes: header.bodyBytes, crc: header.bodyCrc }
}

function bodyChecks(bytes: Buffer, offset: number, header: RecordHeader): boolean {
  if (header.bodyBytes === 0) return true
  const start = bodyOffset(offset, header)
  const end = start + header.bodyBytes
  return end <= bytes.length && crc32([bytes.subarray(start, end)]) === header.bodyCrc
}

/** Whether what fails to check at `offset` was durable once: something later than its batch exists. */
function wasDurable(input: ScanInput, offset: number, suspectBatch: number): boolean {
  if (input.certainEnd !== undefined) return true
  return findRecord(input, offset, suspectBatch + 1) !== undefined
}

function findRecord(input: ScanInput, from: number, batchMin: number): number | undefined {
  const end = input.certainEnd ?? input.bytes.length
  for (
    let at = input.bytes.indexOf(recordMark, from);
    at >= 0 && at < end;
    at = input.bytes.indexOf(recordMark, at + 1)
  ) {
    // The batch first: a checksum over every look-alike's meta could take for ever.
    if ((peekHeader(input.bytes, at)?.batch ?? 0) < batchMin) continue
    if (readHeader(input.bytes, at, input.salt) !== undefined) return at
  }
  return undefined
}

function skipBody(input: ScanInput, offset: number, header: RecordHeader, visitor: ScanVisitor): number {
  visitor.damagedBody(decodeRecord(input.bytes, offset, header), locationOf(input, offset, header), offset)
  return offset + recordBytes(header)
}

function resync(input: ScanInput, offset: number, suspectBatch: number, visitor: ScanVisitor): number | undefined {
  const next = findRecord(input, offset + 1, suspectBatch)
  const end = next ?? input.certainEnd ?? input.bytes.length
  visitor.damaged(offset, end - offset, 'no record that checks stands where one was written')
  return next
}
