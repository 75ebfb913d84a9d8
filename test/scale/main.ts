/**
 * `npm run scale -- [--runs N] [--kills K] [--cuts C] [--netsplit [S]] [--queued M] [--from A] [--wide B] [--each E] [--seed S]`: a real cluster
 * under load whose pool grows from A to B instances and shrinks again, N times. In each run K processes die, C acknowledgements are lost on
 * their way, and with `--netsplit` the host that leads is cut off from all others S times.
 *
 * A cluster serves E runs, then a new one is made; so is it after a run that failed, whose directory is kept for a look. Prints a line for each run
 * and one JSON line at the end; exits 1 when a promise was broken, or when something that was to happen never did.
 */

import { rmSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { errorText } from '../../services/protocol/failure.ts'
import { makeTemporaryDirectory } from '../support/temporary-directory.ts'
import { type CyclePlan, scaleInCycles } from './cycles.ts'
import { RunTotals } from './run-totals.ts'

const load = { clients: 4, pauseMs: 20, spreadMs: 1000 }

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '1' },
      kills: { type: 'string', default: '12' },
      cuts: { type: 'string', default: '0' },
      netsplit: { type: 'boolean', default: false },
      splits: { type: 'string', default: '2' },
      queued: { type: 'string', default: '50000' },
      from: { type: 'string', default: '3' },
      wide: { type: 'string', default: '12' },
      each: { type: 'string', default: '10' },
      seed: { type: 'string', default: '1' },
    },
  })
  const { netsplit, ...texts } = values
  const names = ['runs', 'kills', 'cuts', 'splits', 'queued', 'from', 'wide', 'each', 'seed'] as const
  const numbers = names.map((name) => Number(texts[name]))
  const [runs = 0, kills = 0, cuts = 0, splits = 0, queued = 0, instances = 0, wide = 0, each = 0, seed = 0] = numbers
  const areCounts = numbers.every((number) => Number.isInteger(number) && number >= 0)
  if (!areCounts || instances < 1 || wide <= instances || wide > 19 || each < 1) {
    process.stderr.write(`${names.map((name) => `--${name}`).join(' ')} take whole numbers, --wide above --from\n`)
    return 2
  }
  const say = (text: string): void => {
    process.stderr.write(`${text}\n`)
  }
  const plan = { kills, cuts, splits: netsplit ? splits : 0, queued, wide, ...load }
  const totals = new RunTotals(say)
  for (let cluster = 0; totals.runs < runs; cluster++) {
    const options = { seed: seed + cluster, instances, unclearRetry: '1s', cuts: cuts > 0, netsplit, note: say }
    await onOneCluster(options, { ...plan, runs: Math.min(each, runs - totals.runs) }, totals)
  }
  const total = totals.end()
  process.stdout.write(`${JSON.stringify({ part: 'scale', seed, ...total })}\n`)
  return total.held ? 0 : 1
}

type Options = Omit<Parameters<typeof scaleInCycles>[0], 'directory'>

async function onOneCluster(options: Options, plan: CyclePlan, totals: RunTotals): Promise<void> {
  const directory = makeTemporaryDirectory('qmq-scale')
  totals.begin(options.seed, directory)
  try {
    totals.stopped(await scaleInCycles({ ...options, directory }, plan, (report) => totals.heard(report)))
  } catch (error) {
    totals.broken(errorText(error))
  }
  if (!totals.hasFailedHere) rmSync(directory, { recursive: true, force: true })
}

process.exitCode = await main()
