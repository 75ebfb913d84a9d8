/**
 * The reader of conf-qmq: text in, a frozen and fully checked record out, or every problem at once with its line.
 *
 * Pure: the caller reads the file. Nothing is guessed: unknown keys, numbers without unit and contradictions are problems.
 * `notes` are lawful settings that need something from the machine, such as the right to use ports below 1024.
 */

import type { ClusterLimit, DeliverSpec, ListenerKind, NatsSpec, Role, SharedStateSpec } from '../contract/layout.ts'
import type { Conf, EdgeConf, PoolConf } from './conf.ts'
import { checkConf, type Draft } from './conf-checks.ts'
import { explainIssue, type Problem, type SchemaIssue } from './conf-problem.ts'
import {
  type CoordinationInput,
  coordinationSchema,
  coordinationWordSchema,
  type EdgeInput,
  edgeSchema,
  type FrameInput,
  frameSchema,
  type PoolInput,
  poolSchema,
  type SharedStateInput,
  sharedStateSchema,
} from './conf-schema.ts'
import { deepFreeze } from './deep-freeze.ts'
import { poolLimitTable } from './limits.ts'
import type { NatsServers } from './nats-servers.ts'
import { readDomain, readHost } from './network.ts'
import { readSharedStateServer } from './shared-state-server.ts'
import { type KeyPath, readYaml, type YamlDocument } from './yaml-document.ts'

export type ConfReading =
  | { readonly ok: true; readonly conf: Conf; readonly notes: readonly Problem[] }
  | { readonly ok: false; readonly problems: readonly Problem[] }

/** `file` is the name to put into problems. */
export function readConf(text: string, file = 'conf-qmq'): ConfReading {
  const yaml = readYaml(text)
  if (!yaml.ok) {
    const problems = yaml.problems.map((problem) => ({ ...problem, file, path: problem.path.join('.') }))
    return { ok: false, problems }
  }
  const reader = new ConfReader(yaml.document, file)
  return reader.read()
}

class ConfReader {
  readonly #document: YamlDocument
  readonly #file: string
  readonly #problems: Problem[] = []
  readonly #notes: Problem[] = []

  constructor(document: YamlDocument, file: string) {
    this.#document = document
    this.#file = file
  }

  read(): ConfReading {
    const frame = this.#parse<FrameInput>(frameSchema, this.#document.value ?? Object.create(null), [])
    const document = this.#document.value
    const sections: Sections = isSection(document) ? document : {}
    const coordination = this.#coordination(sections.coordination)
    const edge = this.#edge(sections.edge)
    const pools = this.#pools(sections.pools)
    const sharedState = this.#sharedState(sections['shared-state'])
    const clusterLimits = this.#clusterLimits(frame?.['cluster-limits'] ?? {})
    const draft: Draft = { ...frame, edge, ...pools }
    checkConf(draft, {
      problem: (path, of, message, remedy) => this.#add(this.#problems, path, of, message, remedy),
      note: (path, of, message, remedy) => this.#add(this.#notes, path, of, message, remedy),
    })
    const isWhole = edge !== undefined && coordination !== undefined && sharedState !== undefined
    if (frame === undefined || !isWhole || this.#problems.length > 0) {
      return { ok: false, problems: this.#problems.toSorted((a, b) => a.line - b.line || a.column - b.column) }
    }
    const { version, cluster } = frame
    const basePort = frame['base-port']
    const words = { version, cluster, coordination, sharedState, clusterLimits, control: frame.control }
    const ports = { basePort, handoverBasePort: frame['handover-base-port'] ?? basePort + 100 }
    return { ok: true, conf: deepFreeze({ ...words, ...ports, edge, pools: pools.pools }), notes: this.#notes }
  }

  #coordination(input: unknown): Conf['coordination'] | undefined {
    const path = ['coordination']
    if (input === undefined) return 'embedded'
    if (!isSection(input)) {
      const word = this.#parse<'embedded' | NatsServers>(coordinationWordSchema, input, path)
      return word === undefined || word === 'embedded' ? word : natsConf({ servers: word, credentials: 'keys/nats' })
    }
    const section = this.#parse<CoordinationInput>(coordinationSchema, input, path)
    if (section?.tls !== undefined && (section.tls.certificate === undefined) !== (section.tls.key === undefined)) {
      const remedy = 'write certificate: and key:, or neither'
      this.#add(this.#problems, [...path, 'tls'], 'key', 'a certificate is of no use without its key', remedy)
    }
    return section === undefined ? undefined : natsConf(section)
  }

  #clusterLimits(input: FrameInput['cluster-limits']): readonly ClusterLimit[] {
    const limits = new Map<string, ClusterLimit>()
    for (const [written, { concurrency, rate }] of Object.entries(input)) {
      const say = (message: string, remedy: string) =>
        this.#add(this.#problems, ['cluster-limits', written], 'key', message, remedy)
      const host = readHost(written)
      if (!host.ok) say(host.message, host.remedy)
      else if (limits.has(host.value)) say(`${host.value} is written twice`, 'keep one')
      else if (concurrency === undefined && rate === undefined) {
        say('this limits nothing', 'add concurrency: or rate:, such as { concurrency: 50, rate: 100/s }')
      } else {
        const given = { ...(concurrency === undefined ? {} : { concurrency }), ...(rate === undefined ? {} : { rate }) }
        limits.set(host.value, { destination: host.value, ...given })
      }
    }
    return [...limits.values()]
  }

