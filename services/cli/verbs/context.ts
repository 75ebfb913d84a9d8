/** `qmq context add|use|ls|rm`: clusters on other hosts, by name. `qmq context use ""` goes back to the state directory. */

import path from 'node:path'
import { addressOf, type Contexts, contextNamePattern, readContexts, writeContexts } from '../contexts.ts'
import { textTable } from '../text-table.ts'
import { type Context, type ExitCode, type Input, textOption, type Verb } from '../verb.ts'

export const contextVerbs: readonly Verb[] = [
  {
    name: 'context add',
    summary: 'name a cluster: its control address, and our credentials',
    arguments: '<name>',
    placeless: true,
    options: [
      ['--address <host:port>', 'where a control process serves'],
      ['--ca <file>', 'the authority of the cluster, PEM'],
      ['--cert <file>', 'our certificate, PEM'],
      ['--key <file>', 'its key, PEM'],
    ],
    run: withFile(add),
  },
  {
    name: 'context use',
    summary: 'speak to this cluster from now on',
    arguments: '<name>',
    placeless: true,
    run: withFile(use),
  },
  { name: 'context ls', summary: 'list the clusters that have a name', placeless: true, run: withFile(list) },
  { name: 'context rm', summary: 'forget a cluster', arguments: '<name>', placeless: true, run: withFile(remove) },
]

interface Parts {
  readonly context: Context
  readonly file: string
  readonly known: Contexts
  readonly name: string
  readonly input: Input
}

function withFile(run: (parts: Parts) => Promise<ExitCode> | ExitCode): Verb['run'] {
  return async (context, input) => {
    const { contextsFile: file } = context
    if (file === undefined) {
      context.complain('there is no home directory to keep contexts in: set HOME or XDG_CONFIG_HOME')
      return 1
    }
    return await run({ context, file, known: await readContexts(file), name: input.words[0] ?? '', input })
  }
}

async function add({ context, file, known, name, input }: Parts): Promise<ExitCode> {
  const address = addressOf(textOption(input, 'address') ?? '')
  const [ca, certificate, key] = ['ca', 'cert', 'key'].map((option) => textOption(input, option))
  if (!contextNamePattern.test(name)) context.complain(`${name} is no name: letters, digits, dots and dashes`)
  else if (address === undefined) context.complain('--address is HOST:PORT')
  else if (ca === undefined || certificate === undefined || key === undefined) {
    context.complain('--ca, --cert and --key each name a file: qmq ca issue makes them')
  } else {
    const files = { ca: path.resolve(ca), certificate: path.resolve(certificate), key: path.resolve(key) }
    const others = known.clusters.filter((cluster) => cluster.name !== name)
    await writeContexts(file, { ...known, clusters: [...others, { name, ...address, ...files }] })
    context.print(context.output === 'json' ? JSON.stringify({ name, ...address, ...files }) : `${name} is in ${file}`)
    return 0
  }
  return 2
}

async function use({ context, file, known, name }: Parts): Promise<ExitCode> {
  if (name !== '' && !known.clusters.some((cluster) => cluster.name === name)) return unknown(context, known, name)
  await writeContexts(file, { ...known, current: name })
  return 0
}

function list({ context, known }: Parts): ExitCode {
  const rows = known.clusters.map((cluster) => ({ ...cluster, current: cluster.name === known.current }))
  if (context.output === 'json') context.print(JSON.stringify(rows))
  else {
    const cells = rows.map(({ name, host, port, certificate, current }) => [
      current ? '*' : '',
      name,
      `${host}:${port}`,
      certificate,
    ])
    context.print(textTable(['', 'NAME', 'ADDRESS', 'CERTIFICATE'], cells))
  }
  return 0
}

async function remove({ context, file, known, name }: Parts): Promise<ExitCode> {
  if (!known.clusters.some((cluster) => cluster.name === name)) return unknown(context, known, name)
  const clusters = known.clusters.filter((cluster) => cluster.name !== name)
  await writeContexts(file, { current: known.current === name ? '' : known.current, clusters })
  return 0
}

function unknown(context: Context, { clusters }: Contexts, name: string): ExitCode {
  const names = clusters.map((cluster) => cluster.name).join(', ')
  context.complain(
    `there is no context ${name}${names === '' ? '; qmq context add makes one' : `; there are ${names}`}`,
  )
  return 2
}
