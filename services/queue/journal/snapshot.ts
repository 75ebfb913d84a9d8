/**
 * A snapshot: the whole state as it stood when a segment ended, so that a start need not read what came before. No I/O.
 *
 * It only saves time. The segments it covers stay until their messages are gone, and a snapshot that does not check is
 * thrown away for a replay of all of them, with the same result.
 */

import { crc32 } from '../../runtime/digest.ts'
import { carriedRecord, type LiveMessages, type Location, type Totals } from '../live-messages.ts'
import {
  type CarriedRecord,
  decodeRecord,
  encodeRecord,
  MetaReader,
  MetaWriter,
  peekHeader,
  recordHeaderBytes,
} from './record.ts'

const magic = 'QMQSNAP1'
const headBytes = 8 + 8 * 7 + 4

export interface SnapshotHead {
  /** Replay goes on with this segment. */
  readonly nextSegment: number
  readonly nextNumber: number
  readonly totals: Totals
}

export interface SnapshotMessage {
  readonly record: CarriedRecord
  readonly location: Location
  readonly held: string | undefined
}

export function snapshotName(nextSegment: number): string {
  return `${String(nextSegment).padStart(10, '0')}.snapshot`
}

export function snapshotOfName(name: string): number | undefined {
  const match = /^([0-9]{10})\.snapshot$/.exec(name)
  return match?.[1] === undefined ? undefined : Number(match[1])
}

export function encodeSnapshot(live: LiveMessages, nextSegment: number, nextNumber: number): Buffer[] {
  const head = Buffer.alloc(headBytes)
  head.write(magic, 0, 'latin1')
  const { accepted, delivered, bounced, discarded } = live.totals
  const numbers = [nextSegment, nextNumber, accepted, delivered, bounced, discarded, live.size]
  for (const [index, value] of numbers.entries()) head.writeDoubleLE(value, 8 + index * 8)
  const chunks: Buffer[] = [head]
  for (const message of live.all()) {
    chunks.push(encodeRecord(carriedRecord(message), message.location.bytes, message.location.crc))
    const place = Buffer.allocUnsafe(18 + (message.held?.length ?? 0))
    const writer = new MetaWriter(place, 0)
    writer.float(message.location.segment)
    writer.float(message.location.offset)
    writer.text(message.held ?? '')
    chunks.push(place)
  }
  head.writeUInt32LE(crc32([head.subarray(0, headBytes - 4), ...chunks.slice(1)]), headBytes - 4)
  return chunks
}

/** Undefined: the file does not check. */
export function decodeSnapshot(
  file: Buffer,
): { readonly head: SnapshotHead; readonly messages: IterableIterator<SnapshotMessage> } | undefined {
  if (file.length < headBytes || file.toString('latin1', 0, 8) !== magic) return undefined
  if (crc32([file.subarray(0, headBytes - 4), file.subarray(headBytes)]) !== file.readUInt32LE(headBytes - 4))
    return undefined
  const number = (index: number): number => file.readDoubleLE(8 + index * 8)
  const head: SnapshotHead = {
    nextSegment: number(0),
    nextNumber: number(1),
    totals: { accepted: number(2), delivered: number(3), bounced: number(4), discarded: number(5) },
  }
  return { head, messages: readMessages(file, number(6)) }
}

function* readMessages(file: Buffer, count: number): IterableIterator<SnapshotMessage> {
  let offset = headBytes
  for (let index = 0; index < count; index++) {
    const header = peekHeader(file, offset)
    if (header === undefined) throw new RangeError('a snapshot that checks holds no record where one must be')
    const record = decodeRecord(file, offset, header)
    if (record.type !== 'carried') throw new RangeError(`a snapshot holds a ${record.type} record`)
    offset += recordHeaderBytes + header.metaBytes
    const reader = new MetaReader(file, offset, file.length)
    const segment = reader.float()
    const at = reader.float()
    const held = reader.text()
    offset += 18 + held.length
    yield {
      record,
      location: { segment, offset: at, bytes: header.bodyBytes, crc: header.bodyCrc },
      held: held === '' ? undefined : held,
    }
  }
}
