/**
 * Shared state inside one process: for `shared-state: embedded`, and for the time a server is gone.
 *
 * Every answer is at hand. Bounded: each kind of entry has a table of `entriesMax`; past it the oldest opinion is forgotten as if its time had
 * come. The calculations are those of `redis-scripts.ts`, held equal by one contract suite.
 */

import {
  type Answered,
  type GreylistTerms,
  type GreylistVerdict,
  gone,
  hintsMax,
  hintsPerCallMax,
  known,
  type NotedHints,
  type RateTerms,
  type RateVerdict,
  type Reputation,
  type ReputationTerms,
  type SharedState,
  type SlotTerms,
  type SlotVerdict,
  type Triplet,
} from '../contract/shared-state.ts'
import type { ByteString } from '../protocol/byte-string.ts'
import { ExpiringTable } from './expiring-table.ts'
import { entryKey, hintName } from './shared-state-key.ts'
import {
  checkGreylist,
  checkRate,
  checkReputation,
  checkSlot,
  checkTtl,
  memoryHalfLives,
} from './shared-state-terms.ts'
import type { Clock } from './world.ts'

export interface LocalSharedStateLimits {
  /** Entries of each kind. */
  readonly entriesMax: number
  /** Holders of one subject's slots. */
  readonly holdersMax: number
}

export const standardLocalLimits: LocalSharedStateLimits = { entriesMax: 100_000, holdersMax: 100_000 }

const closed = gone('closed')

export class LocalSharedState implements SharedState {
  readonly reach = 'process'
  readonly #clock: Clock
  readonly #limits: LocalSharedStateLimits
  readonly #buckets: ExpiringTable<{ readonly level: number; readonly at: number }>
  /** Holders by subject, with the times their slots end. */
  readonly #slots: ExpiringTable<Map<string, number>>
  readonly #triplets: ExpiringTable<'passed' | number>
  readonly #reputations: ExpiringTable<Reputation & { readonly at: number }>
  readonly #contents: ExpiringTable<true>
  /** Names of hints by the number of their noting. */
  readonly #hints: ExpiringTable<number>
  #hintsNoted = 0
  #closed = false

  constructor(clock: Clock, limits: LocalSharedStateLimits = standardLocalLimits) {
    this.#clock = clock
    this.#limits = limits
    this.#buckets = new ExpiringTable(limits.entriesMax)
    this.#slots = new ExpiringTable(limits.entriesMax)
    this.#triplets = new ExpiringTable(limits.entriesMax)
    this.#reputations = new ExpiringTable(limits.entriesMax)
    this.#contents = new ExpiringTable(limits.entriesMax)
    this.#hints = new ExpiringTable(hintsMax)
  }

