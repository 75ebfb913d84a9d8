/** The status of the cluster as the API tells it, from the layout and what every place says of itself. Pure. */

import { type DrainPlan, type InstanceSpec, instanceOf, type Layout, poolOf } from '../../contract/layout.ts'
import type { InstanceState } from '../../contract/operations.ts'
import type { ControlView } from '../control-plane.ts'
import { isLost } from '../drain/plan-view.ts'

interface Place {
  readonly id: string
  readonly tier: 'edge' | 'queue' | 'control'
  readonly instance?: InstanceSpec
}

export function clusterStatus(view: ControlView): object {
  const { layout, leader, now } = view
  const places = placesOf(layout).map((place) => placeStatus(view, place))
  const healthy = places.every(
    ({ phase, epoch }) => phase === 'parked' || (phase === 'ready' && epoch === layout.epoch),
  )
  const pools = layout.pools.map((pool) => {
    const own = places.filter((place) => place.tier === 'queue' && place.pool === pool.name)
    return {
      name: pool.name,
      role: pool.role,
      active: own.filter(({ standing }) => standing === 'active').length,
      instances: own.length,
      slaMs: pool.slaMs ?? 0,
      queued: own.reduce((sum, { queued }) => sum + queued, 0),
      oldestAgeMs: own.reduce((most, { oldestAgeMs }) => Math.max(most, oldestAgeMs), 0),
    }
  })
  const plans = layout.plans.map((plan) => planStatus(view, plan))
  return { cluster: layout.cluster, epoch: layout.epoch, leader: leader ?? '', at: now, healthy, pools, places, plans }
}

function placesOf(layout: Layout): readonly Place[] {
  return [
    ...layout.control.map(({ id }) => ({ id, tier: 'control' as const })),
    ...layout.edges.map(({ id }) => ({ id, tier: 'edge' as const })),
    ...layout.instances.map((instance) => ({ id: instance.id, tier: 'queue' as const, instance })),
  ]
}

function placeStatus({ layout, states, now }: ControlView, { id, tier, instance }: Place) {
  const state = states.get(id)
  const { pid = 0, epoch = 0, startedAt = 0, at = 0, why = '', load, listeners = [] } = state ?? {}
  const { queued = 0, inFlight = 0, acceptedPerSecond = 0, oldestAgeMs = 0 } = load ?? {}
  return {
    ...{ id, tier, pool: instance?.pool ?? '', standing: instance?.standing ?? '' },
    ...{ phase: phaseOf(instance, state, now), why, pid, epoch, startedAt, at },
    ...{ queued, inFlight, acceptedPerSecond, oldestAgeMs },
    slaMs: instance === undefined ? 0 : (poolOf(layout, instance.pool).slaMs ?? 0),
    listeners: listeners.map(({ kind, host, port }) => ({ kind, host, port })),
  }
}

function phaseOf(instance: InstanceSpec | undefined, state: InstanceState | undefined, now: number): string {
  if (instance?.standing === 'parked') return 'parked'
  return state === undefined || isLost(state, now) ? 'lost' : state.phase
}

export type PlanEnd = { readonly state: 'done' | 'cancelled'; readonly endedAt: number }

/** `end`: of a plan that has ended, with the names of its receipts. */
export function planStatus(view: ControlView, plan: DrainPlan, end?: PlanEnd, receipts: readonly string[] = []) {
  const { layout, states, waiting } = view
  const progress = plan.leaving.map((id) => {
    const drain = states.get(id)?.drain
    const own = drain?.plan === plan.id ? drain : undefined
    const { phase = '', moved = 0, movedBytes = 0, left = 0, leftBytes = 0, offered = 0, why = '' } = own ?? {}
    return {
      id,
      standing: instanceOf(layout, id)?.standing ?? '',
      phase,
      moved,
      movedBytes,
      left,
      leftBytes,
      offered,
      why,
    }
  })
  const sum = (name: 'moved' | 'movedBytes' | 'left' | 'leftBytes') =>
    progress.reduce((total, one) => total + one[name], 0)
  const { id, pool, from, to, leaving, targets, state, force, keep, by, reason, startedAt } = plan
  return {
    ...{
      id,
      pool,
      from,
      to,
      leaving,
      targets,
      state: end?.state ?? state,
      force,
      keep,
      by,
      reason,
      startedAt,
      progress,
    },
    ...{ waiting: waiting.get(id) ?? [], moved: sum('moved'), movedBytes: sum('movedBytes') },
    ...{ left: sum('left'), leftBytes: sum('leftBytes'), receipts, endedAt: end?.endedAt ?? 0 },
  }
}
