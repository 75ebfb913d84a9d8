/**
 * A message made ready to be offered: its body as it was accepted, its envelope, and the hashes of both.
 *
 * The body is read and checked against its checksum first: what the disk has damaged is not handed over as if it were mail. Rejects
 * where the disk cannot be read.
 */

import type { HandoverOffer } from '../../contract/handover.ts'
import type { ManifestEntry } from '../../contract/manifest.ts'
import { crc32, sha256 } from '../../runtime/digest.ts'
import type { StoredBodies } from '../journal/bodies.ts'
import type { LiveMessage } from '../live-messages.ts'
import { entryOf, envelopeHash, envelopeOf } from './envelope.ts'

export interface Parcel {
  readonly offer: HandoverOffer
  readonly hashes: { readonly envelope: string; readonly body: string }
}

/** Undefined: the body is damaged. Nobody may change the message meanwhile, nor carry it to another segment. */
export async function parcelOf(
  bodies: StoredBodies,
  message: LiveMessage,
  instance: string,
): Promise<Parcel | undefined> {
  const { number, location } = message
  const body = await bodies.readWhole(message)
  if (location.bytes > 0 && crc32(body) !== location.crc) return undefined
  const envelope = envelopeOf(message, instance)
  const hashes = { envelope: envelopeHash(envelope), body: sha256(body) }
  return { offer: { number, envelope, body, bodyBytes: location.bytes }, hashes }
}

export function entryOfParcel(
  { hashes, offer }: Parcel,
  message: LiveMessage,
  source: string,
  target: string,
): ManifestEntry {
  const key = { source, number: offer.number, target }
  return entryOf(key, message, { ...hashes, bytes: offer.bodyBytes })
}