  #edge(input: unknown): EdgeConf | undefined {
    if (input === undefined) {
      this.#add(this.#problems, ['edge'], 'key', 'the edge is missing', 'add edge: with listen: { smtp: 2525 }')
      return undefined
    }
    const edge = this.#parse<EdgeInput>(edgeSchema, input, ['edge'])
    return edge === undefined ? undefined : edgeConf(edge)
  }

  #sharedState(input: unknown): 'embedded' | SharedStateSpec | undefined {
    if (input === undefined || input === 'embedded') return 'embedded'
    const path = ['shared-state']
    const alone = isSection(input) ? undefined : readSharedStateServer(input)
    if (alone?.ok === false) {
      this.#add(this.#problems, path, 'value', alone.message, alone.remedy)
      return undefined
    }
    const read = this.#parse<SharedStateInput>(sharedStateSchema, alone === undefined ? input : { server: input }, path)
    if (read === undefined) return undefined
    for (const { at, message, remedy } of sharedStateContradictions(read)) {
      this.#add(this.#problems, [...path, ...at], 'key', message, remedy)
    }
    return sharedStateSpec(read)
  }

  #pools(input: unknown): { pools: PoolConf[]; poolsComplete: boolean } {
    if (!isSection(input) || Object.keys(input).length === 0) {
      this.#add(
        this.#problems,
        ['pools'],
        'key',
        'there are no pools',
        'add at least a pool of role bounce below pools:',
      )
      return { pools: [], poolsComplete: false }
    }
    const pools: PoolConf[] = []
    for (const [name, section] of Object.entries(input)) {
      const path = ['pools', name]
      if (!/^[A-Za-z][A-Za-z0-9_-]{0,31}$/.test(name)) {
        this.#add(
          this.#problems,
          path,
          'key',
          'this is not a name for a pool',
          'write letters, digits, _ and -, at most 32',
        )
        continue
      }
      const pool = this.#parse<PoolInput>(poolSchema, section ?? {}, path)
      const conf = pool === undefined ? undefined : this.#pool(name, pool)
      if (conf !== undefined) pools.push(conf)
    }
    return { pools, poolsComplete: pools.length === Object.keys(input).length }
  }

  #pool(name: string, pool: PoolInput): PoolConf | undefined {
    const deliver = pool.deliver ?? standardDeliver(pool.role)
    const nextHops: { key: string; deliver: DeliverSpec }[] = []
    for (const [written, hop] of Object.entries(pool['next-hops'])) {
      const key = readDomain(written)
      const path = ['pools', name, 'next-hops', written]
      if (key.ok) nextHops.push({ key: key.value, deliver: hop })
      else this.#add(this.#problems, path, 'key', key.message, key.remedy)
    }
    if (deliver === undefined) {
      const remedy = 'add deliver: with maildir, mx, hold, smtp:HOST:PORT or qmtp:HOST:PORT'
      this.#add(this.#problems, ['pools', name], 'key', 'a customer pool does not say where its mail goes', remedy)
      return undefined
    }
    return poolConf(name, pool, deliver, nextHops)
  }

  #parse<Value>(schema: Parser, input: unknown, path: KeyPath): Value | undefined {
    const result = schema.safeParse(input)
    if (result.success) return result.data as Value
    for (const issue of result.error?.issues ?? []) {
      for (const found of explainIssue(issue, path)) {
        this.#add(this.#problems, found.path, found.of, found.message, found.remedy)
      }
    }
    return undefined
  }

  #add(to: Problem[], path: KeyPath, of: 'key' | 'value', message: string, remedy: string): void {
    to.push({ file: this.#file, ...this.#document.positionOf(path, of), path: path.join('.'), message, remedy })
  }
}

