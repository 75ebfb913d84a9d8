/**
 * Whether a delivery may begin under the cluster's limits on its destination. Pure: times are the scheduler's, and what is allowed now
 * is asked of `allowance`.
 *
 * Deliveries under way are never cut off: where a share shrinks below them, none begins until they are fewer. A rate is kept by spacing,
 * so that no burst is saved up. Destinations that no limit names cost one look into a map when they are first seen.
 */

import type { ClusterLimit } from '../contract/layout.ts'
import { concurrencyName, rateName, type ShareWant } from '../contract/share.ts'

/** So much of the time that starts came late is made up for: timers are no finer than this. */
const madeUpMs = 20

/** One limit, over all destinations that it names. */
export interface Gate {
  readonly limit: ClusterLimit
  running: number
  /** The last start, on the scheduler's clock; earlier where starts came late, so that they are made up for. */
  lastAt: number
}

export class CeilingGate {
  readonly #allowance: (name: string) => number
  #gates: ReadonlyMap<string, Gate> = new Map()

  /** `allowance` by the name of a ceiling, at this moment. */
  constructor(allowance: (name: string) => number) {
    this.#allowance = allowance
  }

  /** What runs is counted anew by its owner. */
  set limits(limits: readonly ClusterLimit[]) {
    const before = this.#gates
    this.#gates = new Map(
      limits.map((limit) => {
        const lastAt = before.get(limit.destination)?.lastAt ?? 0
        return [limit.destination, { limit, running: 0, lastAt }]
      }),
    )
  }

  get isOpen(): boolean {
    return this.#gates.size === 0
  }

  /** By the key of a destination, `mx:DOMAIN` or `smtp:HOST:PORT`. */
  gateOf(destination: string): Gate | undefined {
    if (this.#gates.size === 0) return undefined
    const name = /^mx:(.*)$/s.exec(destination)?.[1] ?? /^smtp:(.*):\d+$/s.exec(destination)?.[1]
    return name === undefined ? undefined : this.#gates.get(name.toLowerCase())
  }

  mayStart(gate: Gate, now: number): boolean {
    const { limit } = gate
    if (limit.concurrency !== undefined && gate.running >= this.#allowance(concurrencyName(limit))) return false
    return this.nextAt(gate) <= now
  }

  /** When the rate allows the next start; Infinity while there is no share of it. */
  nextAt({ limit, lastAt }: Gate): number {
    return limit.rate === undefined ? 0 : lastAt + limit.rate.perMs / this.#allowance(rateName(limit))
  }

  started(gate: Gate, now: number): void {
    gate.running++
    if (gate.limit.rate !== undefined) gate.lastAt = Math.max(this.nextAt(gate), now - madeUpMs)
  }

  ended(gate: Gate): void {
    gate.running--
  }

  /** `due`: deliveries that could begin now were it not for the limits. */
  wants(due: (destination: string) => number): readonly ShareWant[] {
    return [...this.#gates.values()].flatMap(({ limit, running }) => {
      const waiting = due(limit.destination)
      const concurrency = { ceiling: concurrencyName(limit), wanted: running + waiting, held: running }
      // A rate is used up as it is granted: nothing of it is held.
      const rate = { ceiling: rateName(limit), wanted: running + waiting, held: 0 }
      return [...(limit.concurrency === undefined ? [] : [concurrency]), ...(limit.rate === undefined ? [] : [rate])]
    })
  }
}
