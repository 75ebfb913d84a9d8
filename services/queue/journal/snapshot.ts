/**
 * A snapshot: the whole state as it stood when a segment ended, so that a start need not read what came before. No I/O.
 *
 * It only saves time. The segments it covers stay until their messages are gone, and a snapshot that does not check is
 * thrown away for a replay of all of them, with the same result.
 */

import { crc32 } from '../../runtime/digest.ts'
import { carriedRecord, type LiveMessages, type Location, type Totals } from '../live-messages.ts'
import { MetaReader, MetaWriter } from './meta.ts'
import { type CarriedRecord, decodeRecord, encodeRecord, peekHeader, recordHeaderBytes } from './record.ts'

/** How many numbers a head of each form has; in the first one, what was handed over was not counted. */
const numbersOf: Readonly<Record<string, number>> = { QMQSNAP1: 7, QMQSNAP2: 9 }
const magic = 'QMQSNAP2'
/** After each record: its segment and offset; in the first form, why the message is held. */
const placeBytes = 16

export interface SnapshotHead {
  /** Replay goes on with this segment. */
  readonly nextSegment: number
  readonly nextNumber: number
  readonly totals: Totals
}

export interface SnapshotMessage {
  readonly record: CarriedRecord
  readonly location: Location
  /** Of the first form alone, where the record did not say it. */
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
  const { accepted, delivered, bounced, discarded, takenOver, handedOver } = live.totals
  const settled = [delivered, bounced, discarded]
  const numbers = [nextSegment, nextNumber, accepted, ...settled, live.size, takenOver, handedOver]
  const headBytes = headBytesOf(numbers.length)
  const head = Buffer.alloc(headBytes)
  head.write(magic, 0, 'latin1')
  for (const [index, value] of numbers.entries()) head.writeDoubleLE(value, 8 + index * 8)
  const chunks: Buffer[] = [head]
  for (const message of live.all()) {
    chunks.push(encodeRecord(carriedRecord(message), message.location.bytes, message.location.crc))
    const place = Buffer.allocUnsafe(placeBytes)
    const writer = new MetaWriter(place, 0)
    writer.float(message.location.segment)
    writer.float(message.location.offset)
    chunks.push(place)
  }
  head.writeUInt32LE(crc32([head.subarray(0, headBytes - 4), ...chunks.slice(1)]), headBytes - 4)
  return chunks
}

/** Undefined: the file does not check. */
export function decodeSnapshot(
  file: Buffer,
): { readonly head: SnapshotHead; readonly messages: IterableIterator<SnapshotMessage> } | undefined {
  const numbers = numbersOf[file.toString('latin1', 0, 8)]
  if (numbers === undefined) return undefined
  const headBytes = headBytesOf(numbers)
  if (file.length < headBytes) return undefined
  if (crc32([file.subarray(0, headBytes - 4), file.subarray(headBytes)]) !== file.readUInt32LE(headBytes - 4))
    return undefined
  const number = (index: number): number => file.readDoubleLE(8 + index * 8)
  const head: SnapshotHead = {
    nextSegment: number(0),
    nextNumber: number(1),
    totals: {
      accepted: number(2),
      delivered: number(3),
      bounced: number(4),
      discarded: number(5),
      takenOver: numbers > 7 ? number(7) : 0,
      handedOver: numbers > 7 ? number(8) : 0,
    },
  }
  return { head, messages: readMessages(file, headBytes, number(6), numbers === 7) }
}

function headBytesOf(numbers: number): number {
  return 8 + 8 * numbers + 4
}

function* readMessages(
  file: Buffer,
  start: number,
  count: number,
  isFirstForm: boolean,
): IterableIterator<SnapshotMessage> {
  let offset = start
  for (let index = 0; index < count; index++) {
    const header = peekHeader(file, offset)
    if (header === undefined) throw new RangeError('a snapshot that checks holds no record where one must be')
    const record = decodeRecord(file, offset, header)
    if (record.type !== 'carried') throw new RangeError(`a snapshot holds a ${record.type} record`)
    offset += recordHeaderBytes + header.metaBytes
    const reader = new MetaReader(file, offset, file.length)
    const segment = reader.float()
    const at = reader.float()
    const held = isFirstForm ? reader.text() : ''
    offset += placeBytes + (isFirstForm ? 2 + held.length : 0)
    yield {
      record,
      location: { segment, offset: at, bytes: header.bodyBytes, crc: header.bodyCrc },
      held: held === '' ? undefined : held,
    }
  }
}
