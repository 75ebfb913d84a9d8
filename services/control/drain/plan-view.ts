/**
 * What a leader sees when it decides the next step of a plan: the layout in force, what every place last said of itself, the receipts there
 * are. Nothing else is remembered between two steps, so that another leader who sees the same decides the same.
 */

import type { DrainPlan, Layout } from '../../contract/layout.ts'
import type { InstanceState } from '../../contract/operations.ts'

export interface PlanView {
  readonly layout: Layout
  readonly plan: DrainPlan
  /** By id. Whoever is gone for good is missing; whoever has just died may still be here. */
  readonly states: ReadonlyMap<string, InstanceState>
  /** When each leaving instance was sealed, by the receipt it has. The store's clock, unix milliseconds. */
  readonly receipts: ReadonlyMap<string, number>
  /** Why a receipt could not be made so far, by instance. */
  readonly disputes: ReadonlyMap<string, string>
  /** How long this leader has seen no progress of a leaving instance, milliseconds. */
  readonly quietMs: ReadonlyMap<string, number>
  /** The store's clock, unix milliseconds. */
  readonly now: number
  /** Of the leader's term. */
  readonly fence: number
}

/** A process that said nothing for so long is taken for lost: shown, asked for nothing, and no target of a plan that begins. */
export const lostAfterMs = 30_000
/** A plan with force parks an instance that has made no progress for so long. */
export const forceParkAfterMs = 60_000

export function isLost(state: InstanceState | undefined, now: number): boolean {
  return state === undefined || now - state.at > lostAfterMs
}

/** Instances of the layout that should run and do not report. */
export function lostInstances(
  layout: Layout,
  states: ReadonlyMap<string, InstanceState>,
  now: number,
): ReadonlySet<string> {
  const running = layout.instances.filter(({ standing }) => standing !== 'parked')
  return new Set(running.map(({ id }) => id).filter((id) => isLost(states.get(id), now)))
}

/**
 * Edges and queues that run on a layout from before `epoch`: they may still send mail where it says. Who is gone sends none, and reads the
 * layout in force before it does again.
 */
export function laggards({ states }: Pick<PlanView, 'states'>, epoch: number): readonly InstanceState[] {
  return [...states.values()].filter((state) => state.tier !== 'control' && state.epoch < epoch)
}
