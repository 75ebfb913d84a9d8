/**
 * One contender for a lease (`contract/lease.ts`): waits for it, holds it, renews it, loses it, begins again.
 *
 * Rules that keep two from acting at once:
 * - a term counts from the moment its request was *sent*, and ends for us after two thirds of the lease's life on the monotonic
 *   clock, so before the store lets anyone else have it, a request's own time included;
 * - `fence` is judged at the moment it is asked for, not by a timer that may come late;
 * - a renewal that meets another's record ends the term at once; one without an answer is tried again only within the term.
 * A clock of the store that jumps can still shorten a life: the fencing number is what the orders are judged by. A store that came
 * back as it was earlier gives numbers that were given before: who gets one of those writes on until it has a new one, and who hears of a
 * higher one only later begins another term.
 */

import { type Coordination, leaseKey, type Subscription, type WriteResult } from '../contract/coordination.ts'
import { leaseRecord, readLeaseRecord } from '../contract/lease.ts'
import { errorText } from '../protocol/failure.ts'
import type { Clock, Random, Timer } from './world.ts'

export interface LeaseParts {
  readonly coordination: Coordination
  readonly clock: Clock
  readonly random: Random
  readonly name: string
  readonly holder: string
  /** The life of a lease in this store, milliseconds. */
  readonly lifeMs: number
  /** A number that already counts somewhere: a term begins above it, and ends where it turns out to be below. */
  readonly fenceBelow: () => number
  /** A term begins; `fence` is its number. */
  readonly onHeld: (fence: number) => void
  /** It has ended, or may have. */
  readonly onLost: (why: string) => void
}

interface Term {
  readonly fence: number
  revision: number
  /** On the monotonic clock. */
  untilMs: number
}

/** How soon a contender tries when it hears that the lease is free. */
const eagerMs = 20
/** What a store can have lost in the minutes between two syncs, many times over. Further below, a clock is wrong: a person must look. */
const climbMax = 1000

export class Lease {
  readonly #parts: LeaseParts
  readonly #key: string
  #term: Term | undefined
  #watch: Subscription | undefined
  #next: Timer | undefined
  #end: Timer | undefined
  #isTrying = false
  #isStopped = true

  constructor(parts: LeaseParts) {
    this.#parts = parts
    this.#key = leaseKey(parts.name)
  }

  /** The number to act under, while we hold the lease. */
  get fence(): number | undefined {
    const term = this.#term
    return term !== undefined && this.#parts.clock.monotonic() < term.untilMs ? term.fence : undefined
  }

  start(): void {
    if (!this.#isStopped) return
    this.#isStopped = false
    this.#watch = this.#parts.coordination.watch(this.#key, ({ entry }) => {
      const isFree = entry === undefined || readLeaseRecord(entry.value)?.released === true
      if (isFree && this.#term === undefined) this.#tryIn(this.#parts.random.below(eagerMs))
    })
    this.#tryIn(0)
  }

  /** Gives back what is held; contends no more. Never rejects. */
  async stop(): Promise<void> {
    if (this.#isStopped) return
    this.#isStopped = true
    this.#watch?.stop()
    this.#next?.cancel()
    const term = this.#term
    this.#lose('given back')
    if (term !== undefined) await this.#giveBack(term.revision)
  }

  #tryIn(delayMs: number): void {
    this.#next?.cancel()
    this.#next = this.#parts.clock.after(delayMs, () => {
      this.#try().catch((error: unknown) => this.#lose(errorText(error)))
    })
  }

  async #try(): Promise<void> {
    if (this.#isTrying || this.#isStopped) return
    this.#isTrying = true
    try {
      if (this.#term === undefined) await this.#acquire()
      else await this.#renew(this.#term)
    } finally {
      this.#isTrying = false
      if (!this.#isStopped) this.#tryIn(this.#pauseMs())
    }
  }

  /** A third of the life between renewals, less where one went unanswered; waiting, about a quarter. */
  #pauseMs(): number {
    const { clock, lifeMs, random } = this.#parts
    const term = this.#term
    if (term === undefined) return (lifeMs / 4) * (0.75 + random.below(500) / 1000)
    const untilRenewalMs = term.untilMs - lifeMs / 3 - clock.monotonic()
    return Math.max(lifeMs / 12, untilRenewalMs)
  }

  async #acquire(): Promise<void> {
    const { coordination, clock, holder } = this.#parts
    const sentMs = clock.monotonic()
    let result = await coordination.create(this.#key, leaseRecord(holder))
    if (result.kind === 'conflict') result = await this.#takeReleased()
    if (result.kind === 'written') result = await this.#climb(result.revision)
    if (result.kind !== 'written') return
    const { revision } = result
    const untilMs = this.#termEnd(sentMs)
    if (this.#isStopped || clock.monotonic() >= untilMs) {
      await this.#giveBack(revision)
      return
    }
    this.#term = { fence: revision, revision, untilMs }
    this.#endAt(untilMs)
    this.#parts.onHeld(revision)
  }

  /** From a revision of ours to one that no term before can have had. */
  async #climb(first: number): Promise<WriteResult> {
    const { coordination, holder, fenceBelow } = this.#parts
    const below = fenceBelow()
    let result: WriteResult = { kind: 'written', revision: first }
    if (isFarBelow(first, below)) return result
    while (result.kind === 'written' && result.revision <= below) {
      result = await coordination.update(this.#key, leaseRecord(holder), result.revision)
    }
    return result
  }

  async #takeReleased(): Promise<WriteResult> {
    const { coordination, holder } = this.#parts
    try {
      const entry = await coordination.get(this.#key)
      if (entry === undefined || readLeaseRecord(entry.value)?.released !== true) return { kind: 'conflict' }
      return await coordination.update(this.#key, leaseRecord(holder), entry.revision)
    } catch {
      return { kind: 'unreachable' }
    }
  }

  async #renew(term: Term): Promise<void> {
    const { coordination, clock, holder, fenceBelow } = this.#parts
    const below = fenceBelow()
    if (below > term.fence && !isFarBelow(term.fence, below)) {
      this.#lose('a higher number counts already')
      await this.#giveBack(term.revision)
      return
    }
    const sentMs = clock.monotonic()
    const result = await coordination.update(this.#key, leaseRecord(holder), term.revision)
    if (result.kind === 'unreachable') return
    if (this.#term !== term) {
      // Too late: the term has ended meanwhile. What came of it is nobody's.
      if (result.kind === 'written') await this.#giveBack(result.revision)
      return
    }
    if (result.kind === 'conflict') {
      this.#lose('another process has it')
      return
    }
    term.revision = result.revision
    term.untilMs = this.#termEnd(sentMs)
    this.#endAt(term.untilMs)
  }

  #termEnd(sentMs: number): number {
    return sentMs + (this.#parts.lifeMs * 2) / 3
  }

  #endAt(untilMs: number): void {
    const { clock } = this.#parts
    this.#end?.cancel()
    this.#end = clock.after(untilMs - clock.monotonic(), () => this.#lose('it could not be renewed in time'))
  }

  #lose(why: string): void {
    this.#end?.cancel()
    if (this.#term === undefined) return
    this.#term = undefined
    this.#parts.onLost(why)
  }

  /** Only where the record is still that one. */
  async #giveBack(revision: number): Promise<void> {
    const { coordination, holder } = this.#parts
    await coordination.update(this.#key, leaseRecord(holder, true), revision).catch(() => {})
  }
}

function isFarBelow(fence: number, counts: number): boolean {
  return counts - fence > climbMax
}
