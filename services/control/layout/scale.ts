/**
 * The order to scale: a pool with another count. Growing takes effect with the layout; shrinking begins a plan, by which the last
 * instances of the pool are cordoned first and leave when their mail has. Pure; a refusal says what stands in the way, and
 * `wantedCount` is what the pool will have when all that was ordered is done.
 */

import {
  type DrainPlan,
  type InstanceSpec,
  instancesOfPool,
  type Layout,
  type PoolSpec,
  type ScaledPool,
} from '../../contract/layout.ts'
import { freeNumbers, withMore } from './grow.ts'
import { absent, changed, type Ordered, type OrderFrame, refused, successor, unchanged, withStanding } from './order.ts'

export function scale(layout: Layout, name: string, count: number, frame: OrderFrame): Ordered {
  const pool = layout.pools.find((candidate) => candidate.name === name)
  if (pool === undefined) return absent(`there is no pool ${name}; ${poolNames(layout)}`)
  if (!Number.isSafeInteger(count) || count < 0) return refused('the count must be a whole number')
  const plan = planOfPool(layout, name)
  if (plan !== undefined) return duringPlan(plan, count)
  const now = wantedCount(layout, name)
  if (count === now) return unchanged(`pool ${name} has ${now} already`)
  return count > now ? growPool(layout, pool, now, count, frame) : shrinkPool(layout, pool, now, count, frame)
}

/** Instances of the pool that run and will go on running. */
export function wantedCount(layout: Layout, pool: string): number {
  return staying(layout, pool).length
}

export function planOfPool(layout: Layout, pool: string): DrainPlan | undefined {
  return layout.plans.find((plan) => plan.pool === pool)
}

/** What conf-qmq said last of the pool's count, as far as the layout knows. */
export function fileCountOf(layout: Layout, pool: string): number {
  return layout.scaled.find((entry) => entry.pool === pool)?.fileCount ?? wantedCount(layout, pool)
}

/** The entries with this pool at `count`; none where the file says the same. */
export function withCount(scaled: readonly ScaledPool[], entry: ScaledPool): readonly ScaledPool[] {
  const others = scaled.filter(({ pool }) => pool !== entry.pool)
  return entry.count === entry.fileCount ? others : [...others, entry]
}

/** Who may take over: active instances that report, not of those that leave. */
export function takersFor(layout: Layout, pool: string, leaving: readonly string[], frame: OrderFrame): TakersFor {
  const active = instancesOfPool(layout, pool).filter(
    ({ id, standing }) => standing === 'active' && !leaving.includes(id),
  )
  const gone = active.filter(({ id }) => frame.lost.has(id)).map(({ id }) => id)
  if (gone.length > 0) {
    const which = gone.length === 1 ? `instance ${gone[0]} does` : `instances ${gone.join(', ')} do`
    return { ids: [], why: `${which} not report, and would have to take mail over: bring back what is lost first` }
  }
  if (active.length === 0) return { ids: [], why: `pool ${pool} would have no instance left to take the mail` }
  return { ids: active.map(({ id }) => id), why: undefined }
}

interface TakersFor {
  readonly ids: readonly string[]
  readonly why: string | undefined
}

/** All but those that are parked or leave for good. */
export function staying(layout: Layout, pool: string): readonly InstanceSpec[] {
  const leaving = new Set(
    layout.plans.filter(({ keep, state }) => !keep && state === 'running').flatMap((plan) => plan.leaving),
  )
  return instancesOfPool(layout, pool).filter(({ id, standing }) => standing !== 'parked' && !leaving.has(id))
}

function duringPlan(plan: DrainPlan, count: number): Ordered {
  const { pool, to, id } = plan
  if (!plan.keep && plan.state === 'running' && count === to)
    return unchanged(`pool ${pool} is on its way to ${to} by plan ${id}`, id)
  const what = plan.state === 'cancelling' ? 'being cancelled' : 'under way'
  return refused(`plan ${id} of pool ${pool} is ${what}: wait for its end, or cancel it`)
}

function growPool(layout: Layout, pool: PoolSpec, now: number, count: number, frame: OrderFrame): Ordered {
  const { name } = pool
  const free = freeNumbers(layout, name).length
  if (count - now > free) {
    const parked = instancesOfPool(layout, name).filter(({ standing }) => standing === 'parked').length
    const kept = parked === 0 ? '' : `, ${parked} of them for parked instances`
    return refused(`pool ${name} has ${pool.ids.length} ids${kept}: it cannot have ${count}; widen ids in conf-qmq`)
  }
  const instances = withMore(layout, name, count - now)
  if (instances === undefined)
    return refused(`pool ${name} has no instance yet: begin with count: ${count} in conf-qmq`)
  const scaled = withCount(layout.scaled, { pool: name, count, fileCount: fileCountOf(layout, name) })
  return changed(successor(layout, frame.fence, { instances, scaled }))
}

/** The last of the pool's ids leave, so that growing again brings the same ones back. */
function shrinkPool(layout: Layout, pool: PoolSpec, now: number, count: number, frame: OrderFrame): Ordered {
  const { name, ids } = pool
  if (count === 0) return refused(`pool ${name} cannot go to 0: nothing would be left to take its mail`)
  const place = ({ number }: InstanceSpec) => (ids.includes(number) ? ids.indexOf(number) : ids.length)
  const ordered = staying(layout, name).toSorted((one, other) => place(one) - place(other) || one.number - other.number)
  const leaving = ordered.slice(count).map(({ id }) => id)
  const takers = takersFor(layout, name, leaving, frame)
  if (takers.why !== undefined) return refused(takers.why)
  const scaled = withCount(layout.scaled, { pool: name, count, fileCount: fileCountOf(layout, name) })
  return changed(
    withPlan(
      { ...layout, scaled },
      { pool: name, from: now, to: count, leaving, targets: takers.ids, keep: false },
      frame,
    ),
  )
}

/** The layout in which a plan begins: its leaving instances are cordoned in the same step. */
export function withPlan(
  layout: Layout,
  plan: Pick<DrainPlan, 'pool' | 'from' | 'to' | 'leaving' | 'targets' | 'keep'>,
  { fence, plan: id, at, by, reason, force }: OrderFrame,
): Layout {
  const begun: DrainPlan = {
    ...{ id, pool: plan.pool, from: plan.from, to: plan.to, leaving: plan.leaving, targets: plan.targets },
    ...{ state: 'running', force, keep: plan.keep, by, reason, startedAt: at, cordonEpoch: layout.epoch + 1 },
  }
  const instances = withStanding(layout, plan.leaving, 'cordoned')
  return successor(layout, fence, { instances, plans: [...layout.plans, begun] })
}

function poolNames({ pools }: Layout): string {
  return `the pools are ${pools.map(({ name }) => name).join(', ')}`
}
