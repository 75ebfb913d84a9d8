/**
 * `qmq nats keys`, `qmq nats config`: what nats-servers need to know of this cluster. Both go by conf-qmq alone, change nothing that
 * runs, and may be repeated at any time.
 */

import type { Layout, NatsSpec } from '../../contract/layout.ts'
import { compile } from '../../control/layout/compile.ts'
import { below } from '../../runtime/open-coordination.ts'
import { natsClients, natsConfiguration } from '../nats-configuration.ts'
import { ensureClusterPassword, ensureNatsKeys, readNatsKeys } from '../nats-keys.ts'
import { readConfFile } from '../prepare-state.ts'
import { textTable } from '../text-table.ts'
import { type Context, type ExitCode, type Input, textOption, type Verb } from '../verb.ts'

const keysVerb: Verb = {
  name: 'nats keys',
  summary: 'make the key of each process, where it is missing',
  run: keys,
}

const configVerb: Verb = {
  name: 'nats config',
  summary: 'print the configuration of a nats-server',
  options: [
    ['--cluster-of <count>', 'for one of so many servers, those that conf-qmq names first'],
    ['--node <number>', 'which of them, from 1; default 1'],
    ['--tls [dir]', 'with TLS: server.pem, server.key and ca.pem in this directory; default /etc/nats/tls'],
    ['--store <dir>', 'where the server keeps its records; default /var/lib/nats'],
    ['--sync-always', 'each record is on disk before it is acknowledged; for servers from 2.10 on'],
  ],
  run: config,
}

export const natsVerbs: readonly Verb[] = [keysVerb, configVerb]

const serversMax = 9

async function keys(context: Context): Promise<ExitCode> {
  const found = plan(context)
  if (found === undefined) return 2
  const made = await ensureNatsKeys(context, found.spec, natsClients(found.layout))
  const directory = below(context.state, found.spec.credentials)
  if (context.output === 'json') {
    const list = made.map(({ client, publicKey, isNew }) => ({ ...client, publicKey, made: isNew }))
    context.print(JSON.stringify({ directory, keys: list }))
    return 0
  }
  const rows = made.map(({ client, publicKey, isNew }) => [
    client.name,
    client.role,
    publicKey,
    isNew ? 'made' : 'kept',
  ])
  context.print(`${textTable(['CLIENT', 'ROLE', 'PUBLIC KEY', ''], rows)}\n\nThe seeds are in ${directory}.`)
  return 0
}

async function config(context: Context, input: Input): Promise<ExitCode> {
  const found = plan(context)
  if (found === undefined) return 2
  const { layout, spec } = found
  const count = numberOf(input, 'clusterOf')
  const number = numberOf(input, 'node') ?? 1
  const why = refusal(spec, count, number)
  if (why !== undefined) {
    context.complain(why)
    return 2
  }
  const users = await readNatsKeys(context, spec, natsClients(layout))
  const tls = input.options['tls']
  const tlsDirectory =
    typeof tls === 'string' ? tls : tls === true || spec.tls !== undefined ? '/etc/nats/tls' : undefined
  const storeDirectory = textOption(input, 'store') ?? '/var/lib/nats'
  const password = count === undefined ? '' : await ensureClusterPassword(context, spec)
  const node = count === undefined ? {} : { node: { number, count, password } }
  const store = { storeDirectory, syncAlways: input.options['syncAlways'] === true }
  context.print(natsConfiguration({ cluster: layout.cluster, spec, users, ...store, tlsDirectory, ...node }).trimEnd())
  return 0
}

/** NaN where it was given and is no number. */
function numberOf(input: Input, name: string): number | undefined {
  const text = textOption(input, name)
  if (text === undefined) return undefined
  return /^[1-9]\d{0,2}$/.test(text) ? Number(text) : Number.NaN
}

function refusal(spec: NatsSpec, count: number | undefined, number: number): string | undefined {
  const named = spec.servers.length
  if (count !== undefined && !(count >= 2 && count <= serversMax))
    return `--cluster-of takes a number from 2 to ${serversMax}`
  if (count !== undefined && count > named)
    return `conf-qmq names ${named} of ${count} servers: name them all there first`
  const most = count ?? named
  return number >= 1 && number <= most ? undefined : `--node takes a number from 1 to ${most}`
}

function plan(context: Context): { readonly layout: Layout; readonly spec: NatsSpec } | undefined {
  const file = readConfFile(context.confFile)
  if (file.kind === 'wrong') {
    for (const problem of file.problems) context.complain(problem)
    return undefined
  }
  const layout = compile(file.conf, 1)
  if (layout.coordination !== undefined) return { layout, spec: layout.coordination }
  context.complain(`${context.confFile} names no servers: write coordination: nats://HOST:PORT`)
  return undefined
}
