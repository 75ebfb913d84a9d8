/**
 * Cuts the host of the control process that leads off from everybody at chosen steps of a scaling, and joins it again: at times before its
 * lease has run out, at times when another has led for a while.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { keyLifetimes } from '../../services/contract/coordination.ts'
import { Seeded } from '../crash/load.ts'
import { wantedSteps } from './killer.ts'
import { type PlanWatch, type Step, steps } from './plan-watch.ts'
import type { SplitHosts } from './split-hosts.ts'

export interface Split {
  readonly step: Step
  /** Who led. */
  readonly cut: string
  readonly ms: number
  /** Who led when the host was joined again, as this machine saw it. */
  readonly after: string
}

const shortMsMax = 4000
const longMsSpread = 6000
const lookAgainMs = 100

export class Splitter {
  readonly splits: Split[] = []
  readonly #watch: PlanWatch
  readonly #hosts: SplitHosts
  readonly #random: Seeded

  constructor(watch: PlanWatch, hosts: SplitHosts, seed: number) {
    this.#watch = watch
    this.#hosts = hosts
    this.#random = new Seeded(seed)
  }

  /** `count` splits during one scale-down, or as many as happen before `isOver`; everybody is joined when this resolves. */
  async during(count: number, isOver: () => boolean): Promise<void> {
    const drawn = Array.from({ length: count }, () => wantedSteps[this.#random.below(wantedSteps.length)] as Step)
    for (const step of drawn.sort((one, other) => steps.indexOf(one) - steps.indexOf(other))) {
      await this.#watch.reach(step, isOver)
      await sleep(this.#random.below(60))
      const cut = this.#watch.leader()
      if (isOver() || cut === undefined) return
      await this.#split(cut, isOver)
    }
  }

  async #split(cut: string, isOver: () => boolean): Promise<void> {
    const isLong = this.#random.below(2) === 0
    const wantedMs = isLong ? keyLifetimes.leaseMs + this.#random.below(longMsSpread) : this.#random.below(shortMsMax)
    const { step } = await this.#watch.look()
    const begun = performance.now()
    this.#hosts.cut(cut)
    try {
      while (performance.now() - begun < wantedMs && !isOver()) await sleep(lookAgainMs)
    } finally {
      this.#hosts.heal(cut)
    }
    const ms = Math.round(performance.now() - begun)
    this.splits.push({ step, cut, ms, after: this.#watch.leader() ?? '' })
  }
}
