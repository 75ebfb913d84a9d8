/**
 * A conf-qmq read again while its cluster lives: what the file says, with what was ordered since. Pure.
 *
 * - Standings and plans stay. Counts set by order stay until the file says another count than it did then; from then on the file is
 *   right. A larger count of the file takes effect at once, a smaller one begins a plan like any other order.
 * - No instance leaves because a file no longer names it: what may hold mail stays, cordoned, with a note how to empty it.
 */

import {
  type DrainPlan,
  type InstanceSpec,
  instancesOfPool,
  type Layout,
  type PoolSpec,
  type ScaledPool,
} from '../../contract/layout.ts'
import { byNumber, instanceLike, withMore } from './grow.ts'
import type { OrderFrame } from './order.ts'
import { planOfPool, scale, staying, wantedCount, withCount } from './scale.ts'

export interface CarryOver {
  readonly layout: Layout
  /** For people, one line each. */
  readonly notes: readonly string[]
}

export interface CarryOverParts {
  /** The file, compiled under the next epoch. */
  readonly compiled: Layout
  readonly before: Layout
  /** False only where its home has no journal: there was never mail. */
  readonly mayHoldMail: (id: string) => boolean
  /** For a plan that a smaller count begins; each pool has a plan id of its own. */
  readonly frameFor: (pool: string) => OrderFrame
}

export function carryOver(parts: CarryOverParts): CarryOver {
  const { compiled, before, mayHoldMail } = parts
  const kept = before.instances.filter((instance) => keepsItsPlace(compiled, instance))
  const numbers = new Set([...compiled.instances, ...kept].map(({ number }) => number))
  // A number that the file gave to another pool is that pool's, mail and all.
  const stray = before.instances.filter(
    ({ id, number }) => !numbers.has(number) && (isInPlan(before, id) || mayHoldMail(id)),
  )
  const instances = byNumber([...kept.map((instance) => specOf(compiled, instance)), ...stray.map(asStray)])
  const notes = stray.map(({ id, pool }) => strayNote(compiled, id, pool))
  let layout: Layout = {
    ...compiled,
    fence: before.fence,
    pools: [...compiled.pools, ...foreignPools(compiled, before, instances)],
    instances,
    plans: plansAmong(before, instances),
  }
  for (const pool of compiled.pools) layout = withPoolCount(layout, pool, parts, notes)
  return { layout, notes }
}

/** A pool of the file as many times as the file or an order says. */
function withPoolCount(layout: Layout, pool: PoolSpec, parts: CarryOverParts, notes: string[]): Layout {
  const { compiled, before, frameFor } = parts
  const { name } = pool
  const fileCount = instancesOfPool(compiled, name).length
  const entry = before.scaled.find((candidate) => candidate.pool === name)
  const count = entry?.fileCount === fileCount ? entry.count : fileCount
  const present = staying(layout, name).filter(({ number }) => pool.ids.includes(number)).length
  const settled = { ...layout, scaled: withCount(layout.scaled, { pool: name, count, fileCount }) }
  if (count === present) return settled
  const unsettled = entry === undefined ? layout : { ...layout, scaled: withCount(layout.scaled, entry) }
  const plan = planOfPool(layout, name)
  if (plan !== undefined) {
    notes.push(`pool ${name}: count ${count} waits for the end of plan ${plan.id}; then \`qmq scale ${name}=${count}\``)
    return unsettled
  }
  if (count < present) return shrunk(unsettled, { pool: name, count, fileCount }, frameFor(name), notes)
  const instances = present === 0 ? withCompiled(layout, compiled, name) : withMore(layout, name, count - present)
  if (instances !== undefined) return { ...settled, instances }
  notes.push(`pool ${name} stays at ${present} instead of ${count}: its ids are taken by instances that are parked`)
  return unsettled
}

function shrunk(layout: Layout, wanted: ScaledPool, frame: OrderFrame, notes: string[]): Layout {
  const { pool, count, fileCount } = wanted
  const others = layout.scaled.filter((entry) => entry.pool !== pool)
  const now = { pool, count: wantedCount(layout, pool), fileCount }
  const ordered = scale({ ...layout, scaled: [...others, now] }, pool, count, frame)
  if (ordered.kind === 'changed') {
    const leaving = planOfPool(ordered.layout, pool)?.leaving.join(', ')
    notes.push(
      `pool ${pool} goes from ${now.count} to ${count} by plan ${frame.plan}: ${leaving} first hand over their mail`,
    )
    return ordered.layout
  }
  notes.push(`pool ${pool} stays at ${now.count} instead of ${count}: ${ordered.why}`)
  return layout
}

/** A pool none of whose instances is there, as the file describes it. */
function withCompiled(layout: Layout, compiled: Layout, pool: string): readonly InstanceSpec[] {
  const there = new Set(layout.instances.map(({ number }) => number))
  const missing = instancesOfPool(compiled, pool).filter(({ number }) => !there.has(number))
  return byNumber([...layout.instances, ...missing])
}

/** The file still has its pool, with this number kept for it. */
function keepsItsPlace(compiled: Layout, { pool, number }: InstanceSpec): boolean {
  return compiled.pools.some(({ name, ids }) => name === pool && ids.includes(number))
}

/** As the file has it now, with the standing it has. */
function specOf(compiled: Layout, instance: InstanceSpec): InstanceSpec {
  const named = compiled.instances.find(({ id }) => id === instance.id)
  const spec = named ?? instanceLike(compiled, instance.pool, instance.number) ?? instance
  return { ...spec, standing: instance.standing }
}

function asStray(instance: InstanceSpec): InstanceSpec {
  return instance.standing === 'active' ? { ...instance, standing: 'cordoned' } : instance
}

function isInPlan(before: Layout, id: string): boolean {
  return before.plans.some(({ leaving, targets }) => leaving.includes(id) || targets.includes(id))
}

/** A plan goes on with the targets that are left; what leaves is always still there. */
function plansAmong(before: Layout, instances: readonly InstanceSpec[]): readonly DrainPlan[] {
  const ids = new Set(instances.map(({ id }) => id))
  const plans = before.plans.filter(({ leaving }) => leaving.every((id) => ids.has(id)))
  return plans.map((plan) => ({ ...plan, targets: plan.targets.filter((id) => ids.has(id)) }))
}

/** Pools the file no longer has, for the sake of what still runs of them. */
function foreignPools(compiled: Layout, before: Layout, instances: readonly InstanceSpec[]): readonly PoolSpec[] {
  const needed = new Set(instances.map(({ pool }) => pool))
  return before.pools.filter(({ name }) => needed.has(name) && !compiled.pools.some((pool) => pool.name === name))
}

function strayNote(compiled: Layout, id: string, pool: string): string {
  const isKnown = compiled.pools.some(({ name }) => name === pool)
  const what = isKnown ? `is no id of pool ${pool} any more` : `is of pool ${pool}, which is gone from the file`
  return `instance ${id} ${what}: it stays, cordoned, while it may hold mail; \`qmq drain ${id}\` empties it`
}
