/**
 * `npm run bench -- [--only NAME] [--case TEXT] [--runs N] [--quick] [--subjects qmq,postfix,floor] [--dir DIR]`.
 *
 * Prints one JSON line per sample as it is taken, then a table of medians. Samples are also kept in `.bench/`. Root is needed
 * for Postfix. Numbers from a machine that does other work, or from `--quick`, are for looking, not for quoting.
 */

import { appendFileSync, mkdirSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { findTool } from '../support/tools.ts'
import { accept } from './accept.ts'
import { controlplane } from './controlplane.ts'
import { coordination } from './coordination.ts'
import { handover } from './handover.ts'
import { idle } from './idle.ts'
import type { BenchOptions, Measure, Sample, Subject } from './measure.ts'
import { qmtp } from './qmtp.ts'
import { relay } from './relay.ts'
import { replay } from './replay.ts'
import { reportOf } from './report.ts'
import { scale } from './scale.ts'

const measures: readonly Measure[] = [accept, relay, qmtp, idle, replay, coordination, handover, scale, controlplane]
const allSubjects: readonly Subject[] = ['postfix', 'floor', 'qmq']

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      case: { type: 'string', default: '' },
      runs: { type: 'string', default: '5' },
      quick: { type: 'boolean', default: false },
      subjects: { type: 'string', default: allSubjects.join(',') },
      dir: { type: 'string', default: tmpdir() },
    },
  })
  const only = values.only?.split(',')
  const chosen = measures.filter((measure) => only === undefined || only.includes(measure.name))
  const subjects = allSubjects.filter((name) => values.subjects.split(',').includes(name))
  const runs = Number(values.runs)
  if (chosen.length === 0 || subjects.length === 0 || !Number.isInteger(runs) || runs < 1) {
    const lines = measures.map((measure) => `  ${measure.name.padEnd(12)} ${measure.what}`)
    process.stderr.write(`nothing to measure; measures are\n${lines.join('\n')}\n`)
    return 2
  }
  const refusal = await cannotRun(subjects)
  if (refusal !== undefined) {
    process.stderr.write(`${refusal}\n`)
    return 1
  }
  const { samples, options } = recorder({
    runs,
    quick: values.quick,
    directory: values.dir,
    subjects,
    caseFilter: values.case,
  })
  for (const measure of chosen) {
    options.note(`${measure.name}: ${measure.what}`)
    await measure.run(options)
  }
  process.stdout.write(`\n${reportOf(samples)}`)
  return 0
}

async function cannotRun(subjects: readonly Subject[]): Promise<string | undefined> {
  if (findTool('smtp-source') === undefined) return 'smtp-source is not installed; run .ci/tools as root'
  if (subjects.includes('postfix') && process.getuid?.() !== 0)
    return 'Postfix needs root; or leave it out: --subjects qmq,floor'
  return undefined
}

type Settings = Pick<BenchOptions, 'runs' | 'quick' | 'directory' | 'subjects' | 'caseFilter'>

function recorder(settings: Settings): { samples: Sample[]; options: BenchOptions } {
  const samples: Sample[] = []
  const folder = new URL('../../.bench/', import.meta.url).pathname
  mkdirSync(folder, { recursive: true })
  const file = `${folder}${new Date().toISOString().replaceAll(':', '')}.jsonl`
  const write = (line: string): void => {
    process.stdout.write(line)
    appendFileSync(file, line)
  }
  const options: BenchOptions = {
    ...settings,
    record(sample) {
      samples.push(sample)
      write(`${JSON.stringify(sample)}\n`)
    },
    note(text) {
      process.stderr.write(`${text}\n`)
    },
  }
  const about = { node: process.version, processors: cpus().length, runs: settings.runs, quick: settings.quick }
  write(`${JSON.stringify({ about })}\n`)
  return { samples, options }
}

process.exitCode = await main()
