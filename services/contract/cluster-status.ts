/**
 * The status of the cluster as the API tells it (`proto/qmq/v1/cluster.proto`), from the layout and what every place says of itself. One
 * function makes it, for whoever asks the control plane and for commands that find none running.
 */

import { type DrainPlan, type InstanceSpec, instanceOf, type Layout, poolOf } from './layout.ts'
import type { InstanceState } from './operations.ts'

/** What stands in `qmq-leader` beside an order that nobody can carry out now. */
export const nobodyLeads = 'none'

export interface ClusterView {
  readonly layout: Layout
  /** By id. Who does not report is missing. */
  readonly states: ReadonlyMap<string, InstanceState>
  readonly leader: string | undefined
  /** What each plan waits for, by its id. */
  readonly waiting: ReadonlyMap<string, readonly string[]>
  /** Unix milliseconds, by the clock the states are stamped with. */
  readonly now: number
}

export interface ClusterStatus {
  readonly cluster: string
  readonly epoch: number
  /** '' where none leads. */
  readonly leader: string
  readonly at: number
  readonly healthy: boolean
  readonly pools: readonly PoolStatus[]
  readonly places: readonly PlaceStatus[]
  readonly plans: readonly PlanStatus[]
}

export interface PoolStatus {
  readonly name: string
  readonly role: string
  readonly active: number
  readonly instances: number
  /** 0: none is promised. */
  readonly slaMs: number
  readonly queued: number
  readonly oldestAgeMs: number
}

export interface PlaceStatus {
  readonly id: string
  readonly tier: 'edge' | 'queue' | 'control'
  readonly pool: string
  readonly standing: string
  /** That of its state; `lost` where it does not report, `parked` where it is not meant to run. */
  readonly phase: string
  readonly why: string
  readonly pid: number
  readonly epoch: number
  readonly startedAt: number
  readonly at: number
  readonly queued: number
  readonly inFlight: number
  readonly acceptedPerSecond: number
  readonly oldestAgeMs: number
  readonly slaMs: number
  readonly listeners: readonly { readonly kind: string; readonly host: string; readonly port: number }[]
}

export interface PlanStatus {
  readonly id: string
  readonly pool: string
  readonly from: number
  readonly to: number
  readonly leaving: readonly string[]
  readonly targets: readonly string[]
  /** running, cancelling; done, cancelled: it has ended. */
  readonly state: string
  readonly force: boolean
  readonly keep: boolean
  readonly by: string
  readonly reason: string
  readonly startedAt: number
  readonly progress: readonly LeavingStatus[]
  readonly waiting: readonly string[]
  readonly moved: number
  readonly movedBytes: number
  readonly left: number
  readonly leftBytes: number
  readonly receipts: readonly string[]
  readonly endedAt: number
}

export interface LeavingStatus {
  readonly id: string
  readonly standing: string
  readonly phase: string
  readonly moved: number
  readonly movedBytes: number
  readonly left: number
  readonly leftBytes: number
  readonly offered: number
  readonly why: string
}

/** Whether a place says nothing any more. */
export type Lost = (state: InstanceState | undefined, now: number) => boolean

interface Place {
  readonly id: string
  readonly tier: 'edge' | 'queue' | 'control'
  readonly instance?: InstanceSpec
}

export function clusterStatus(view: ClusterView, isLost: Lost): ClusterStatus {
  const { layout, leader, now } = view
  const places = placesOf(layout).map((place) => placeStatus(view, place, isLost))
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

function placeStatus({ layout, states, now }: ClusterView, { id, tier, instance }: Place, isLost: Lost): PlaceStatus {
  const state = states.get(id)
  const { pid = 0, epoch = 0, startedAt = 0, at = 0, why = '', load, listeners = [] } = state ?? {}
  const { queued = 0, inFlight = 0, acceptedPerSecond = 0, oldestAgeMs = 0 } = load ?? {}
  return {
    ...{ id, tier, pool: instance?.pool ?? '', standing: instance?.standing ?? '' },
    ...{ phase: phaseOf(instance, state, isLost(state, now)), why, pid, epoch, startedAt, at },
    ...{ queued, inFlight, acceptedPerSecond, oldestAgeMs },
    slaMs: instance === undefined ? 0 : (poolOf(layout, instance.pool).slaMs ?? 0),
    listeners: listeners.map(({ kind, host, port }) => ({ kind, host, port })),
  }
}

function phaseOf(instance: InstanceSpec | undefined, state: InstanceState | undefined, lost: boolean): string {
  if (instance?.standing === 'parked') return 'parked'
  return state === undefined || lost ? 'lost' : state.phase
}

export type PlanEnd = { readonly state: 'done' | 'cancelled'; readonly endedAt: number }

/** `end`: of a plan that has ended, with the names of its receipts. */
export function planStatus(
  view: ClusterView,
  plan: DrainPlan,
  end?: PlanEnd,
  receipts: readonly string[] = [],
): PlanStatus {
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
