/**
 * The cluster's limits on destinations at one instance: what it holds of them, the gate they make, and who asks for more. Of role bounce,
 * or without limits in the layout, the gate is open and nobody asks.
 */

import type { Coordination } from '../contract/coordination.ts'
import { instanceOf, type Layout } from '../contract/layout.ts'
import { ceilingsOf, isSharer, shareTerms } from '../contract/share.ts'
import type { Clock } from '../runtime/world.ts'
import { CeilingGate } from './ceiling-gate.ts'
import { HeldShares } from './held-shares.ts'
import { ShareAsker } from './share-asker.ts'

/** The deliveries that the limits are for. */
export interface LimitedDeliveries {
  /** Due jobs by limited destination. */
  readonly dueAtGates: ReadonlyMap<string, number>
  pump(): void
}

export class DestinationShares {
  readonly gate: CeilingGate
  readonly #clock: Clock
  readonly #instance: string
  readonly #shares: HeldShares
  #asker: ShareAsker | undefined

  constructor(clock: Clock, instance: string, layout: Layout) {
    this.#clock = clock
    this.#instance = instance
    this.#shares = new HeldShares(shareTerms, clock.monotonic())
    this.gate = new CeilingGate((name) => this.#shares.allowance(name, clock.monotonic()))
    this.apply(layout)
  }

  /** Whoever starts deliveries counts those that run anew afterwards. */
  apply(layout: Layout): void {
    const role = instanceOf(layout, this.#instance)?.role
    const limits = role !== undefined && isSharer(role) ? (layout.clusterLimits ?? []) : []
    this.gate.limits = limits
    this.#shares.ceilings = limits.length === 0 ? [] : ceilingsOf(layout)
  }

  start(coordination: Coordination, deliveries: LimitedDeliveries): void {
    this.#asker = new ShareAsker({
      ...{ coordination, clock: this.#clock, instance: this.#instance, shares: this.#shares },
      wants: () => {
        if (this.gate.isOpen) return []
        const due = deliveries.dueAtGates
        return this.gate.wants((destination) => due.get(destination) ?? 0)
      },
      onTold: () => deliveries.pump(),
    })
    this.#asker.start()
  }

  stop(): void {
    this.#asker?.stop()
  }
}
