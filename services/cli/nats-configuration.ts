/**
 * The configuration of a nats-server for this cluster, as `qmq nats config` prints it: JetStream, one user per process with exactly its
 * rights, and the other servers of a cluster. Understood by servers from 2.9 on. Pure.
 *
 * Rights say where a client may publish, not where it may have an answer sent: a server sends it to whichever subject the question
 * names, and that could be somebody else's key. So the store is in an account of its own. What clients publish is carried over there;
 * what is answered from there is carried back, and no further.
 *
 * Users are written for every id a pool may ever run, so that scaling changes nothing here. They are public keys: who reads this
 * file can log in as nobody, but for the password by which the servers of a cluster know each other.
 */

import type { Layout, NatsSpec } from '../contract/layout.ts'
import { changeSubject, storeServices } from '../runtime/nats-buckets.ts'
import { type NatsRole, rightsOf } from '../runtime/nats-rights.ts'
import { instanceId } from '../settings/instance-ids.ts'
import { ipBytes } from '../settings/network.ts'

export interface NatsClient {
  readonly name: string
  readonly role: NatsRole
}

export interface NatsConfigurationParts {
  readonly cluster: string
  readonly spec: NatsSpec
  readonly users: readonly { readonly client: NatsClient; readonly publicKey: string }[]
  readonly storeDirectory: string
  /** Servers before 2.10 refuse a configuration that says so. */
  readonly syncAlways: boolean
  /** Directory with server.pem, server.key and ca.pem. */
  readonly tlsDirectory: string | undefined
  /** This server among those of a cluster, from 1; absent where it is alone. */
  readonly node?: { readonly number: number; readonly count: number; readonly password: string }
}

/** From a client's port to the one servers use among themselves. */
const clusterPortOffset = 2000
/** A host that starts all its processes at once needs longer than a server's own two seconds. */
const loginSecondsMax = 15

/** In the order of the layout; those last that are no instances. */
export function natsClients(layout: Layout): readonly NatsClient[] {
  const ids = layout.pools.flatMap(({ ids }) => ids.map(instanceId)).toSorted()
  return [
    ...layout.edges.map(({ id }) => ({ name: id, role: 'tier' as const })),
    ...ids.map((name) => ({ name, role: 'tier' as const })),
    ...layout.control.map(({ id }) => ({ name: id, role: 'control' as const })),
    ...(['up', 'operator', 'viewer'] as const).map((name) => ({ name, role: name })),
  ]
}

export function natsConfiguration(parts: NatsConfigurationParts): string {
  const { cluster, spec, users, storeDirectory, syncAlways, tlsDirectory, node } = parts
  const { host, port } = serverAddress(spec, node?.number ?? 1)
  const sync = syncAlways ? ', sync_interval: always' : ''
  return [
    `# nats-server of the mail cluster ${cluster}. Made by \`qmq nats config\`: change conf-qmq and make it again.`,
    `server_name: ${quoted(node === undefined ? cluster : `${cluster}-${node.number}`)}`,
    `listen: ${quoted(`${host}:${port}`)}`,
    `jetstream { store_dir: ${quoted(storeDirectory)}, max_memory_store: 64MB, max_file_store: 1GB${sync} }`,
    ...(tlsDirectory === undefined ? [] : tlsLines(tlsDirectory, '')),
    `authorization { timeout: ${loginSecondsMax} }`,
    ...(node === undefined ? [] : clusterLines(parts, node)),
    'accounts {',
    '  # Nobody is in it: what clients may do with the store is what comes in from below.',
    '  STORE {',
    '    jetstream: enabled',
    ...lines('exports', [
      ...storeServices.map(({ subject }) => `{ service: ${quoted(subject)} }`),
      `{ stream: ${quoted(changeSubject())} }`,
    ]),
    '  }',
    '  QMQ {',
    '    users: [',
    ...users.flatMap(({ client, publicKey }) => userLines(client, publicKey)),
    '    ]',
    ...lines('imports', [
      ...storeServices.map(({ subject, as }) => `{ service: ${fromStore(subject)}, to: ${quoted(as)} }`),
      `{ stream: ${fromStore(changeSubject())} }`,
    ]),
    '  }',
    '  SYS { users: [] }',
    '}',
    'system_account: SYS',
    '',
  ].join('\n')
}

function userLines(client: NatsClient, publicKey: string): readonly string[] {
  const { publish, subscribe } = rightsOf(client.role, client.name)
  return [
    `      # ${client.name}`,
    `      { nkey: ${publicKey}, permissions: {`,
    `        publish: { allow: ${list(publish)} }`,
    `        subscribe: { allow: ${list(subscribe)} }`,
    '      } }',
  ]
}

function lines(name: string, items: readonly string[]): readonly string[] {
  return [`    ${name}: [`, ...items.map((item) => `      ${item}`), '    ]']
}

function fromStore(subject: string): string {
  return `{ account: STORE, subject: ${quoted(subject)} }`
}

function clusterLines(parts: NatsConfigurationParts, node: NonNullable<NatsConfigurationParts['node']>): string[] {
  const { cluster, spec, tlsDirectory } = parts
  const own = serverAddress(spec, node.number)
  const login = `qmq:${node.password}@`
  const routes = Array.from({ length: node.count }, (_, index) => splitAddress(spec.servers[index] ?? '')).map(
    ({ host, port }) => `nats://${login}${host}:${port + clusterPortOffset}`,
  )
  return [
    'cluster {',
    `  name: ${quoted(cluster)}`,
    `  listen: ${quoted(`${own.host}:${own.port + clusterPortOffset}`)}`,
    `  authorization { user: qmq, password: ${quoted(node.password)}, timeout: 2 }`,
    ...(tlsDirectory === undefined ? [] : tlsLines(tlsDirectory, '  ')),
    `  routes: ${list(routes)}`,
    '}',
  ]
}

function tlsLines(directory: string, indent: string): readonly string[] {
  const files = `cert_file: ${quoted(`${directory}/server.pem`)}, key_file: ${quoted(`${directory}/server.key`)}`
  return [`${indent}tls { ${files}, ca_file: ${quoted(`${directory}/ca.pem`)}, timeout: ${loginSecondsMax} }`]
}

/** Where it listens: a name stands for whatever addresses its host has. */
function serverAddress(spec: NatsSpec, number: number): { readonly host: string; readonly port: number } {
  const { host, port } = splitAddress(spec.servers[number - 1] ?? '')
  return { host: ipBytes(host.replace(/^\[|\]$/g, '')) === undefined ? '0.0.0.0' : host, port }
}

/** The host keeps its brackets. */
function splitAddress(server: string): { readonly host: string; readonly port: number } {
  const colon = server.lastIndexOf(':')
  return { host: server.slice(0, colon), port: Number(server.slice(colon + 1)) }
}

function list(values: readonly string[]): string {
  return `[${values.map(quoted).join(', ')}]`
}

function quoted(text: string): string {
  return JSON.stringify(text)
}
