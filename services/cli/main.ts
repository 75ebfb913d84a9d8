/**
 * The `qmq` command: reads the environment, chooses the verb, ends the process with its exit code.
 *
 * Defaults: `--conf` is ./conf-qmq, else the file that came with qmq. `--state` is ./state of the current directory where
 * ./conf-qmq is, else `qmq` below XDG_STATE_HOME (~/.local/state).
 */

import fs from 'node:fs'
import os from 'node:os'
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
  ...[traceVerb, auditVerb, checkVerb, versionVerb],
]

const shippedConf = path.join(import.meta.dirname, '../../conf-qmq')

function contextOf(common: CommonOptions): Context {
  const world = systemWorld(silentLog)
  const here = fs.existsSync('conf-qmq')
  const stateHome = process.env['XDG_STATE_HOME'] || path.join(os.homedir(), '.local/state')
  return {
    world,
    confFile: common.conf ?? (here ? 'conf-qmq' : shippedConf),
    state: path.resolve(common.state ?? (here ? 'state' : path.join(stateHome, 'qmq'))),
    output: common.output,
    print: (text) => process.stdout.write(`${text}\n`),
    complain: (text) => process.stderr.write(`${text}\n`),
    sleep: (delayMs) =>
      new Promise((resolve) => {
        world.clock.after(delayMs, resolve)
      }),
  }
}

async function runCommand(): Promise<ExitCode> {
  const chosen = await parseCommandLine(process.argv.slice(2), verbs, softwareVersion())
  if (chosen.kind === 'done') return chosen.exit
  const context = contextOf(chosen.common)
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
