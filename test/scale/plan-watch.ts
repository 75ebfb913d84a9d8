/**
 * What step a scaling is at, as a bystander sees it: the layout in the state directory, and what instances say of themselves at the hub.
 *
 * Only looks; nothing of the cluster waits for it. Goes on over the death of `qmq up`.
 */

import { stateKey } from '../../services/contract/coordination.ts'
import type { DrainPlan, Layout } from '../../services/contract/layout.ts'
import type { DrainProgress, InstanceState } from '../../services/contract/operations.ts'
import { EmbeddedCoordination } from '../../services/runtime/embedded-coordination.ts'
import { dialHub } from '../../services/runtime/embedded-socket.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'
import { SystemDisk } from '../../services/runtime/system-disk.ts'
import { readLayoutFile } from '../../services/runtime/tier-layout.ts'

export const steps = ['idle', 'cordoned', 'quiescing', 'moving', 'empty', 'sealing', 'sealed'] as const
export type Step = (typeof steps)[number]

export interface Sight {
  readonly layout: Layout
  readonly plan: DrainPlan | undefined
  readonly step: Step
}

const redialMs = 100

export class PlanWatch {
  readonly #state: string
  readonly #disk = new SystemDisk()
  readonly #coordination: EmbeddedCoordination
  readonly #states = new Map<string, InstanceState>()
  #last: Layout | undefined

  constructor(state: string) {
    this.#state = state
    const dial = () => dialHub(`${state}/qmq.sock`)
    this.#coordination = new EmbeddedCoordination({ clock: new SystemClock(), dial, redialMs })
    this.#coordination.watch('state/', ({ key, entry }) => {
      if (entry === undefined) this.#states.delete(key)
      else this.#states.set(key, entry.value as unknown as InstanceState)
    })
  }

  stateOf(id: string): InstanceState | undefined {
    return this.#states.get(stateKey(id))
  }

  async look(): Promise<Sight> {
    const read = await readLayoutFile(this.#disk, `${this.#state}/layout.json`)
    if (typeof read === 'string' && this.#last === undefined) throw new Error(`no layout: ${read}`)
    if (typeof read !== 'string') this.#last = read
    const layout = this.#last as Layout
    const [plan] = layout.plans
    return { layout, plan, step: plan === undefined ? 'idle' : this.#stepOf(layout, plan) }
  }

  close(): void {
    this.#coordination.close()
  }

  /** Of the instance that is furthest behind. */
  #stepOf(layout: Layout, plan: DrainPlan): Step {
    const each = plan.leaving.map((id) => {
      const standing = layout.instances.find((instance) => instance.id === id)?.standing
      const drain = this.stateOf(id)?.drain
      return stepOfInstance(standing, drain?.plan === plan.id ? drain : undefined)
    })
    return each.reduce((one, other) => (steps.indexOf(other) < steps.indexOf(one) ? other : one), 'sealed')
  }
}

function stepOfInstance(standing: string | undefined, drain: DrainProgress | undefined): Step {
  if (standing === undefined) return 'sealed'
  if (standing === 'sealed') return drain?.phase === 'sealed' ? 'sealed' : 'sealing'
  if (standing !== 'draining') return 'cordoned'
  return drain === undefined || drain.phase === 'sealed' ? 'quiescing' : drain.phase
}
