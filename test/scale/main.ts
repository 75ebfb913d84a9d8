/**
 * `npm run scale -- [--runs N] [--kills K] [--queued M] [--from A] [--wide B] [--seed S]`: a real cluster under load whose pool grows from
 * A to B instances and shrinks again, N times, while K processes die in each cycle. Prints one JSON line; exits 1 when a promise was broken, and
 * keeps the directory for a look.
 */

import { rmSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { makeTemporaryDirectory } from '../support/temporary-directory.ts'
import { scaleInCycles } from './cycles.ts'
import { holdsScale } from './scale-verdict.ts'

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '1' },
      kills: { type: 'string', default: '12' },
      queued: { type: 'string', default: '50000' },
      from: { type: 'string', default: '3' },
      wide: { type: 'string', default: '12' },
      seed: { type: 'string', default: '1' },
    },
  })
  const numbers = [values.runs, values.kills, values.queued, values.from, values.wide, values.seed].map(Number)
  const [runs = 0, kills = 0, queued = 0, instances = 0, wide = 0, seed = 0] = numbers
  if (!numbers.every((number) => Number.isInteger(number) && number >= 0) || instances < 1 || wide <= instances) {
    process.stderr.write(
      '--runs, --kills, --queued, --from, --wide and --seed take whole numbers, --wide above --from\n',
    )
    return 2
  }
  const directory = makeTemporaryDirectory('qmq-scale')
  const note = (text: string): void => {
    process.stderr.write(`${text}\n`)
  }
  const options = { directory, seed, instances, unclearRetry: '2s', note }
  const load = { clients: 6, pauseMs: 10, spreadMs: 3000 }
  const report = await scaleInCycles(options, { runs, kills, queued, wide, ...load })
  const held = holdsScale(report.verdict)
  process.stdout.write(`${JSON.stringify({ part: 'scale', seed, held, ...report })}\n`)
  if (held) rmSync(directory, { recursive: true, force: true })
  else note(`kept for a look: ${directory}`)
  return held ? 0 : 1
}

process.exitCode = await main()