interface Sections {
  readonly coordination?: unknown
  readonly edge?: unknown
  readonly pools?: unknown
  readonly 'shared-state'?: unknown
}

interface Parser {
  safeParse(input: unknown): {
    success: boolean
    data?: unknown
    error?: { issues: readonly SchemaIssue[] } | undefined
  }
}

function standardDeliver(role: Role): DeliverSpec | undefined {
  if (role === 'internal') return { kind: 'maildir' }
  return role === 'customer' ? undefined : { kind: 'mx' }
}

function natsConf({ servers: named, credentials, tls, replicas }: CoordinationInput): NatsSpec {
  const { servers, isSecure, user } = named
  const { ca, certificate, key } = tls ?? {}
  const files = {
    ...(ca === undefined ? {} : { caFile: ca }),
    ...(certificate === undefined ? {} : { certificateFile: certificate }),
    ...(key === undefined ? {} : { keyFile: key }),
  }
  return {
    ...{ servers, credentials },
    ...(user === undefined ? {} : { user }),
    ...(isSecure || tls !== undefined ? { tls: files } : {}),
    ...(replicas === undefined ? {} : { replicas }),
  }
}

function edgeConf(edge: EdgeInput): EdgeConf {
  const kinds: readonly ListenerKind[] = ['smtp', 'submission', 'smtps']
  const listen = kinds.flatMap((kind) => {
    const port = edge.listen[kind]
    return port === undefined ? [] : [{ kind, port }]
  })
  const tls = edge.tls === undefined ? {} : { tls: { certificateFile: edge.tls.certificate, keyFile: edge.tls.key } }
  const { count, host, rcpthosts, limits, handoff } = edge
  return { count, host, listen, relayFrom: edge['relay-from'], rcpthosts, ...tls, limits, handoff }
}

function sharedStateContradictions({ server, tls, user, 'password-file': passwordFile }: SharedStateInput) {
  const found: { at: KeyPath; message: string; remedy: string }[] = []
  const say = (at: KeyPath, message: string, remedy: string) => found.push({ at, message, remedy })
  if (tls !== undefined && !server.secure) say(['tls'], 'redis:// does not use TLS', 'write server: rediss://...')
  if ((tls?.certificate === undefined) !== (tls?.key === undefined)) {
    say(['tls'], 'certificate and key go together', 'write both or none')
  }
  if (user !== undefined && passwordFile === undefined) {
    say(['user'], 'a user needs a password', 'add password-file: with the name of a file')
  }
  return found
}

function sharedStateSpec({
  server,
  user,
  'password-file': passwordFile,
  tls,
  deadline,
}: SharedStateInput): SharedStateSpec {
  const { host, port, database, secure } = server
  const files = {
    ...(tls?.ca === undefined ? {} : { caFile: tls.ca }),
    ...(tls?.certificate === undefined ? {} : { certificateFile: tls.certificate }),
    ...(tls?.key === undefined ? {} : { keyFile: tls.key }),
  }
  return {
    ...{ host, port, database },
    ...(user === undefined ? {} : { user }),
    ...(passwordFile === undefined ? {} : { passwordFile }),
    ...(secure ? { tls: files } : {}),
    deadlineMs: deadline,
  }
}

function poolConf(name: string, pool: PoolInput, deliver: DeliverSpec, nextHops: PoolConf['nextHops']): PoolConf {
  const { ids, role, count, domains, mailboxes, address, concurrency } = pool
  const perDestination = poolLimitTable.concurrencyPerDestination.standard
  return {
    ...{ name, ids, role, count, domains, deliver, mailboxes, nextHops, address },
    ...(pool['source-address'] === undefined ? {} : { sourceAddress: pool['source-address'] }),
    acceptFrom: pool['accept-from'],
    ...(pool.sla === undefined ? {} : { slaMs: pool.sla }),
    lifetimeMs: pool.lifetime,
    concurrency,
    concurrencyPerDestination:
      pool['concurrency-per-destination'] ?? Math.min(perDestination, Math.max(1, concurrency)),
    messageBytesMax: pool['message-size'],
    bounceFormat: pool['bounce-format'],
    bounceBytesMax: pool['bounce-size'],
    ...(pool['double-bounce-to'] === undefined ? {} : { doubleBounceTo: pool['double-bounce-to'] }),
  }
}

function isSection(value: unknown): value is { readonly [key: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
