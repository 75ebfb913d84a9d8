/**
 * Shared state: what edges tell one another about clients, as opinions that may be lost. Never mail, never needed for mail's safety.
 *
 * Every entry has a time to live; a store that was wiped, failed over or never there costs what is written beside each call
 * under "gone" and nothing else. Subjects are what peers send: any bytes, any length; no store shows them in a key. `answered` is called
 * exactly once, inside the call where the answer is at hand, else within the store's deadline.
 * Numbers are whole; names are ours: lower-case letters, digits and hyphens.
 */

import type { ByteString } from '../protocol/byte-string.ts'

/** `gone`: nothing is known, and what was asked for may or may not have happened. `why` is for the log. */
export type SharedAnswer<Value> =
  | { readonly kind: 'known'; readonly value: Value }
  | { readonly kind: 'gone'; readonly why: string }

export type Answered<Value> = (answer: SharedAnswer<Value>) => void

/** A token bucket: `events` of them at once, refilled evenly over `perMs`. */
export interface RateTerms {
  readonly name: string
  readonly events: number
  readonly perMs: number
}

export interface RateVerdict {
  readonly allowed: boolean
  /** Until it would be allowed if nobody else asked; 0 where it is. */
  readonly waitMs: number
}

/** At most `slotsMax` holders at a time; one that is not kept or freed for `ttlMs` loses its slot. */
export interface SlotTerms {
  readonly name: string
  readonly slotsMax: number
  readonly ttlMs: number
}

export interface SlotVerdict {
  readonly taken: boolean
  /** Holders now, this one included where it has a slot. */
  readonly inUse: number
}

export interface Triplet {
  /** The client's network, as far as it counts. */
  readonly network: string
  readonly sender: ByteString
  readonly recipient: ByteString
}

export interface GreylistTerms {
  /** From the first try until one is let through. */
  readonly delayMs: number
  /** A triplet that was not tried again for this long is new; longer than `delayMs`. */
  readonly retryMs: number
  /** A triplet let through is known for this long after its last use. */
  readonly keepMs: number
}

export interface GreylistVerdict {
  readonly stage: 'first' | 'early' | 'passed'
  /** Until a try passes; 0 where this one does. */
  readonly waitMs: number
}

/** Counts that halve every `halfLifeMs`. */
export interface ReputationTerms {
  readonly name: string
  readonly halfLifeMs: number
}

export interface Reputation {
  readonly good: number
  readonly bad: number
}

export interface NotedHints {
  /** As `hintName` makes them. */
  readonly names: readonly string[]
  readonly mark: number
}

export const hintsMax = 10_000
export const hintsPerCallMax = 400

export interface SharedState {
  /** `cluster` while what is said here is heard by other edges. */
  readonly reach: 'cluster' | 'process'

  /**
   * Takes `cost` events, all or none; one that costs more than the bucket holds needs it full and empties it.
   * Gone: the process counts by itself, with its part of `events`.
   */
  takeRate(terms: RateTerms, subject: ByteString, cost: number, answered: Answered<RateVerdict>): void

  /** A holder that has a slot takes no second one. Gone: the process counts its own holders, with its part of `slotsMax`. */
  takeSlot(terms: SlotTerms, subject: ByteString, holder: string, answered: Answered<SlotVerdict>): void
  /** Renews a slot. One that was forgotten is there again, above `slotsMax` if need be: its holder exists. */
  keepSlot(terms: SlotTerms, subject: ByteString, holder: string, answered: Answered<SlotVerdict>): void
  /** Gone: the slot ends with its time to live. */
  freeSlot(terms: SlotTerms, subject: ByteString, holder: string): void

  /** Gone: the try passes, for a delay that nobody can remember has no end. */
  greylist(terms: GreylistTerms, triplet: Triplet, answered: Answered<GreylistVerdict>): void

  /** Adds, and answers the sums; adding nothing is asking. Gone: what the process has seen by itself. */
  addReputation(terms: ReputationTerms, subject: ByteString, more: Reputation, answered: Answered<Reputation>): void

  /**
   * Content ids of recipients that were committed in a transaction that got 451 (promise 6).
   * Gone: whoever asks goes by its own memory; a retry through another edge makes a second copy.
   */
  keepContents(contents: readonly string[], ttlMs: number, answered: Answered<true>): void
  /**
   * Which of `contents` were there. They are not any more: exactly one asker is told, so that an answer that gets lost costs a second copy and
   * an id that went stale never costs a message.
   */
  takeContents(contents: readonly string[], answered: Answered<ReadonlySet<string>>): void

  /**
   * Tells the other edges which hints the kept contents have, so that they ask about those only. A hint is bounded in number: past
   * `hintsMax` the oldest go first. Gone: other edges do not ask, which costs a second copy.
   */
  noteHints(hints: readonly string[], ttlMs: number, answered: Answered<true>): void
  /** Those noted since `mark`, some perhaps twice; 0 begins anew. At most `hintsPerCallMax`: with so many, ask again from the new mark. */
  hintsSince(mark: number, answered: Answered<NotedHints>): void

  /** Everything asked from now on is gone. */
  close(): void
}

export function known<Value>(value: Value): SharedAnswer<Value> {
  return { kind: 'known', value }
}

export function gone(why: string): { readonly kind: 'gone'; readonly why: string } {
  return { kind: 'gone', why }
}

/** How an edge stands to the server it shares through; part of its state. */
export interface SharedStateStatus {
  /** `redis://host:port`, without user or secret. */
  readonly server: string
  readonly reached: boolean
  /** Why not. */
  readonly why?: string
  /** Calls since the process began, and how many of them got no answer in time. */
  readonly calls: number
  readonly unanswered: number
}
