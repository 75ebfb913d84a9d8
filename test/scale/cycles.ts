/**
 * Runs of a pool that grows and shrinks under load while processes die, answers are lost and hosts are cut off: from `instances` to `wide`
 * and back, again and again on one cluster, so that instances come back to homes they once left.
 *
 * After each run its sending stops, and the verdict is on everything since the cluster was made. Once more it is given when the cluster has
 * stopped, from what is on the disks.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { Seeded } from '../crash/load.ts'
import { type CutTallies, type CutTally, type Link, links, talliesOf } from './fuse.ts'
import { type Kill, Killer } from './killer.ts'
import { type Order, pool, scaleTo } from './orders.ts'
import { holdsScale, judgeScale, type ScaleEvidence, type ScaleVerdict } from './scale-verdict.ts'
import { type ScaleOptions, ScaleWorld } from './scale-world.ts'
import { type Split, Splitter } from './splitter.ts'

export interface CyclePlan {
  readonly runs: number
  /** Of each run: in a quarter of them while it grows, the others while it shrinks. */
  readonly kills: number
  /** Of each run, on the links in turn. */
  readonly cuts: number
  /** Of each run, while it shrinks. */
  readonly splits: number
  /** Deferred messages that are sent to the wide pool in each run, so that those who leave have their part. */
  readonly queued: number
  readonly wide: number
  readonly clients: number
  readonly pauseMs: number
  /** Load on the wide pool before it shrinks, so that everybody has something to give away. */
  readonly spreadMs: number
}

const phaseNames = ['grow', 'fill', 'shrink', 'settle', 'judge'] as const
type Phase = (typeof phaseNames)[number]

export interface RunReport {
  /** From 1, on this cluster. */
  readonly run: number
  readonly seconds: number
  /** Where they went. */
  readonly phases: Readonly<Record<Phase, number>>
  readonly held: boolean
  /** On everything since the cluster was made; the cuts are this run's. */
  readonly verdict: ScaleVerdict
  readonly audit: unknown
  readonly kills: readonly Kill[]
  readonly splits: readonly Split[]
  readonly orders: readonly Pick<Order, 'count' | 'tries' | 'seconds' | 'answer'>[]
  readonly complaints: readonly string[]
}

const orderPatienceMs = 300_000
const fillClients = 8

/** How many answers on a link pass at most before the one that is lost; a hand-over has few, each for many messages. */
const passingMax: Readonly<Record<Link, number>> = { client: 60, intake: 60, handover: 3, delivery: 40 }

interface Trouble {
  readonly killer: Killer
  readonly splitter: Splitter | undefined
  readonly random: Seeded
}

/**
 * `heard` is told of each run, and answers whether to go on; the last report is the one after the end. Rejects where an order was not
 * carried out.
 */
export async function scaleInCycles(
  options: ScaleOptions,
  plan: CyclePlan,
  heard: (report: RunReport) => void,
): Promise<RunReport> {
  const world = await ScaleWorld.start(options)
  try {
    const trouble = {
      killer: new Killer(world, options.seed),
      splitter: world.hosts === undefined ? undefined : new Splitter(world.watch, world.hosts, options.seed),
      random: new Seeded(options.seed),
    }
    let last: RunReport | undefined
    for (let run = 1; run <= plan.runs && last?.held !== false; run++) {
      last = await oneRun(world, trouble, plan, run)
      heard(last)
    }
    if (last === undefined) throw new Error('no run was asked for')
    return { ...last, ...verdictOn(await world.lastEvidence(last.verdict.cuts)) }
  } finally {
    await world.sending.stop()
    await world.stop()
  }
}

async function oneRun(world: ScaleWorld, trouble: Trouble, plan: CyclePlan, run: number): Promise<RunReport> {
  const times = [performance.now()]
  const lap = () => void times.push(performance.now())
  const { killer, splitter } = trouble
  const [kills, splits, cuts] = [killer.kills.length, splitter?.splits.length ?? 0, talliesOf(world.fuses)]
  world.sending.start(plan.clients, plan.pauseMs, world.options.seed + run * plan.clients)
  const orders = await growAndShrink(world, trouble, plan, lap)
  await world.sending.stop()
  for (const fuse of Object.values(world.fuses)) fuse.disarm()
  await world.settle()
  lap()
  const judged = verdictOn(await world.evidence(cutsSince(cuts, talliesOf(world.fuses))))
  lap()
  return {
    ...{ run, ...judged, ...durations(times) },
    kills: killer.kills.slice(kills),
    splits: splitter?.splits.slice(splits) ?? [],
    orders: orders.map(({ count, tries, seconds, answer }) => ({ count, tries, seconds, answer })),
    complaints: [...new Set(orders.flatMap(({ complaints }) => complaints))],
  }
}

function verdictOn(evidence: ScaleEvidence & { readonly audit: unknown }) {
  const verdict = judgeScale(evidence)
  return { verdict, held: holdsScale(verdict), audit: evidence.audit }
}

/** Of a run whose phases ended at these times, the first of which is its beginning. */
function durations(times: readonly number[]): Pick<RunReport, 'seconds' | 'phases'> {
  const between = (from: number, to: number) => Math.round((times[to] ?? 0) - (times[from] ?? 0)) / 1000
  const phases = Object.fromEntries(phaseNames.map((name, index) => [name, between(index, index + 1)]))
  return { seconds: between(0, times.length - 1), phases: phases as Record<Phase, number> }
}

async function growAndShrink(
  world: ScaleWorld,
  trouble: Trouble,
  plan: CyclePlan,
  lap: () => void,
): Promise<readonly Order[]> {
  const { killer, splitter } = trouble
  const growing = Math.floor(plan.kills / 4)
  const grown = await meanwhile(
    () => scaleTo(world, plan.wide, orderPatienceMs),
    [(isOver) => world.followPlans(isOver), (isOver) => killer.atOnce(growing, isOver)],
  )
  lap()
  await world.sending.fill(plan.queued, 'defer', fillClients)
  await sleep(plan.spreadMs)
  const { layout } = await world.watch.look()
  const members = layout.instances.filter((instance) => instance.pool === pool).map(({ id }) => id)
  await world.noteDeferrals(members)
  lap()
  arm(world, trouble, plan.cuts)
  const shrunk = await meanwhile(
    () => scaleTo(world, world.options.instances, orderPatienceMs),
    [
      (isOver) => world.followPlans(isOver),
      (isOver) => killer.during(plan.kills - growing, isOver),
      async (isOver) => await splitter?.during(plan.splits, isOver),
    ],
  )
  lap()
  return [grown, shrunk]
}

function arm({ fuses }: ScaleWorld, { random }: Trouble, cuts: number): void {
  const first = random.below(links.length)
  for (let number = 0; number < cuts; number++) {
    const link = links[(first + number) % links.length] as Link
    fuses[link].arm(random.below(passingMax[link]))
  }
}

function cutsSince(before: CutTallies, now: CutTallies): CutTallies {
  const since = (link: Link): CutTally => ({
    armed: now[link].armed - before[link].armed,
    lost: now[link].lost - before[link].lost,
  })
  return {
    client: since('client'),
    intake: since('intake'),
    handover: since('handover'),
    delivery: since('delivery'),
  }
}

/** All of `others` end once the order has been carried out. */
async function meanwhile(
  order: () => Promise<Order>,
  others: readonly ((isOver: () => boolean) => Promise<void>)[],
): Promise<Order> {
  let over = false
  const going = others.map((other) => other(() => over))
  try {
    return await order()
  } finally {
    over = true
    await Promise.all(going)
  }
}
