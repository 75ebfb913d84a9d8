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
import { silentLog } from '../runtime/silent-log.ts'
import { systemWorld } from '../runtime/system-world.ts'
import { chosenRemote } from './chosen-cluster.ts'
import { type CommonOptions, parseCommandLine } from './command-line.ts'
import { softwareVersion } from './software.ts'
import { userTerminal } from './user-terminal.ts'
import type { Context, ExitCode, RemoteCluster, Verb } from './verb.ts'
import { verbsFor } from './verb-table.ts'

function contextOf(common: CommonOptions, remote: RemoteCluster | undefined, writeText: WriteText): Context {
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
    print: (text) => process.stdout.write(writeText(text)),
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
async function remoteOf(common: CommonOptions, verb: Verb): Promise<RemoteCluster | string | undefined> {
  try {
    return await chosenRemote(common, verb, contextsFile)
  } catch (error) {
    return errorText(error)
  }
}

type WriteText = (text: string) => string

/** Verbs know JSON alone; each text of it becomes a document. */
async function textWriter({ output }: CommonOptions): Promise<WriteText> {
  if (output !== 'yaml') return (text) => `${text}\n`
  const { writeYaml } = await import('../settings/yaml-document.ts')
  return (text) => {
    try {
      return `---\n${writeYaml(JSON.parse(text))}`
    } catch {
      return `${text}\n`
    }
  }
}

function isLost({ conf, state }: CommonOptions): boolean {
  return conf === undefined && state === undefined && !fs.existsSync('conf-qmq')
}

async function runCommand(): Promise<ExitCode> {
  const argv = process.argv.slice(2)
  const chosen = await parseCommandLine(argv, await verbsFor(argv), softwareVersion())
  if (chosen.kind === 'done') return chosen.exit
  const remote = await remoteOf(chosen.common, chosen.verb)
  const writeText = await textWriter(chosen.common)
  const context = contextOf(chosen.common, typeof remote === 'string' ? undefined : remote, writeText)
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
