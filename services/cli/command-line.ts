/**
 * The door to commander: our verbs in, the chosen one with its input out. Usage errors are exit code 2; help is 0. The options
 * all verbs have may stand before the verb or after it; the last one given counts.
 */

import { Command, CommanderError, Option } from 'commander'
import type { ExitCode, Input, OutputForm, Verb } from './verb.ts'

export interface CommonOptions {
  readonly conf: string | undefined
  readonly state: string | undefined
  readonly context: string | undefined
  readonly output: OutputForm | 'yaml'
}

type Chosen =
  | { readonly kind: 'verb'; readonly verb: Verb; readonly input: Input; readonly common: CommonOptions }
  /** Help or an error has been printed. */
  | { readonly kind: 'done'; readonly exit: ExitCode }

const groups: Readonly<Record<string, string>> = {
  queue: 'look into the queues',
  drill: 'take something away for a while, and show that mail does not mind',
  nats: 'what the NATS servers need to know',
  plan: 'see and steer what is being drained',
  context: 'name clusters on other hosts',
  redis: 'what edges share through Redis',
}

export async function parseCommandLine(
  argv: readonly string[],
  verbs: readonly Verb[],
  version: string,
): Promise<Chosen> {
  let chosen: Chosen | undefined
  const program = new Command('qmq')
    .description('Qmail Multiple Queue: a mail cluster from one file')
    .version(version, '-V, --version')
    .exitOverride()
    .enablePositionalOptions()
    .showHelpAfterError('(qmq help shows the verbs)')
  addCommonOptions(program)
  const parents = new Map<string, Command>()
  for (const verb of verbs) {
    const [first = '', second] = verb.name.split(' ')
    const parent = second === undefined ? program : groupOf(program, parents, first)
    const command = parent.command(`${second ?? first} ${verb.arguments ?? ''}`.trim()).description(verb.summary)
    // A verb may have verbs below it, which come after it.
    if (second === undefined) parents.set(first, command.enablePositionalOptions())
    addOptions(command, verb)
    command.exitOverride().action((..._arguments: unknown[]) => {
      chosen = { kind: 'verb', verb, input: inputOf(command), common: commonOf(command) }
    })
  }
  try {
    await program.parseAsync([...argv], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    return { kind: 'done', exit: error.exitCode === 0 ? 0 : 2 }
  }
  return chosen ?? { kind: 'done', exit: 2 }
}

function groupOf(program: Command, parents: Map<string, Command>, name: string): Command {
  const known = parents.get(name)
  if (known !== undefined) return known
  const group = program
    .command(name)
    .description(groups[name] ?? name)
    .exitOverride()
    .enablePositionalOptions()
  addCommonOptions(group)
  parents.set(name, group)
  return group
}

function addOptions(command: Command, verb: Verb): void {
  for (const [flags, description] of verb.options ?? []) command.option(flags, description)
  addCommonOptions(command)
}

function addCommonOptions(command: Command): void {
  command
    .option('--conf <file>', 'the cluster, default ./conf-qmq')
    .option('--state <dir>', 'where the cluster lives, default `state` beside its conf-qmq')
    .option('--context <name>', 'a cluster on another host, by its name in `qmq context ls`')
    .addOption(
      new Option('-o, --output <form>', 'how to answer, default text').choices(['text', 'wide', 'json', 'yaml']),
    )
}

function inputOf(command: Command): Input {
  return { words: command.args, options: command.opts() }
}

function commonOf(command: Command): CommonOptions {
  const given: Partial<CommonOptions> = {}
  for (let one: Command | null = command; one !== null; one = one.parent) {
    const { conf, state, context, output } = one.opts<Partial<CommonOptions>>()
    Object.assign(given, { conf: given.conf ?? conf, state: given.state ?? state, output: given.output ?? output })
    Object.assign(given, { context: given.context ?? context })
  }
  return { conf: given.conf, state: given.state, context: given.context, output: given.output ?? 'text' }
}
