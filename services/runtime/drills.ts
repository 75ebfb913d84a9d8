/**
 * The drills of one process: what plays gone now, and who is to be told when that changes.
 *
 * One at a time. A dependency can be drilled once somebody plays it (`drilled-coordination.ts`, `drilled-shared-state.ts`); the end is a
 * timer of this process and needs nobody. A process that is started again has forgotten its drill.
 */

import { type DrilledDependency, type DrillOrder, type DrillState, drillMsMax } from '../contract/drill.ts'
import type { Clock } from './world.ts'

type Changed = (isGone: boolean) => void

/** The answer to the order leaves before the link it travels by is gone. */
export const drillAnswerMs = 200

export class Drills {
  readonly #clock: Clock
  readonly #players = new Map<DrilledDependency, Changed[]>()
  readonly #told: (what: 'begins' | 'ended', drill: DrillState) => void
  #drill: DrillState | undefined
  #goneSince: number | undefined

  constructor(clock: Clock, told: (what: 'begins' | 'ended', drill: DrillState) => void) {
    this.#clock = clock
    this.#told = told
  }

  /** The one that runs or is about to. */
  get state(): DrillState | undefined {
    return this.#drill
  }

  isGone(dependency: DrilledDependency): boolean {
    return this.goneSince(dependency) !== undefined
  }

  /** Unix milliseconds; undefined while it is there. */
  goneSince(dependency: DrilledDependency): number | undefined {
    return this.#drill?.dependency === dependency ? this.#goneSince : undefined
  }

  /** `changed` is called when `dependency` begins to be gone and when it is back. */
  play(dependency: DrilledDependency, changed?: Changed): void {
    const players = this.#players.get(dependency) ?? []
    this.#players.set(dependency, changed === undefined ? players : [...players, changed])
  }

  /** The drill as it will be, or in words why there is none. Begins a moment later. */
  begin(order: DrillOrder): DrillState | string {
    const { dependency, forMs } = order
    if (this.#drill !== undefined) return `a drill of ${this.#drill.dependency} is running`
    if (!this.#players.has(dependency)) return `nothing here depends on ${dependency}`
    const lastsMs = Math.min(forMs, drillMsMax)
    const drill = { dependency, until: this.#clock.now() + drillAnswerMs + lastsMs }
    this.#drill = drill
    this.#clock.after(drillAnswerMs, () => {
      this.#told('begins', drill)
      this.#goneSince = this.#clock.now()
      this.#turn(drill, true)
      this.#clock.after(lastsMs, () => {
        this.#drill = undefined
        this.#goneSince = undefined
        this.#turn(drill, false)
        this.#told('ended', drill)
      })
    })
    return drill
  }

  #turn(drill: DrillState, isGone: boolean): void {
    for (const changed of this.#players.get(drill.dependency) ?? []) changed(isGone)
  }
}
