/**
 * The ledger: what happened to each message, one JSON line per event, joined by the message's id through every tier.
 *
 * It is for people and for `qmq trace`; the journal, not the ledger, is what mail survives by. Lines are written behind the
 * event (`runtime/ledger-file.ts`) and may be missing after a crash; the journal's counters never are.
 */

export const ledgerVersion = 1

export type LedgerTier = 'edge' | 'queue' | 'bounce' | 'mailbox' | 'control'

export type LedgerEventName =
  /** Edge: 250 was answered. */
  | 'received'
  /** Edge: 451 or 5xx was answered after the final dot. */
  | 'refused'
  /** Queue: durable in the journal; `K` follows. */
  | 'accepted'
  /** Queue: a package seen before; `K` again without a second copy. */
  | 'repeated'
  | 'delivered'
  | 'deferred'
  | 'failed'
  /** Queue: the bounce of this message is durable on the bounce instance under the id in `bounce`. */
  | 'bounced'
  | 'discarded'
  | 'quarantined'
  /** Queue: handed over to the instance in `to`, which has it durable; there, `taken-over` from the instance in `to`. */
  | 'handed-over'
  | 'taken-over'
  /** Queue: nothing is left to do. */
  | 'ended'

export interface LedgerEvent {
  readonly id: string
  readonly tier: LedgerTier
  /** `e1`, `00`, ... */
  readonly instance: string
  readonly event: LedgerEventName
  /** Unix milliseconds. */
  readonly at: number
  readonly sender?: string
  readonly recipients?: readonly string[]
  readonly bytes?: number
  /** Where it went: `qmtp 127.0.0.1:2500`, `maildir ...`, `smtp host[ip]:25`. */
  readonly to?: string
  readonly text?: string
  /** Id of the bounce that reports this message, or of the message this bounce reports. */
  readonly bounce?: string
}

export interface Ledger {
  record(event: LedgerEvent): void
}