  takeRate(terms: RateTerms, subject: ByteString, cost: number, answered: Answered<RateVerdict>): void {
    checkRate(terms, cost)
    if (this.#closed) return answered(closed)
    const { events, perMs } = terms
    const key = entryKey('rate', terms.name, [subject])
    const now = this.#clock.monotonic()
    const before = this.#buckets.get(key, now)
    const refilled = before === undefined ? events : before.level + ((now - before.at) * events) / perMs
    const level = Math.min(events, refilled)
    const taken = Math.min(cost, events)
    if (level + roundingError < taken) {
      return answered(known({ allowed: false, waitMs: Math.ceil(((taken - level) * perMs) / events) }))
    }
    const left = Math.max(0, level - taken)
    this.#buckets.set(key, { level: left, at: now }, now, Math.ceil(((events - left) * perMs) / events))
    answered(known({ allowed: true, waitMs: 0 }))
  }

  takeSlot(terms: SlotTerms, subject: ByteString, holder: string, answered: Answered<SlotVerdict>): void {
    this.#hold(terms, subject, holder, terms.slotsMax, answered)
  }

  keepSlot(terms: SlotTerms, subject: ByteString, holder: string, answered: Answered<SlotVerdict>): void {
    this.#hold(terms, subject, holder, this.#limits.holdersMax, answered)
  }

  freeSlot(terms: SlotTerms, subject: ByteString, holder: string): void {
    checkSlot(terms)
    const key = entryKey('slot', terms.name, [subject])
    const holders = this.#slots.get(key, this.#clock.monotonic())
    if (holders?.delete(holder) === true && holders.size === 0) this.#slots.delete(key)
  }

  greylist(terms: GreylistTerms, triplet: Triplet, answered: Answered<GreylistVerdict>): void {
    checkGreylist(terms)
    if (this.#closed) return answered(closed)
    const key = entryKey('grey', 'triplet', [triplet.network, triplet.sender, triplet.recipient])
    const now = this.#clock.monotonic()
    const first = this.#triplets.get(key, now)
    if (first === undefined) {
      this.#triplets.set(key, now, now, terms.retryMs)
      return answered(known({ stage: 'first', waitMs: terms.delayMs }))
    }
    const waitMs = first === 'passed' ? 0 : Math.ceil(first + terms.delayMs - now)
    if (waitMs > 0) return answered(known({ stage: 'early', waitMs }))
    this.#triplets.set(key, 'passed', now, terms.keepMs)
    answered(known({ stage: 'passed', waitMs: 0 }))
  }

  addReputation(terms: ReputationTerms, subject: ByteString, more: Reputation, answered: Answered<Reputation>): void {
    checkReputation(terms, more)
    if (this.#closed) return answered(closed)
    const key = entryKey('reputation', terms.name, [subject])
    const now = this.#clock.monotonic()
    const before = this.#reputations.get(key, now) ?? { good: 0, bad: 0, at: now }
    const rest = 2 ** (-(now - before.at) / terms.halfLifeMs)
    const good = before.good * rest + more.good
    const bad = before.bad * rest + more.bad
    if (more.good > 0 || more.bad > 0) {
      this.#reputations.set(key, { good, bad, at: now }, now, terms.halfLifeMs * memoryHalfLives)
    }
    answered(known({ good, bad }))
  }

  keepContents(contents: readonly string[], ttlMs: number, answered: Answered<true>): void {
    checkTtl(ttlMs)
    if (this.#closed) return answered(closed)
    const now = this.#clock.monotonic()
    for (const content of contents) this.#contents.set(entryKey('content', 'id', [content]), true, now, ttlMs)
    answered(known(true))
  }

  takeContents(contents: readonly string[], answered: Answered<ReadonlySet<string>>): void {
    if (this.#closed) return answered(closed)
    const now = this.#clock.monotonic()
    const taken = new Set<string>()
    for (const content of new Set(contents)) {
      const key = entryKey('content', 'id', [content])
      if (this.#contents.get(key, now) === undefined) continue
      this.#contents.delete(key)
      taken.add(content)
    }
    answered(known(taken))
  }

  noteHints(hints: readonly string[], ttlMs: number, answered: Answered<true>): void {
    checkTtl(ttlMs)
    if (this.#closed) return answered(closed)
    for (const hint of hints) this.#hints.set(hintName(hint), ++this.#hintsNoted, this.#clock.monotonic(), ttlMs)
    answered(known(true))
  }

  hintsSince(mark: number, answered: Answered<NotedHints>): void {
    if (this.#closed) return answered(closed)
    const found = this.#hints.entries(this.#clock.monotonic()).filter(([, number]) => number > mark)
    const given = found.slice(0, hintsPerCallMax)
    answered(known({ names: given.map(([name]) => name), mark: given.at(-1)?.[1] ?? mark }))
  }

  close(): void {
    this.#closed = true
  }

  #hold(
    terms: SlotTerms,
    subject: ByteString,
    holder: string,
    holdersMax: number,
    answered: Answered<SlotVerdict>,
  ): void {
    checkSlot(terms)
    if (this.#closed) return answered(closed)
    const key = entryKey('slot', terms.name, [subject])
    const now = this.#clock.monotonic()
    const holders = this.#slots.get(key, now) ?? new Map<string, number>()
    // The oldest come first, so what has ended is found without looking at all.
    for (const [other, until] of holders) {
      if (until > now) break
      holders.delete(other)
    }
    if (!holders.has(holder) && holders.size >= holdersMax) {
      return answered(known({ taken: false, inUse: holders.size }))
    }
    holders.delete(holder)
    holders.set(holder, now + terms.ttlMs)
    this.#slots.set(key, holders, now, terms.ttlMs)
    answered(known({ taken: true, inUse: holders.size }))
  }
}

/** Of an event: what many small refills may lose in floating point. */
const roundingError = 1e-6
