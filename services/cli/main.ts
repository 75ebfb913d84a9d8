/**
 * The `qmq` command: reads the environment, chooses the verb, ends the process with its exit code.
 *
 * Defaults: `--conf` is ./conf-qmq, `--state` is `state` beside it. Where there is neither the one nor a `--state`, nobody knows
 * which cluster is meant, and nothing is guessed.
 */

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { errorText } from '../protocol/failure.ts'
import { keepAwake } from '../runtime/keep-awake.ts'
import { silentLog } from '../runtime/log.ts'
import { systemWorld } from '../runtime/system-world.ts'
import { writeYaml } from '../settings/yaml-document.ts'
import { chosenRemote } from './chosen-cluster.ts'
import { type CommonOptions, parseCommandLine } from './command-line.ts'
import { softwareVersion } from './software.ts'
import { userTerminal } from './user-terminal.ts'
import type { Context, ExitCode, RemoteCluster, Verb } from './verb.ts'
import { auditVerb } from './verbs/audit.ts'
import { checkVerb } from './verbs/check.ts'
import { completionVerb } from './verbs/completion.ts'
import { contextVerbs } from './verbs/context.ts'
import { instanceVerbs } from './verbs/drain.ts'
import { drillVerbs } from './verbs/drill.ts'
import { natsVerbs } from './verbs/nats.ts'
import { ordersVerb } from './verbs/orders.ts'
import { planVerbs } from './verbs/plan.ts'
import { queueVerbs } from './verbs/queue.ts'
import { receiptVerb } from './verbs/receipt.ts'
import { redisAclVerb } from './verbs/redis.ts'
import { runVerb } from './verbs/run.ts'
import { scaleVerb } from './verbs/scale.ts'
import { sendVerb } from './verbs/send.ts'
import { statusVerb } from './verbs/status.ts'
import { topVerb } from './verbs/top.ts'
import { traceVerb } from './verbs/trace.ts'
import { upVerb } from './verbs/up.ts'
import { versionVerb } from './verbs/version.ts'

const verbs: readonly Verb[] = [
  ...[upVerb, runVerb, statusVerb, topVerb, sendVerb, scaleVerb],
  ...[...instanceVerbs, ...planVerbs, ...queueVerbs, ...natsVerbs],
  ...[traceVerb, auditVerb, receiptVerb, ordersVerb, checkVerb, ...contextVerbs, redisAclVerb],
  ...[...drillVerbs, completionVerb(() => verbs), versionVerb],
]

function contextOf(common: CommonOptions, remote: RemoteCluster | undefined): Context {
  const world = systemWorld(silentLog)
  const confFile = common.conf ?? 'conf-qmq'
  return {
    world,
    confFile,
    state: path.resolve(common.state ?? path.join(path.dirname(confFile), 'state')),
    output: common.output === 'yaml' ? 'json' : common.output,
    ...(remote === undefined ? {} : { remote }),
    ...(contextsFile === undefined ? {} : { contextsFile }),
    ...(user === undefined ? {} : { user }),
    ...(terminal === undefined ? {} : { terminal }),
    print: (text) => process.stdout.write(common.output === 'yaml' ? yamlOf(text) : `${text}\n`),
    complain: (text) => process.stderr.write(`${text}\n`),
    sleep: (delayMs) =>
      new Promise((resolve) => {
        world.clock.after(delayMs, resolve)
      }),
  }
}

/** Of the account the command runs under; one without a name is none. */
function accountName(): string | undefined {
  try {
    return os.userInfo().username
  } catch {
    return undefined
  }
}

/** The cluster of a context, or why there is none. */
function remoteOf(common: CommonOptions, verb: Verb): RemoteCluster | string | undefined {
  try {
    return chosenRemote(common, verb, contextsFile)
  } catch (error) {
    return errorText(error)
  }
}

/** Verbs know JSON alone; each text of it becomes a document. */
function yamlOf(text: string): string {
  try {
    return `---\n${writeYaml(JSON.parse(text))}`
  } catch {
    return `${text}\n`
  }
}

function isLost({ conf, state }: CommonOptions): boolean {
  return conf === undefined && state === undefined && !fs.existsSync('conf-qmq')
}

async function runCommand(): Promise<ExitCode> {
  const chosen = await parseCommandLine(process.argv.slice(2), verbs, softwareVersion())
  if (chosen.kind === 'done') return chosen.exit
  const remote = remoteOf(chosen.common, chosen.verb)
  const context = contextOf(chosen.common, typeof remote === 'string' ? undefined : remote)
  if (typeof remote === 'string') {
    context.complain(`qmq: ${remote}`)
    return 2
  }
  if (remote === undefined && chosen.verb.placeless !== true && isLost(chosen.common)) {
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

const { HOME, XDG_CONFIG_HOME, USER: user = accountName() } = process.env
const configHome = XDG_CONFIG_HOME ?? (HOME === undefined ? undefined : path.join(HOME, '.config'))
const contextsFile = configHome === undefined ? undefined : path.join(configHome, 'qmq', 'contexts.yaml')
const terminal = userTerminal()
let lasting = false
// A reader that has seen enough (`| head`) is no failure of ours; a cluster goes on without one.
process.stdout.on('error', () => {
  if (!lasting) process.exit(0)
})
process.stderr.on('error', () => {})
keepAwake()
const code = await runCommand()
process.stdout.write('', () => process.exit(code))
