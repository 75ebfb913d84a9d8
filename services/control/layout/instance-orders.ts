/**
 * Orders to one instance or plan: cordon and uncordon, drain an instance that stays, cancel a plan, give it force. Pure, like all orders.
 *
 * A cordon is for people: the instance takes no new mail and delivers what it has. A drain empties it and leaves it cordoned. Uncordon
 * also brings a parked instance back, with the mail it was parked with.
 */

import {
  type DrainPlan,
  type InstanceSpec,
  instanceOf,
  type Layout,
  planOfLeaving,
  takersOfPool,
} from '../../contract/layout.ts'
import { absent, changed, type Ordered, type OrderFrame, refused, successor, unchanged, withStanding } from './order.ts'
import { fileCountOf, planOfPool, takersFor, withCount, withPlan } from './scale.ts'

export function cordon(layout: Layout, id: string, frame: OrderFrame): Ordered {
  return ofInstance(layout, id, ({ standing, pool }) => {
    if (standing === 'cordoned') return unchanged(`instance ${id} is cordoned already`)
    if (standing !== 'active') return refused(`instance ${id} is ${standing}`)
    if (takersOfPool(layout, pool).length === 1)
      return refused(`instance ${id} is the last of pool ${pool} that takes mail`)
    const plan = layout.plans.find(({ targets }) => targets.includes(id))
    if (plan !== undefined) return refused(`instance ${id} takes mail over by plan ${plan.id}`)
    return changed(successor(layout, frame.fence, { instances: withStanding(layout, [id], 'cordoned') }))
  })
}

export function uncordon(layout: Layout, id: string, frame: OrderFrame): Ordered {
  return ofInstance(layout, id, ({ standing }) => {
    const plan = planOfLeaving(layout, id)
    if (plan !== undefined) return refused(`instance ${id} leaves by plan ${plan.id}: cancel the plan`)
    if (standing === 'active') return unchanged(`instance ${id} is active already`)
    return changed(successor(layout, frame.fence, { instances: withStanding(layout, [id], 'active') }))
  })
}

/** `toPool`: whose instances take its mail; its own pool's otherwise. Another pool has another service level: it must be named. */
export function drain(layout: Layout, id: string, toPool: string | undefined, frame: OrderFrame): Ordered {
  return ofInstance(layout, id, ({ standing, pool }) => {
    const plan = planOfLeaving(layout, id)
    if (plan !== undefined) return unchanged(`instance ${id} is drained by plan ${plan.id}`, plan.id)
    if (standing === 'parked') return refused(`instance ${id} is parked and does not run: uncordon it first`)
    const other = planOfPool(layout, pool)
    if (other !== undefined)
      return refused(`plan ${other.id} of pool ${pool} is under way: wait for its end, or cancel it`)
    const taking = toPool ?? pool
    if (!layout.pools.some(({ name }) => name === taking)) return absent(`there is no pool ${taking}`)
    const takers = takersFor(layout, taking, [id], frame)
    if (takers.why !== undefined) {
      const last = toPool === undefined && takersOfPool(layout, pool).every((taker) => taker.id === id)
      return refused(last ? `${takers.why}; name another pool to take it` : takers.why)
    }
    const before = takersOfPool(layout, pool).length
    const to = takersOfPool(layout, pool).filter((taker) => taker.id !== id).length
    return changed(withPlan(layout, { pool, from: before, to, leaving: [id], targets: takers.ids, keep: true }, frame))
  })
}

/**
 * Legal until an instance is sealed. The plan stays until what was offered and not answered is settled: only its targets may say what
 * became of that.
 */
export function cancel(layout: Layout, id: string, frame: OrderFrame): Ordered {
  return ofPlan(layout, id, (plan) => {
    if (plan.state === 'cancelling') return unchanged(`plan ${id} is being cancelled`, id)
    const sealed = plan.leaving.filter((leaving) => instanceOf(layout, leaving)?.standing === 'sealed')
    if (sealed.length > 0)
      return refused(`instance ${sealed.join(', ')} is sealed already: let the plan end, then scale up again`)
    const instances = withStanding(layout, comingBack(layout, plan), 'active')
    const plans = layout.plans.map((other) => (other === plan ? { ...plan, state: 'cancelling' as const } : other))
    const count = { pool: plan.pool, count: plan.from, fileCount: fileCountOf(layout, plan.pool) }
    const scaled = plan.keep ? layout.scaled : withCount(layout.scaled, count)
    return changed(successor(layout, frame.fence, { instances, plans, scaled }))
  })
}

/** A plan goes on by itself, whoever leads; with force it parks from now on what cannot be moved. */
export function resume(layout: Layout, id: string, frame: OrderFrame): Ordered {
  return ofPlan(layout, id, (plan) => {
    if (plan.state === 'cancelling') return refused(`plan ${id} is being cancelled`)
    if (!frame.force) return unchanged(`plan ${id} is under way`, id)
    if (plan.force) return unchanged(`plan ${id} is forced already`, id)
    const plans = layout.plans.map((other) => (other === plan ? { ...plan, force: true } : other))
    return changed(successor(layout, frame.fence, { plans }))
  })
}

/** Parked ones stay parked: somebody has decided that. */
function comingBack(layout: Layout, plan: DrainPlan): readonly string[] {
  return plan.leaving.filter((id) => instanceOf(layout, id)?.standing !== 'parked')
}

function ofInstance(layout: Layout, id: string, order: (instance: InstanceSpec) => Ordered): Ordered {
  const instance = instanceOf(layout, id)
  return instance === undefined ? absent(`the layout has no instance ${id}`) : order(instance)
}

function ofPlan(layout: Layout, id: string, order: (plan: DrainPlan) => Ordered): Ordered {
  const plan = layout.plans.find((candidate) => candidate.id === id)
  return plan === undefined ? absent(`there is no plan ${id} under way`) : order(plan)
}
