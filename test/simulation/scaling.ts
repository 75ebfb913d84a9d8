/**
 * A pool that grows and shrinks in a simulated cluster: layouts as a leader would write them, one after the other, by what the instances say.
 *
 * Which pool, when, and whether a plan is cancelled is drawn from the seed. News of a layout reach each place when they please, and a
 * place that starts again begins with the layout it had. Receipts are made as a leader makes them: what the manifest of an instance
 * that left says must be what its targets' manifests say.
 */

import type { DrainPlan, InstanceSpec, Layout, Standing } from '../../services/contract/layout.ts'
import type { Manifest, ManifestPart } from '../../services/contract/manifest.ts'
import { makeTransactionId } from '../../services/contract/transaction-id.ts'
import type { QueueInstance } from '../../services/queue/instance.ts'
import type { Cluster } from './cluster.ts'
import { spareInstances } from './cluster-layout.ts'
import type { SeededRandom } from './seeded-random.ts'

type Order = 'grow' | 'shrink' | 'cancel'

const tickMs = 400
/** Longer than an edge asks again for an acknowledgement that was lost. */
const leaveAfterMs = 45_000

export class Scaling {
  readonly #cluster: Cluster
  readonly #random: SeededRandom
  readonly #violations: string[]
  readonly #orders: Order[] = []
  #ordersToCome = 0
  /** Until then other layouts may come from elsewhere. */
  #goesOnUntilMs = 0
  /** By instance: when its receipt was made. */
  readonly #receipts = new Map<string, number>()
  readonly #proving = new Set<string>()
  #plans = 0
  /** Drains are interfered with at the moments that matter. */
  mayDisturb = false

  constructor(cluster: Cluster, random: SeededRandom, violations: string[]) {
    this.#cluster = cluster
    this.#random = random
    this.#violations = violations
  }

