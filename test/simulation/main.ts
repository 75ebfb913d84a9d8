/**
 * `npm run simulate -- --seed N --runs M [--verbose] [--plant NAME]`: simulated clusters, one per seed.
 *
 * Prints every failing seed with what went wrong and the command that replays it; exit 1 if there was any.
 */

import { parseArgs } from 'node:util'
import { type PlantName, plants } from './planted-faults.ts'
import { type RunResult, simulate } from './simulate.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    runs: { type: 'string', default: '100' },
    plant: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    'keep-going': { type: 'boolean', default: false },
  },
})

const firstSeed = wholeNumber('seed', values.seed)
const runs = wholeNumber('runs', values.runs)
const plant = values.plant === undefined ? undefined : plantOf(values.plant)

function wholeNumber(name: string, text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= 0) return value
  console.error(`--${name} wants a whole number, not ${text}`)
  process.exit(2)
}

function plantOf(name: string): PlantName {
  if (Object.hasOwn(plants, name)) return name as PlantName
  console.error(`--plant knows ${Object.keys(plants).join(', ')}; not ${name}`)
  process.exit(2)
}

async function run(seed: number, verbose: boolean): Promise<RunResult> {
  const log = verbose ? { logLinesMax: 200, print: (line: string): void => console.log(line) } : {}
  return simulate({ seed, ...(plant === undefined ? {} : { plant }), ...log })
}

function report(result: RunResult): void {
  console.log(`seed ${result.seed} FAILED (faults: ${result.faults.join(', ') || 'none'})`)
  for (const violation of result.violations.slice(0, 20)) console.log(`  ${violation}`)
  const planted = plant === undefined ? '' : ` --plant ${plant}`
  console.log(`  replay: npm run simulate -- --seed ${result.seed} --runs 1 --verbose${planted}`)
}

const beganAt = performance.now()
const ledger = new Map<string, number>()
const totals = { runs: 0, failed: 0, letters: 0, arrivals: 0, crashes: 0, events: 0, virtualMs: 0 }
for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
  const result = await run(seed, values.verbose)
  totals.runs++
  totals.letters += result.letters
  totals.arrivals += result.arrivals
  totals.crashes += result.crashes
  totals.events += result.events
  totals.virtualMs += result.elapsedMs
  for (const [event, count] of result.ledger) ledger.set(event, (ledger.get(event) ?? 0) + count)
  if (result.violations.length === 0) continue
  totals.failed++
  report(result)
  if (!values['keep-going']) break
}
const seconds = (performance.now() - beganAt) / 1000
const { letters, arrivals, crashes, events, virtualMs } = totals
console.log(
  `${totals.runs} seeds, ${totals.failed} failed, ${seconds.toFixed(1)} s, ${(totals.runs / seconds).toFixed(1)} seeds/s; ` +
    `${letters} letters, ${arrivals} arrivals, ${crashes} crashes, ${Math.round(events / seconds)} events/s, ` +
    `${(virtualMs / 3_600_000).toFixed(1)} virtual hours`,
)
console.log([...ledger].map(([event, count]) => `${event} ${count}`).join(', '))
process.exit(totals.failed === 0 ? 0 : 1)
