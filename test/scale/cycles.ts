/**
 * Cycles of a pool that grows and shrinks under load while processes die: from `instances` to `wide` and back, again and again on one
 * cluster, so that instances come back to homes they once left.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { type Kill, Killer } from './killer.ts'
import { type Order, pool, scaleTo } from './orders.ts'
import { judgeScale, type ScaleVerdict } from './scale-verdict.ts'
import { type ScaleOptions, ScaleWorld } from './scale-world.ts'

export interface CyclePlan {
  readonly runs: number
  /** Of each cycle: in a quarter of them while it grows, the others while it shrinks. */
  readonly kills: number
  /** Deferred messages that are sent to the wide pool in the first cycle, so that those who leave have their part. */
  readonly queued: number
  readonly wide: number
  readonly clients: number
  readonly pauseMs: number
  /** Load on the wide pool before it shrinks, so that everybody has something to give away. */
  readonly spreadMs: number
}

export interface ScaleReport {
  readonly verdict: ScaleVerdict
  readonly audit: unknown
  readonly kills: readonly Kill[]
  readonly orders: readonly Pick<Order, 'count' | 'tries' | 'seconds' | 'answer'>[]
  readonly complaints: readonly string[]
}

const orderPatienceMs = 300_000
const fillClients = 8

/** `give` is how an order is given: by the command, unless something else is being looked at. */
export async function scaleInCycles(options: ScaleOptions, plan: CyclePlan, give = scaleTo): Promise<ScaleReport> {
  const world = await ScaleWorld.start(options)
  try {
    const killer = new Killer(world.cluster, world.watch, world.ledger, options.seed)
    const orders: Order[] = []
    world.sending.start(plan.clients, plan.pauseMs, options.seed)
    for (let run = 1; run <= plan.runs; run++) {
      orders.push(...(await cycle(world, killer, run === 1 ? plan : { ...plan, queued: 0 }, give)))
      const { size } = world.ledger.messages
      options.note(`cycle ${run}: ${size} messages sent, ${killer.kills.length} kills`)
    }
    await world.sending.stop()
    await world.settle()
    const evidence = await world.evidence()
    return {
      verdict: judgeScale(evidence),
      audit: evidence.audit,
      kills: killer.kills,
      orders: orders.map(({ count, tries, seconds, answer }) => ({ count, tries, seconds, answer })),
      complaints: [...new Set(orders.flatMap(({ complaints }) => complaints))],
    }
  } finally {
    await world.sending.stop()
    await world.stop()
  }
}

async function cycle(
  world: ScaleWorld,
  killer: Killer,
  plan: CyclePlan,
  give: typeof scaleTo,
): Promise<readonly Order[]> {
  const growing = Math.floor(plan.kills / 4)
  const grown = await withKills(world, killer.atOnce.bind(killer, growing), () =>
    give(world.cluster, world.watch, plan.wide, orderPatienceMs),
  )
  await world.sending.fill(plan.queued, 'defer', fillClients)
  await sleep(plan.spreadMs)
  const { layout } = await world.watch.look()
  const members = layout.instances.filter((instance) => instance.pool === pool).map(({ id }) => id)
  world.options.note(`${await world.noteDeferrals(members)} deferred recipients noted`)
  const shrunk = await withKills(world, killer.during.bind(killer, plan.kills - growing), () =>
    give(world.cluster, world.watch, world.options.instances, orderPatienceMs),
  )
  return [grown, shrunk]
}

async function withKills(
  world: ScaleWorld,
  kill: (isOver: () => boolean) => Promise<void>,
  order: () => Promise<Order>,
): Promise<Order> {
  let over = false
  const following = world.followPlans(() => over)
  const killing = kill(() => over)
  try {
    return await order()
  } finally {
    over = true
    await Promise.all([following, killing])
  }
}
