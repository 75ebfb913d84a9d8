/**
 * Death at chosen steps of a scaling: waits until the plan is at a step, then sends SIGKILL to a process that plays a part in it.
 * Whoever runs `qmq up` starts it again when it dies; here this file does. Nothing else helps.
 *
 * Steps and parts are taken in turn from a shuffled list, so that many runs meet every pair; a step that had passed before it was seen is
 * made up for at once, and the report says at which step each kill really came.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { Seeded } from '../crash/load.ts'
import type { OutsideLedger } from '../crash/outside-ledger.ts'
import { gone } from '../support/child.ts'
import type { Cluster } from '../support/cluster.ts'
import { type ProcessEntry, processTree } from '../support/process-tree.ts'
import { type PlanWatch, type Sight, type Step, steps } from './plan-watch.ts'

/** `source` leaves, `target` takes over, `other` is a bystander. */
export const parts = ['source', 'target', 'control', 'edge', 'up', 'other'] as const
export type Part = (typeof parts)[number]

export interface Kill {
  readonly step: Step
  readonly part: Part
  readonly target: string
}

/** What a list has of each: the death of the parent is that of everybody, and costs as much time as several others. */
const timesEach: Readonly<Record<Part, number>> = { source: 2, target: 2, control: 2, edge: 2, up: 1, other: 2 }

export const wantedSteps: readonly Step[] = ['cordoned', 'quiescing', 'moving', 'empty', 'sealing', 'sealed']
const growPauseMsMax = 500
const backTimeoutMs = 60_000

/** Who may die, and what is done where `qmq up` has. */
export interface Victims {
  readonly cluster: Cluster
  readonly watch: PlanWatch
  readonly ledger: OutsideLedger
  /** Undefined for one that is being started again. */
  pidOf(id: string): number | undefined
  /** Until the cluster is at work again. */
  untilBack(timeoutMs: number): Promise<void>
}

export class Killer {
  readonly kills: Kill[] = []
  readonly #victims: Victims
  readonly #random: Seeded
  readonly #deck: (readonly [Step, Part])[] = []

  constructor(victims: Victims, seed: number) {
    this.#victims = victims
    this.#random = new Seeded(seed)
  }

  /** `count` kills during one scale-down, or as many as happen before `isOver`. */
  async during(count: number, isOver: () => boolean): Promise<void> {
    const drawn = Array.from({ length: count }, () => this.#draw())
    for (const [step, part] of drawn.sort(([one], [other]) => steps.indexOf(one) - steps.indexOf(other))) {
      await this.#victims.watch.reach(step, isOver)
      // Not always at the very beginning of the step.
      await sleep(this.#random.below(60))
      if (isOver()) return
      await this.#kill(part, await this.#victims.watch.look())
    }
  }

  /** The same while a pool grows, which has no steps. */
  async atOnce(count: number, isOver: () => boolean): Promise<void> {
    for (let number = 0; number < count && !isOver(); number++) {
      await this.once()
      await sleep(this.#random.below(growPauseMsMax))
    }
  }

  /** One process of any part, now. */
  async once(): Promise<void> {
    const [, part] = this.#draw()
    await this.#kill(part, await this.#victims.watch.look())
  }

  #draw(): readonly [Step, Part] {
    if (this.#deck.length === 0) {
      const all = wantedSteps.flatMap((step) =>
        parts.flatMap((part) => Array.from({ length: timesEach[part] }, () => [step, part] as const)),
      )
      while (all.length > 0) this.#deck.push(...all.splice(this.#random.below(all.length), 1))
    }
    return this.#deck.pop() as readonly [Step, Part]
  }

  async #kill(part: Part, sight: Sight): Promise<void> {
    const { cluster, ledger } = this.#victims
    const target = this.#targetOf(part, sight)
    const pid = target === 'up' ? cluster.child.pid : this.#victims.pidOf(target)
    if (pid === undefined) return
    const orphans = target === 'up' ? processTree(pid).slice(1) : []
    ledger.incident({ kind: 'kill', target, at: Date.now() })
    process.kill(pid, 'SIGKILL')
    this.kills.push({ step: sight.step, part, target })
    if (target !== 'up') return
    const deaths = orphans.map((orphan) => this.#recordDeath(orphan))
    await cluster.child.finished
    cluster.restart()
    await this.#victims.untilBack(backTimeoutMs)
    await Promise.all(deaths)
  }

  #targetOf(part: Part, { layout, plan }: Sight): string {
    const pick = (ids: readonly string[]) => ids[this.#random.below(Math.max(ids.length, 1))] ?? 'up'
    const queues = layout.instances.filter(({ standing }) => standing !== 'parked').map(({ id }) => id)
    if (part === 'up') return 'up'
    if (part === 'edge') return pick(layout.edges.map(({ id }) => id))
    if (part === 'control') return pick(layout.control.map(({ id }) => id))
    if (plan === undefined || part === 'other') return pick(queues)
    return pick(part === 'source' ? plan.leaving : plan.targets)
  }

  /** The parent's children end after it, each in its own time; that is the moment that explains a duplicate. */
  async #recordDeath(orphan: ProcessEntry): Promise<void> {
    if (!(await gone(orphan.pid, backTimeoutMs))) throw new Error(`${orphan.command} outlived its parent`)
    this.#victims.ledger.incident({ kind: 'orphan', target: instanceIn(orphan.command) ?? 'unknown', at: Date.now() })
  }
}

/** `... --id 01 ...` */
export function instanceIn(command: string): string | undefined {
  return / --id (\S+)/.exec(command)?.[1]
}
