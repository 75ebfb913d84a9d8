/**
 * The messages of `contract/proto/qmq/v1/handover.proto`, as the loader gives and takes them, with the limits both ends keep.
 *
 * A body that does not fit into one message follows its offer in parts, so that no message is large however large the mail is.
 */

import type { HandoverAnswer, HandoverHello, HandoverOffer } from '../contract/handover.ts'
import { loadDefinition, type RpcService, serviceIn } from './rpc-definition.ts'

export interface WireOffer {
  readonly number: number
  readonly envelope: Buffer
  readonly bodyBytes: number
  readonly body: readonly Buffer[]
}

export interface WireAnswer {
  readonly number: number
  readonly outcome: string
  readonly envelope: string
  readonly body: string
  readonly why: string
}

export type WireRequest =
  | { readonly hello: HandoverHello }
  | { readonly batch: { readonly offers: readonly WireOffer[] } }
  | { readonly part: { readonly body: readonly Buffer[] } }

export type WireResponse =
  | { readonly welcome: Readonly<Record<string, never>> }
  | { readonly answers: { readonly answers: readonly WireAnswer[] } }

/** What one message may carry besides its envelopes. */
export const batchBytesMax = 256 * 1024
export const batchOffersMax = 256
/** Of any message: an envelope names every recipient. */
export const handoverMessageBytesMax = 64 * 1024 * 1024

export function handoverService(): RpcService {
  return serviceIn(loadDefinition('qmq/v1/handover.proto'), 'qmq.v1.HandoverService')
}

export function offerBytes({ envelope, bodyBytes }: HandoverOffer): number {
  return envelope.length + bodyBytes
}

/** The requests that carry an offer too large for a batch, one after the other. */
export function* largeOffer(offer: HandoverOffer): Generator<WireRequest> {
  const { number, envelope, bodyBytes } = offer
  const pieces = piecesOf(offer.body)
  const first = pieces.next().value ?? []
  yield { batch: { offers: [{ number, envelope, bodyBytes, body: first }] } }
  for (const body of pieces) yield { part: { body } }
}

function* piecesOf(body: readonly Buffer[]): Generator<Buffer[], undefined> {
  let piece: Buffer[] = []
  let room = batchBytesMax
  for (const chunk of body) {
    for (let at = 0; at < chunk.length; ) {
      const taken = chunk.subarray(at, at + room)
      piece.push(taken)
      at += taken.length
      room -= taken.length
      if (room > 0) continue
      yield piece
      piece = []
      room = batchBytesMax
    }
  }
  if (piece.length > 0) yield piece
  return undefined
}

const outcomes = {
  taken: 'HANDOVER_OUTCOME_TAKEN',
  refused: 'HANDOVER_OUTCOME_REFUSED',
  unclear: 'HANDOVER_OUTCOME_UNCLEAR',
  absent: 'HANDOVER_OUTCOME_ABSENT',
}

export function writeAnswer(number: number, answer: HandoverAnswer): WireAnswer {
  const { envelope, body, why } = { envelope: '', body: '', why: '', ...answer }
  return { number, outcome: outcomes[answer.kind], envelope, body, why }
}

/** An answer this version does not know is unclear. */
export function readAnswer({ outcome, envelope, body, why }: WireAnswer): HandoverAnswer {
  if (outcome === outcomes.taken) return { kind: 'taken', envelope, body }
  if (outcome === outcomes.refused) return { kind: 'refused', why }
  if (outcome === outcomes.absent) return { kind: 'absent', why }
  return { kind: 'unclear', why: outcome === outcomes.unclear ? why : `the target answers ${outcome}` }
}
