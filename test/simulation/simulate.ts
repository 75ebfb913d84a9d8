/**
 * One run: a cluster from a seed, its mail, its faults, healing, rest, and the judgement.
 *
 * Safety is judged over everything that happened; liveness by the rest that must come once every fault has healed.
 */

import { Cluster } from './cluster.ts'
import { makeLetter } from './letters.ts'
import { drawFault, durationOf, type FaultName, faults } from './nemesis.ts'
import { judge } from './oracle.ts'
import { type PlantName, plants } from './planted-faults.ts'
import { Scaling } from './scaling.ts'
import type { SeededRandom } from './seeded-random.ts'
import { surroundings } from './surroundings.ts'

export interface RunOptions {
  readonly seed: number
  readonly plant?: PlantName
  /** Draws from these alone; empty: nothing goes wrong. */
  readonly faults?: readonly FaultName[]
  readonly logLinesMax?: number
  readonly print?: (line: string) => void
}

export interface RunResult {
  readonly seed: number
  readonly violations: readonly string[]
  readonly faults: readonly string[]
  readonly letters: number
  readonly arrivals: number
  readonly crashes: number
  /** Virtual time until rest. */
  readonly elapsedMs: number
  readonly events: number
  readonly trace: number
  /** Ledger events by tier and name. */
  readonly ledger: ReadonlyMap<string, number>
  readonly log: readonly string[]
}

/** Mail and faults of a run fall into one of these spans: crowded runs find races, wide ones find timeouts. */
const spansMs = [1_000, 5_000, 20_000, 60_000] as const
/** The first letter finds a cluster that is up, unless a fault was earlier. */
const startMs = 300
/** By now everything has healed. */
const healedAtMs = 180_000
/** The quadratic retry's pauses grow with age; this is far more than the longest of them. */
const restWithinMs = 12 * 3600 * 1000
/** Rest must last. */
const restLastsMs = 5_000

export async function simulate(options: RunOptions): Promise<RunResult> {
  const around = surroundings(options.seed, options.logLinesMax ?? 0, options.print)
  const { time } = around
  const random = around.random.fork('scenario')
  const cluster = new Cluster(around, options.plant === undefined ? undefined : plants[options.plant])
  const violations: string[] = []
  const onRejection = (reason: unknown): void => {
    violations.push(`unhandled rejection: ${reason instanceof Error ? reason.stack : String(reason)}`)
  }
  process.on('unhandledRejection', onRejection)
  try {
    cluster.start()
    const spanMs = random.pick(spansMs)
    planLetters(cluster, random, spanMs)
    planFaults(cluster, random, 1.5 * spanMs, options.faults)
    planAudits(cluster, random, violations)
    const scaling = planScaling(cluster, spanMs, violations, options.faults?.length !== 0)
    await time.run(healedAtMs)
    const isQuiet = await rest(cluster, scaling)
    violations.push(...judge(cluster.ending(isQuiet)))
  } catch (error) {
    violations.push(`exception: ${error instanceof Error ? error.stack : String(error)}`)
  } finally {
    process.off('unhandledRejection', onRejection)
  }
  const { truth } = cluster
  return {
    seed: options.seed,
    violations,
    faults: [...truth.faults],
    letters: truth.letters.length,
    arrivals: truth.arrivals.length,
    crashes: truth.crashes.length,
    elapsedMs: time.elapsedMs,
    events: time.fired,
    trace: time.trace,
    ledger: truth.events,
    log: around.log.lines(),
  }
}

async function rest(cluster: Cluster, scaling: Scaling | undefined): Promise<boolean> {
  const isAtRest = (): boolean => cluster.isQuiet() && scaling?.isDone !== false
  const { time } = cluster.around
  const untilMs = healedAtMs + restWithinMs
  while (await time.run(untilMs, isAtRest)) {
    const restUntilMs = time.elapsedMs + restLastsMs
    if (!(await time.run(restUntilMs, () => !isAtRest()))) return true
  }
  return false
}

/** In every second run; of its own chance, so that the others stay what they were. */
function planScaling(cluster: Cluster, spanMs: number, violations: string[], mayFail: boolean): Scaling | undefined {
  const random = cluster.around.random.fork('scaling')
  if (random.chance(0.5)) return undefined
  const scaling = new Scaling(cluster, random, violations)
  scaling.begin(1.2 * spanMs, healedAtMs)
  if (mayFail && random.chance(0.8)) {
    fillQueues(cluster, random, spanMs)
    scaling.mayDisturb = true
  }
  return scaling
}

/** Next hops that put everything off: otherwise there is little in the queues to hand over. */
function fillQueues(cluster: Cluster, random: SeededRandom, spanMs: number): void {
  cluster.truth.faults.add('next hop temporary')
  planLetters(cluster, random, 0.5 * spanMs, 6 + random.below(12))
  for (const { hop } of cluster.hops) hop.mood = random.pick(['temporary', 'temporary-at-end', 'slow'])
  cluster.around.time.schedule(random.between(0.5, 2) * spanMs, () => {
    for (const { hop } of cluster.hops) hop.mood = 'kind'
  })
}

function planLetters(cluster: Cluster, random: SeededRandom, untilMs: number, count = 2 + random.below(14)): void {
  for (let number = 0; number < count; number++) {
    const letter = makeLetter(cluster.truth.letters.length, random)
    cluster.truth.letters.push(letter)
    cluster.around.time.schedule(startMs + random.between(0, untilMs), () => cluster.client.send(letter))
  }
}

function planFaults(
  cluster: Cluster,
  random: SeededRandom,
  untilMs: number,
  only: readonly FaultName[] | undefined,
): void {
  const count = only?.length === 0 ? 0 : random.pick([0, 1, 2, 4, 8, 12])
  const { time, log } = cluster.around
  for (let number = 0; number < count; number++) {
    const name = drawFault(random, only)
    const atMs = random.between(0, untilMs)
    const durationMs = durationOf(random)
    time.schedule(atMs, () => {
      cluster.truth.faults.add(name)
      log.add('nemesis', `${name} begins`)
      const heal = faults[name](cluster, random)
      if (heal === undefined) return
      time.schedule(durationMs, () => {
        log.add('nemesis', `${name} ends`)
        heal()
      })
    })
  }
}

/** Mail is conserved at any time, not only at the end. */
function planAudits(cluster: Cluster, random: SeededRandom, violations: string[]): void {
  for (let number = 0; number < 5; number++) {
    cluster.around.time.schedule(random.between(0, healedAtMs), () => {
      for (const audit of cluster.audits()) {
        if (!audit.balanced) violations.push(`audit: out of balance while running: ${JSON.stringify(audit)}`)
      }
    })
  }
}
