/**
 * A message's envelope as it goes from one instance to another, and what the manifests say of it. Pure.
 *
 * It is a `carried` record without its body: header, for the checksums, and meta. The number in it is zero, so that both ends can
 * make the same bytes of the message, each from what it has itself; the source's number goes beside it.
 */

import type { ManifestEntry } from '../../contract/manifest.ts'
import { sha256 } from '../../runtime/digest.ts'
import type { RecipientState } from '../journal/meta.ts'
import {
  type CarriedRecord,
  decodeRecord,
  encodeRecord,
  type Origin,
  readHeader,
  recordHeaderBytes,
  sealRecord,
  type TakenRecord,
} from '../journal/record.ts'
import { countOpen, type LiveMessage, originOf } from '../live-messages.ts'

export interface Envelope {
  readonly record: CarriedRecord
  readonly origin: Origin
  readonly bodyBytes: number
  readonly bodyCrc: number
}

/** It stands nowhere in a journal. */
const nowhere = { segment: 0, salt: 0, batch: 0, recordsLeft: 0 } as const

/** Of a message in the queue of `instance`. */
export function envelopeOf(message: LiveMessage, instance: string): Buffer {
  return write({ ...message, origin: originOf(message, instance) }, message.location.bytes, message.location.crc)
}

/** The same bytes, from the record of the instance that took the message over. */
export function envelopeTaken(record: TakenRecord, bodyBytes: number, bodyCrc: number): Buffer {
  return write(record, bodyBytes, bodyCrc)
}

type Enveloped = Omit<CarriedRecord, 'type' | 'number' | 'offered'>

function write(message: Enveloped, bodyBytes: number, bodyCrc: number): Buffer {
  const { id, birthAt, form, sender, recipients, origin, held } = message
  const content = { id, birthAt, form, sender, recipients, origin, held }
  const encoded = encodeRecord({ type: 'carried', number: 0, ...content, offered: undefined }, bodyBytes, bodyCrc)
  sealRecord(encoded, nowhere)
  return encoded
}

/** Undefined where it does not check, or is no envelope. */
export function readEnvelope(bytes: Buffer): Envelope | undefined {
  const header = readHeader(bytes, 0, nowhere.salt)
  if (header?.type !== 'carried' || recordHeaderBytes + header.metaBytes !== bytes.length) return undefined
  try {
    const record = decodeRecord(bytes, 0, header)
    if (record.type !== 'carried' || record.origin === undefined || record.number !== 0) return undefined
    return { record, origin: record.origin, bodyBytes: header.bodyBytes, bodyCrc: header.bodyCrc }
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

/** Of the meta alone: the header only says how to check. */
export function envelopeHash(envelope: Buffer): string {
  return sha256([envelope.subarray(recordHeaderBytes)])
}

export function entryOf(
  key: Pick<ManifestEntry, 'source' | 'number' | 'target'>,
  message: { readonly id: string; readonly recipients: readonly RecipientState[] },
  hashes: Pick<ManifestEntry, 'envelope' | 'body' | 'bytes'>,
): ManifestEntry {
  let dueAt = 0
  let attempts = 0
  for (const recipient of message.recipients) {
    if (recipient.status !== 'pending' && recipient.status !== 'failed') continue
    dueAt = dueAt === 0 ? recipient.dueAt : Math.min(dueAt, recipient.dueAt)
    attempts = Math.max(attempts, recipient.attempts)
  }
  return { ...key, id: message.id, ...hashes, recipients: countOpen(message.recipients), dueAt, attempts }
}
