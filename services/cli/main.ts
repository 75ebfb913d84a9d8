/**
 * The `qmq` command: reads the environment, chooses the verb, ends the process with its exit code.
 *
 * Defaults: `--conf` is ./conf-qmq, `--state` is `state` beside it. Where there is neither the one nor a `--state`, nobody knows
 * which cluster is meant, and nothing is guessed.
 */

import fs from 'node:fs'
import path from 'node:path'
import { errorText } from '../protocol/failure.ts'
import { keepAwake } from '../runtime/keep-awake.ts'
import { silentLog } from '../runtime/log.ts'
import { systemWorld } from '../runtime/system-world.ts'
import { type CommonOptions, parseCommandLine } from './command-line.ts'
import { softwareVersion } from './software.ts'
import type { Context, ExitCode } from './verb.ts'
import { auditVerb } from './verbs/audit.ts'
import { checkVerb } from './verbs/check.ts'
import { drillVerbs } from './verbs/drill.ts'
import { queueVerbs } from './verbs/queue.ts'
import { runVerb } from './verbs/run.ts'
import { sendVerb } from './verbs/send.ts'
import { statusVerb } from './verbs/status.ts'
import { traceVerb } from './verbs/trace.ts'
import { upVerb } from './verbs/up.ts'
import { versionVerb } from './verbs/version.ts'

const verbs = [
  ...[upVerb, runVerb, statusVerb, sendVerb],
  ...queueVerbs,
  ...[traceVerb, auditVerb, checkVerb],
  ...drillVerbs,
  versionVerb,
]

function contextOf(common: CommonOptions): Context {
  const world = systemWorld(silentLog)
  const confFile = common.conf ?? 'conf-qmq'
  return {
    world,
    confFile,
    state: path.resolve(common.state ?? path.join(path.dirname(confFile), 'state')),
    output: common.output,
    print: (text) => process.stdout.write(`${text}\n`),
    complain: (text) => process.stderr.write(`${text}\n`),
    sleep: (delayMs) =>
      new Promise((resolve) => {
        world.clock.after(delayMs, resolve)
      }),
  }
}

function isLost({ conf, state }: CommonOptions): boolean {
  return conf === undefined && state === undefined && !fs.existsSync('conf-qmq')
}

async function runCommand(): Promise<ExitCode> {
  const chosen = await parseCommandLine(process.argv.slice(2), verbs, softwareVersion())
  if (chosen.kind === 'done') return chosen.exit
  const context = contextOf(chosen.common)
  if (chosen.verb.placeless !== true && isLost(chosen.common)) {
    context.complain('qmq: there is no conf-qmq in this directory; name the cluster with --conf FILE')
    return 2
  }
  lasting = chosen.verb.lasting === true
  try {
    return await chosen.verb.run(context, chosen.input)
  } catch (error) {
    context.complain(`qmq ${chosen.verb.name}: ${errorText(error)}`)
    return 1
  }
}

let lasting = false
// A reader that has seen enough (`| head`) is no failure of ours; a cluster goes on without one.
process.stdout.on('error', () => {
  if (!lasting) process.exit(0)
})
process.stderr.on('error', () => {})
keepAwake()
const code = await runCommand()
process.stdout.write('', () => process.exit(code))