  /** Draws the orders of a run. All of them come before `untilMs`. */
  begin(untilMs: number, healedAtMs: number): void {
    const { time } = this.#cluster.around
    this.#goesOnUntilMs = healedAtMs
    const count = 1 + this.#random.below(4)
    for (let number = 0; number < count; number++) {
      const order = this.#random.pick<Order>(['shrink', 'shrink', 'shrink', 'grow', 'cancel', 'cancel'])
      this.#ordersToCome++
      time.schedule(this.#random.between(0, untilMs), () => {
        this.#ordersToCome--
        this.#orders.push(order)
      })
    }
    this.#tick()
  }

  get isDone(): boolean {
    const { layout } = this.#cluster
    return (
      this.#ordersToCome === 0 && this.#orders.length === 0 && layout.plans.length === 0 && this.#isKnown(layout.epoch)
    )
  }

  #tick(): void {
    this.#spread()
    this.#step()
    const { time } = this.#cluster.around
    if (!this.isDone || time.elapsedMs < this.#goesOnUntilMs) time.schedule(tickMs, () => this.#tick())
  }

  #spread(): void {
    for (const id of this.#cluster.placesUp()) {
      if (this.#cluster.epochAt(id) < this.#cluster.layout.epoch && this.#random.chance(0.6)) this.#cluster.give(id)
    }
  }

  /** A place that is down sends nothing, and asks for the layout when it is back. */
  #isKnown(epoch: number): boolean {
    return this.#cluster.placesUp().every((id) => this.#cluster.epochAt(id) >= epoch)
  }

  #step(): void {
    const plan = this.#cluster.layout.plans[0]
    const order = this.#orders[0]
    if (plan === undefined) {
      if (order === undefined) return
      this.#orders.shift()
      if (order === 'grow') this.#grow()
      else if (order === 'shrink') this.#shrink()
      return
    }
    if (order === 'cancel') {
      this.#orders.shift()
      if (plan.state === 'running' && this.#at(plan, 'sealed').length === 0) return this.#cancel(plan)
    }
    if (plan.state === 'cancelling') this.#endCancelled(plan)
    else this.#goOn(plan)
  }

  #grow(): void {
    const { layout } = this.#cluster
    const free = spareInstances.filter(({ id }) => layout.instances.every((one) => one.id !== id))
    if (free.length === 0) return
    const spec = this.#random.pick(free)
    this.#write({ ...layout, instances: [...layout.instances, spec] })
    this.#cluster.enlist(spec.id)
  }

  #shrink(): void {
    const { layout } = this.#cluster
    const pools = layout.pools.filter(({ name }) => takers(layout, name).length > 1)
    if (pools.length === 0) return
    const pool = this.#random.pick(pools).name
    const stay = [...takers(layout, pool)]
    const leaving: string[] = []
    const count = 1 + this.#random.below(stay.length - 1)
    while (leaving.length < count) leaving.push(...stay.splice(this.#random.below(stay.length), 1).map(({ id }) => id))
    const plan: DrainPlan = {
      ...{ id: makeTransactionId(++this.#plans, this.#random.bytes(10)), pool, state: 'running' },
      ...{ from: stay.length + count, to: stay.length, leaving, targets: stay.map(({ id }) => id) },
      ...{ force: false, keep: false, by: 'simulation', reason: '', startedAt: 0, cordonEpoch: layout.epoch + 1 },
    }
    this.#write({ ...layout, plans: [plan], instances: standing(layout, leaving, 'cordoned') })
  }

  #cancel(plan: DrainPlan): void {
    const { layout } = this.#cluster
    const plans = [{ ...plan, state: 'cancelling' as const }]
    this.#write({ ...layout, plans, instances: standing(layout, plan.leaving, 'active') })
  }

  #endCancelled(plan: DrainPlan): void {
    const { layout } = this.#cluster
    const isSettled = plan.leaving.every((id) => {
      const tier = this.#tier(id)
      return tier !== undefined && this.#cluster.epochAt(id) >= layout.epoch && (tier.drain?.offered ?? 0) === 0
    })
    if (isSettled) this.#write({ ...layout, plans: [] })
  }

  #goOn(plan: DrainPlan): void {
    const cordoned = this.#at(plan, 'cordoned')
    if (cordoned.length > 0) {
      if (!this.#isKnown(plan.cordonEpoch)) return
      this.#drain(cordoned)
      this.#disturb(plan)
      return
    }
    const empty = this.#at(plan, 'draining').filter((id) => this.#tier(id)?.drain?.phase === 'empty')
    if (empty.length > 0) return this.#move(empty, 'sealed')
    for (const id of this.#at(plan, 'sealed')) {
      if (!this.#receipts.has(id) && this.#tier(id)?.drain?.phase === 'sealed') this.#prove(plan, id)
    }
    const { elapsedMs } = this.#cluster.around.time
    const since = plan.leaving.map((id) => this.#receipts.get(id) ?? Number.POSITIVE_INFINITY)
    if (elapsedMs - Math.max(...since) > leaveAfterMs) this.#leave(plan)
  }

  #drain(ids: readonly string[]): void {
    const { truth, around } = this.#cluster
    for (const id of ids) truth.drains.push({ host: this.#cluster.hostOf(id), atMs: around.time.elapsedMs })
    this.#move(ids, 'draining')
  }

  /** What the two sides of a hand-over must survive, while it happens. */
  #disturb(plan: DrainPlan): void {
    if (!this.mayDisturb) return
    const { deafness, around, truth } = this.#cluster
    truth.faults.add('drain disturbed')
    if (this.#random.chance(0.6)) deafness.probability = this.#random.pick([0.3, 0.6, 0.9])
    around.time.schedule(this.#random.between(2_000, 30_000), () => {
      deafness.probability = 0
    })
    const places = this.#cluster.instances.filter(({ name }) => [...plan.leaving, ...plan.targets].includes(name))
    for (let count = this.#random.below(4); count > 0; count--) {
      const place = this.#random.pick(places)
      around.time.schedule(this.#random.between(0, 3000), () => this.#harm(place))
    }
  }

  #harm(place: Cluster['instances'][number]): void {
    const { faults } = place.host.device
    const heal = (what: () => void): void => {
      this.#cluster.around.time.schedule(this.#random.between(500, 10_000), what)
    }
    switch (this.#random.below(4)) {
      case 0:
        return place.kill()
      case 1:
        faults.slowness = this.#random.between(5, 60)
        return heal(() => {
          faults.slowness = 1
        })
      case 2:
        faults.full = true
        this.#cluster.crashed(place.host.name, 'disk')
        return heal(() => {
          faults.full = false
        })
      default:
        faults.durableCallsUntilPowerCut = 1 + this.#random.below(12)
        heal(() => {
          faults.durableCallsUntilPowerCut = Number.POSITIVE_INFINITY
        })
    }
  }

  #leave(plan: DrainPlan): void {
    const { layout } = this.#cluster
    for (const id of plan.leaving) this.#receipts.delete(id)
    this.#write({ ...layout, plans: [], instances: layout.instances.filter(({ id }) => !plan.leaving.includes(id)) })
    for (const id of plan.leaving) this.#cluster.retire(id)
    this.#cluster.truth.count('leader left')
  }

  #prove(plan: DrainPlan, id: string): void {
    if (this.#proving.has(id)) return
    const ends = [id, ...plan.targets].map((one) => this.#tier(one))
    const whole = ends.filter((tier) => tier !== undefined)
    if (whole.length < ends.length) return
    this.#proving.add(id)
    const audit = whole[0]?.audit()
    Promise.all(whole.map((tier) => tier.manifest(plan.id))).then(
      ([left, ...arrived]) => {
        this.#proving.delete(id)
        const differences = differencesOf(partsOf([left], id), partsOf(arrived, id))
        for (const difference of differences) this.#violations.push(`receipt: of ${id}: ${difference}`)
        if (audit !== undefined) this.#cluster.retired.set(id, audit)
        this.#receipts.set(id, this.#cluster.around.time.elapsedMs)
        this.#cluster.truth.count('leader receipt')
      },
      () => this.#proving.delete(id),
    )
    // A process that dies meanwhile never answers.
    this.#cluster.around.time.schedule(5_000, () => this.#proving.delete(id))
  }

  #move(ids: readonly string[], to: Standing): void {
    const { layout } = this.#cluster
    this.#write({ ...layout, instances: standing(layout, ids, to) })
    this.#cluster.truth.count(`leader ${to}`)
  }

  #write(layout: Layout): void {
    this.#cluster.write(layout)
  }

  #at(plan: DrainPlan, standing: Standing): readonly string[] {
    const { instances } = this.#cluster.layout
    return plan.leaving.filter((id) => instances.find((one) => one.id === id)?.standing === standing)
  }

  #tier(id: string): QueueInstance | undefined {
    return this.#cluster.instances.find(({ name }) => name === id)?.tier
  }
}

function takers(layout: Layout, pool: string): readonly InstanceSpec[] {
  return layout.instances.filter((one) => one.pool === pool && one.standing === 'active')
}

function standing(layout: Layout, ids: readonly string[], to: Standing): readonly InstanceSpec[] {
  return layout.instances.map((one) => (ids.includes(one.id) ? { ...one, standing: to } : one))
}

function partsOf(manifests: readonly (Manifest | undefined)[], source: string): Map<string, ManifestPart> {
  const parts = manifests.flatMap((manifest) => manifest?.parts ?? []).filter((part) => part.source === source)
  return new Map(parts.map((part) => [part.target, part]))
}

function differencesOf(left: ReadonlyMap<string, ManifestPart>, arrived: ReadonlyMap<string, ManifestPart>): string[] {
  const targets = new Set([...left.keys(), ...arrived.keys()])
  return [...targets].flatMap((target) => {
    const [here, there] = [JSON.stringify(left.get(target)), JSON.stringify(arrived.get(target))]
    return here === there ? [] : [`${here} left, ${there} arrived`]
  })
}
