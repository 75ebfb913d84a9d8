/** A line for each run as it ends, and the sums over all of them; what failed by seed, with the directory where its state is. */

import type { RunReport } from './cycles.ts'
import { type Link, links } from './fuse.ts'

interface Failure {
  readonly run: number
  readonly seed: number
  readonly directory: string
  readonly why: unknown
}

/** Of a cluster so far. */
const nothingYet = { acked: 0, duplicates: 0, receipts: 0, lost: 0 }

export interface Totals {
  readonly held: boolean
  readonly runs: number
  readonly seconds: number
  readonly sums: Readonly<Record<string, number>>
  /** Acknowledgements that were lost on purpose, by link. */
  readonly cuts: Readonly<Record<Link, number>>
  /** Each with its reason. */
  readonly duplicates: readonly string[]
  /** What was asked for and never came about. */
  readonly missing: readonly string[]
  readonly failures: readonly Failure[]
}

export class RunTotals {
  readonly #say: (text: string) => void
  readonly #begun = performance.now()
  readonly #cuts: Record<Link, number> = { client: 0, intake: 0, handover: 0, delivery: 0 }
  readonly #armed: Record<Link, number> = { client: 0, intake: 0, handover: 0, delivery: 0 }
  readonly #sums = { acked: 0, kills: 0, splits: 0, leadsMoved: 0, lost: 0, duplicates: 0, receipts: 0 }
  readonly #explained: string[] = []
  readonly #failures: Failure[] = []
  #runs = 0
  #seed = 0
  #directory = ''
  #before = nothingYet
  #told: ReadonlySet<string> = new Set()

  constructor(say: (text: string) => void) {
    this.#say = say
  }

  get runs(): number {
    return this.#runs
  }

  get hasFailedHere(): boolean {
    return this.#failures.some(({ directory }) => directory === this.#directory)
  }

  /** Runs on a new cluster. */
  begin(seed: number, directory: string): void {
    this.#seed = seed
    this.#directory = directory
    this.#before = nothingYet
    this.#told = new Set()
  }

  heard(report: RunReport): void {
    const { verdict, kills, splits, seconds, phases } = report
    this.#runs++
    const now = { ...nothingYet, acked: verdict.acked, duplicates: verdict.duplicates, receipts: verdict.receipts }
    const run = { ...now, lost: verdict.lost.length }
    for (const name of ['acked', 'duplicates', 'receipts'] as const) run[name] -= this.#before[name]
    this.#before = now
    const moved = splits.filter(({ cut, after }) => cut !== after).length
    for (const name of ['acked', 'duplicates', 'receipts', 'lost'] as const) this.#sums[name] += run[name]
    this.#sums.kills += kills.length
    this.#sums.splits += splits.length
    this.#sums.leadsMoved += moved
    for (const link of links) {
      this.#cuts[link] += verdict.cuts[link].lost
      this.#armed[link] += verdict.cuts[link].armed
    }
    const cuts = links.map((link) => `${link} ${verdict.cuts[link].lost}`).join(' ')
    const split = splits.length === 0 ? '' : `, splits ${splits.length} (lead moved ${moved})`
    const outcome = `lost ${run.lost}, duplicates ${run.duplicates}, receipts ${run.receipts}`
    const killText = kills.length === 0 ? '' : ` (${kills.map(({ step, target }) => `${target} ${step}`).join(', ')})`
    const times = Object.entries(phases)
      .map(([name, its]) => `${name} ${its.toFixed(1)}`)
      .join(' ')
    this.#say(
      `run ${this.#runs} (seed ${this.#seed}): acked ${run.acked}, kills ${kills.length}${killText}, cut ${cuts}${split}, ${outcome}, ` +
        `${report.held ? 'held' : 'FAILED'}, ${seconds.toFixed(1)} s (${times})`,
    )
    this.#tellDuplicates(verdict.explained)
    if (!report.held) this.#fail(report)
  }

  /** The verdict from the disks, after the end; what a run has failed by already is not said twice. */
  stopped(report: RunReport): void {
    this.#tellDuplicates(report.verdict.explained)
    if (!report.held && !this.hasFailedHere) this.#fail(report)
  }

  /** Something did not come to its end; a run that was not heard of counts. */
  broken(why: string): void {
    this.#runs++
    this.#fail(why)
  }

  end(): Totals {
    const missing = links.filter((link) => this.#armed[link] > 0 && this.#cuts[link] === 0)
    const never = missing.map((link) => `no answer was lost on the link ${link}`)
    if (this.#sums.splits > 0 && this.#sums.leadsMoved === 0) never.push('no split moved the lead')
    const seconds = Math.round((performance.now() - this.#begun) / 1000)
    return {
      held: this.#failures.length === 0 && never.length === 0,
      ...{ runs: this.#runs, seconds, sums: this.#sums, cuts: this.#cuts },
      ...{ duplicates: this.#explained, missing: never, failures: this.#failures },
    }
  }

  #tellDuplicates(explained: readonly string[]): void {
    for (const line of explained) {
      if (this.#told.has(line)) continue
      this.#explained.push(line)
      this.#say(`  duplicate ${line}`)
    }
    this.#told = new Set(explained)
  }

  #fail(why: unknown): void {
    const failure = { run: this.#runs, seed: this.#seed, directory: this.#directory, why }
    this.#failures.push(failure)
    this.#say(`run ${failure.run} FAILED, seed ${failure.seed}, kept for a look: ${failure.directory}`)
    this.#say(`  ${JSON.stringify(why).slice(0, 4000)}`)
  }
}
