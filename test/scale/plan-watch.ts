/**
 * What step a scaling is at, as a bystander sees it: the layout in the state directory, and what instances say of themselves at the hub.
 *
 * Only looks, and asks what an operator may ask; nothing of the cluster waits for it. Goes on over the death of `qmq up`.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { type Coordination, type Json, operationSubject, stateKey } from '../../services/contract/coordination.ts'
import type { DrainPlan, Layout } from '../../services/contract/layout.ts'
import type { DrainProgress, InstanceState, OperationName } from '../../services/contract/operations.ts'
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
const lookAgainMs = 5
/** A step that does not come is not waited for longer than this. */
const stepWaitMs = 10_000
const answerTimeoutMs = 10_000
/** One that was killed comes back. */
const askTries = 60
const askAgainMs = 500

/** Of the host that the state directory is on. */
export function hubOf(state: string): Coordination {
  return new EmbeddedCoordination({ clock: new SystemClock(), dial: () => dialHub(`${state}/qmq.sock`), redialMs })
}

export class PlanWatch {
  readonly #state: string
  readonly #disk = new SystemDisk()
  readonly #coordination: Coordination
  readonly #states = new Map<string, InstanceState>()
  #last: Layout | undefined

  constructor(state: string, coordination: Coordination) {
    this.#state = state
    this.#coordination = coordination
    this.#coordination.watch('state/', ({ key, entry }) => {
      if (entry === undefined) this.#states.delete(key)
      else this.#states.set(key, entry.value as unknown as InstanceState)
    })
  }

  stateOf(id: string): InstanceState | undefined {
    return this.#states.get(stateKey(id))
  }

  /** The control process that says so and has the newest term. */
  leader(): string | undefined {
    const terms = [...this.#states.values()].flatMap(({ id, control }) =>
      control?.fence === undefined ? [] : [{ id, fence: control.fence }],
    )
    return terms.sort((one, other) => other.fence - one.fence)[0]?.id
  }

  /** Until an instance answers; rejects where it never does. */
  async ask(id: string, operation: OperationName, value: Json): Promise<Json> {
    for (let tries = 1; ; tries++) {
      const result = await this.#coordination.request(operationSubject(id, operation), value, answerTimeoutMs)
      if (result.kind === 'reply') return result.value
      if (tries === askTries) throw new Error(`${id} does not answer ${operation}: ${JSON.stringify(result)}`)
      await sleep(askAgainMs)
    }
  }

  /** Until a plan is at `step`, or past it; or it does not come, or is over. */
  async reach(step: Step, isOver: () => boolean): Promise<void> {
    const deadline = performance.now() + stepWaitMs
    while (!isOver() && performance.now() < deadline) {
      const sight = await this.look()
      if (sight.plan !== undefined && steps.indexOf(sight.step) >= steps.indexOf(step)) return
      await sleep(lookAgainMs)
    }
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
