/** Views of a plan for tests: the shipped cluster with four instances of one pool, of which two leave. */

import type { InstanceSpec, Layout, Standing } from '../../../services/contract/layout.ts'
import type { DrainProgress, InstanceState } from '../../../services/contract/operations.ts'
import type { PlanView } from '../../../services/control/drain/plan-view.ts'
import type { OrderFrame } from '../../../services/control/layout/order.ts'
import { scale } from '../../../services/control/layout/scale.ts'
import { layoutOf, shippedConf } from '../../support/shipped-layout.ts'

export const pool = 'CUSTOMER_1'
export const plan = '01ARZ3NDEKTSV4RRFFQ69G5FAV'
export const frame: OrderFrame = {
  ...{ fence: 7, plan, at: 1_000_000, by: 'admin', reason: 'night', force: false, lost: new Set<string>() },
}

export function layoutOfFour(epoch = 1): Layout {
  return layoutOf(shippedConf.replace('count: 2', 'count: 4'), epoch)
}

/** 4 to 2: the plan as it begins. */
export function begun(change: Partial<OrderFrame> = {}): Layout {
  const ordered = scale(layoutOfFour(), pool, 2, { ...frame, ...change })
  if (ordered.kind !== 'changed') throw new Error(ordered.why)
  return ordered.layout
}

export function standing(layout: Layout, standings: Readonly<Record<string, Standing>>): Layout {
  const of = (instance: InstanceSpec) => ({ ...instance, standing: standings[instance.id] ?? instance.standing })
  return { ...layout, instances: layout.instances.map(of) }
}

export function progress(change: Partial<DrainProgress> = {}): DrainProgress {
  return { plan, phase: 'moving', moved: 5, movedBytes: 5000, left: 3, leftBytes: 3000, offered: 0, ...change }
}

export function stateOf(id: string, epoch: number, at: number, drain?: DrainProgress): InstanceState {
  const load = { queued: 0, inFlight: 0, acceptedPerSecond: 0, oldestAgeMs: 0 }
  const tier = id.startsWith('e') ? 'edge' : id.startsWith('c') ? 'control' : 'queue'
  const state: InstanceState = { id, tier, pid: 1, epoch, phase: 'ready', listeners: [], startedAt: 0, at, load }
  return drain === undefined ? state : { ...state, drain }
}

/** Everybody is there and on the epoch in force; `drains` says what of the leaving ones. */
export function viewOf(
  layout: Layout,
  change: Partial<PlanView> = {},
  drains: Readonly<Record<string, DrainProgress>> = {},
): PlanView {
  const now = change.now ?? 2_000_000
  const places = [...layout.edges, ...layout.control, ...layout.instances]
  const states = new Map(places.map(({ id }) => [id, stateOf(id, layout.epoch, now, drains[id])]))
  const [running] = layout.plans
  if (running === undefined) throw new Error('the layout has no plan')
  const none = new Map<string, never>()
  return { layout, plan: running, states, receipts: none, disputes: none, quietMs: none, now, fence: 7, ...change }
}

export function without(view: PlanView, ...ids: readonly string[]): PlanView {
  return { ...view, states: new Map([...view.states].filter(([id]) => !ids.includes(id))) }
}

export function onEpoch(view: PlanView, id: string, epoch: number): PlanView {
  const state = view.states.get(id)
  return state === undefined ? view : { ...view, states: new Map([...view.states, [id, { ...state, epoch }]]) }
}
