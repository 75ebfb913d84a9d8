/**
 * What this instance may use of the cluster's limits, by the grants it got and the time (`contract/share.ts`). Pure; times are of one
 * monotonic clock.
 *
 * Without a live grant it uses nothing, and after the quiet time its static floor. A process that has just started may have been granted
 * something in its last life, or may have been counted as quiet: it waits as long.
 */

import type { Ceiling, ShareGrant, shareTerms } from '../contract/share.ts'

type ShareTerms = { readonly [Name in keyof typeof shareTerms]: number }

export class HeldShares {
  readonly #terms: ShareTerms
  #ceilings: ReadonlyMap<string, Ceiling> = new Map()
  #grant: ShareGrant | undefined
  #askedAt = Number.NEGATIVE_INFINITY
  #usableUntil = Number.NEGATIVE_INFINITY
  #floorFrom: number

  constructor(terms: ShareTerms, startedAt: number) {
    this.#terms = terms
    this.#floorFrom = startedAt + terms.quietMs
  }

  set ceilings(ceilings: readonly Ceiling[]) {
    this.#ceilings = new Map(ceilings.map((ceiling) => [ceiling.name, ceiling]))
  }

  get last(): string | undefined {
    return this.#grant?.grant
  }

  /** `askedAt`: when what it answers was asked. One that was overtaken by the answer to a later ask counts no more: the keeper may know that. */
  take(grant: ShareGrant, askedAt: number, now: number): void {
    if (askedAt < this.#askedAt) return
    this.#askedAt = askedAt
    this.#grant = grant
    this.#usableUntil = askedAt + this.#terms.usableMs
    this.#floorFrom = now + this.#terms.quietMs
  }

  /** Infinity where there is no such ceiling. */
  allowance(name: string, now: number): number {
    const ceiling = this.#ceilings.get(name)
    if (ceiling === undefined) return Number.POSITIVE_INFINITY
    if (now < this.#usableUntil) return Math.min(ceiling.amount, this.#grant?.shares[name] ?? 0)
    return now >= this.#floorFrom ? ceiling.floor : 0
  }
}
