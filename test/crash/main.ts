/**
 * `npm run crash -- [--kills N] [--cuts M] [--seed S]`: the cluster under load, killed N times process by process, then
 * cut off from power M times. Prints one JSON line for each part; exits 1 when a promise was broken.
 *
 * Power cuts need root and loop devices.
 */

import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { makeTemporaryDirectory } from '../support/temporary-directory.ts'
import { killProcesses } from './kills.ts'
import { cutPower } from './power-cuts.ts'
import { holds } from './verdict.ts'
import type { CrashOptions, CrashReport } from './world.ts'

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      kills: { type: 'string', default: '200' },
      cuts: { type: 'string', default: '50' },
      seed: { type: 'string', default: '1' },
    },
  })
  const [kills, cuts, seed] = [Number(values.kills), Number(values.cuts), Number(values.seed)]
  if (![kills, cuts, seed].every(Number.isInteger)) {
    process.stderr.write('--kills, --cuts and --seed take whole numbers\n')
    return 2
  }
  const directory = makeTemporaryDirectory('qmq-crash')
  let good = true
  const part = async (name: string, work: (options: CrashOptions) => Promise<CrashReport>): Promise<void> => {
    const place = join(directory, name)
    mkdirSync(place)
    const note = (text: string): void => {
      process.stderr.write(`${name}: ${text}\n`)
    }
    const report = await work({ directory: place, state: join(place, 'state'), seed, note })
    const held = holds(report.verdict) && report.balanced
    good &&= held
    process.stdout.write(`${JSON.stringify({ part: name, seed, held, ...report })}\n`)
  }
  if (kills > 0) await part('kills', (options) => killProcesses(options, kills))
  if (cuts > 0) await part('cuts', (options) => cutPower(options, cuts))
  if (good) rmSync(directory, { recursive: true, force: true })
  else process.stderr.write(`kept for a look: ${directory}\n`)
  return good ? 0 : 1
}

process.exitCode = await main()
