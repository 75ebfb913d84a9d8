/**
 * A segment file: its name and its header. No I/O.
 *
 * The header stands twice, at 0 and at 4096, each with its CRC, so that one bad sector costs nothing. It says where the
 * segment before it ends, which makes that one's tail certain, and the totals as they stood when this segment began, from
 * which a replay without snapshot counts on. A file whose header names another segment is an old one waiting to be reused.
 */

import { crc32 } from '../../runtime/digest.ts'
import type { Totals } from '../live-messages.ts'

const copyBytes = 512
const secondCopyAt = 4096
export const segmentHeaderBytes = secondCopyAt + copyBytes
const magic = 'QMQSEG2\n'
/** Of headers written before mail could be handed over: those totals are missing, and zero. */
const earlierMagic = 'QMQSEG1\n'

export interface SegmentHeader {
  readonly segment: number
  /** Seed of the CRCs of this segment's records; random, 32 bits. */
  readonly salt: number
  /** The segment before and where its records end; 0 and 0 for the first. */
  readonly previous: number
  readonly previousEnd: number
  readonly totals: Totals
  /** Every message in this segment has at least this number. */
  readonly nextNumber: number
}

export function segmentName(segment: number): string {
  return `${String(segment).padStart(10, '0')}.segment`
}

/** The number in a segment's file name, or undefined for any other file. */
export function segmentOfName(name: string): number | undefined {
  const match = /^([0-9]{10})\.segment$/.exec(name)
  return match?.[1] === undefined ? undefined : Number(match[1])
}

export function spareName(serial: number): string {
  return `${String(serial).padStart(10, '0')}.spare`
}

export function spareOfName(name: string): number | undefined {
  const match = /^([0-9]{10})\.spare$/.exec(name)
  return match?.[1] === undefined ? undefined : Number(match[1])
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const buffer = Buffer.alloc(segmentHeaderBytes)
  buffer.write(magic, 0, 'latin1')
  const numbers = [
    header.segment,
    header.previous,
    header.previousEnd,
    header.nextNumber,
    header.salt,
    header.totals.accepted,
    header.totals.delivered,
    header.totals.bounced,
    header.totals.discarded,
    header.totals.takenOver,
    header.totals.handedOver,
  ]
  for (const [index, value] of numbers.entries()) buffer.writeDoubleLE(value, 8 + index * 8)
  buffer.writeUInt32LE(crc32([buffer.subarray(0, copyBytes - 4)]), copyBytes - 4)
  buffer.copy(buffer, secondCopyAt, 0, copyBytes)
  return buffer
}

/** Undefined: neither copy is whole. */
export function decodeSegmentHeader(buffer: Buffer): SegmentHeader | undefined {
  return decodeCopy(buffer.subarray(0, copyBytes)) ?? decodeCopy(buffer.subarray(secondCopyAt, segmentHeaderBytes))
}

function decodeCopy(copy: Buffer): SegmentHeader | undefined {
  if (copy.length < copyBytes) return undefined
  const form = copy.toString('latin1', 0, 8)
  if (form !== magic && form !== earlierMagic) return undefined
  if (crc32([copy.subarray(0, copyBytes - 4)]) !== copy.readUInt32LE(copyBytes - 4)) return undefined
  const number = (index: number): number => copy.readDoubleLE(8 + index * 8)
  return {
    segment: number(0),
    previous: number(1),
    previousEnd: number(2),
    nextNumber: number(3),
    salt: number(4),
    totals: {
      accepted: number(5),
      delivered: number(6),
      bounced: number(7),
      discarded: number(8),
      takenOver: form === magic ? number(9) : 0,
      handedOver: form === magic ? number(10) : 0,
    },
  }
}
