/**
 * What a queue instance asks of the bounce policy: whether a failed message is reported, to whom, in which words.
 *
 * One bounce per message, when its last recipient is settled. Levels as qmail has them: a bounce goes out with the empty
 * sender; a bounce that fails becomes a double bounce from `#@[]` to the postmaster; a double bounce that fails is
 * discarded, logged and counted, and nothing else ever is (promise 7).
 */

import type { ByteString } from '../protocol/byte-string.ts'
import type { Failure } from '../protocol/failure.ts'
import type { Body } from './delivery.ts'

export interface FailedRecipient {
  readonly address: ByteString
  readonly failure: Failure
  /** Name or address of the host that refused, '' where we did. */
  readonly remote: string
  readonly at: number
}

export interface FailedMessage {
  readonly id: string
  readonly sender: ByteString
  readonly birthAt: number
  /** In order of failure; never empty. */
  readonly failed: readonly FailedRecipient[]
  readonly body: Body
}

export type BounceDecision =
  | { readonly kind: 'send'; readonly sender: ByteString; readonly recipient: ByteString }
  | { readonly kind: 'discard'; readonly why: string }

export interface BouncePolicy {
  decide(message: FailedMessage): BounceDecision
  /** The whole message, lines ending in CR LF, at most the policy's limit plus its own text. */
  compose(message: FailedMessage, decision: BounceDecision & { kind: 'send' }, id: string, now: number): Promise<Buffer>
}

export const doubleBounceSender: ByteString = '#@[]'
