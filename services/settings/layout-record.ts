/**
 * The reader of a compiled layout, from a disk or from another process: the contract's `Layout`, verified whole and frozen,
 * or one sentence saying why it is refused. A layout of another version, with an unknown field, or that names a pool it
 * does not have is refused; the tier then keeps the last one it verified.
 */

import { z } from 'zod'
import { type EdgeLimits, type HandoffLimits, type Layout, layoutVersion } from '../contract/layout.ts'
import { transactionIdPattern } from '../contract/transaction-id.ts'
import { deepFreeze } from './deep-freeze.ts'
import { edgeLimitTable, handoffLimitTable, type Limit } from './limits.ts'
import { readAddress, readDomain, readHost, readHostName, readMailAddress, readNetwork } from './network.ts'
import { type Reading, shown } from './reading.ts'

export type LayoutReading =
  | { readonly ok: true; readonly layout: Layout }
  | { readonly ok: false; readonly why: string }

/** Text that the reader takes and would write the same way. */
function written(reader: (input: unknown) => Reading<string>) {
  return z.string().refine((value) => {
    const reading = reader(value)
    return reading.ok && reading.value === value
  })
}

/** The bounds of a limit are conf-qmq's business: a layout of yesterday stays lawful when they change. */
const amount = z.int().min(0)

function limits<Limits extends object>(table: { readonly [Name in keyof Limits]-?: Limit }) {
  const shape = Object.fromEntries(Object.keys(table).map((name) => [name, amount]))
  return z.strictObject(shape) as unknown as z.ZodType<Limits>
}

const host = written(readHost)
const address = written(readAddress)
const network = written(readNetwork)
const domain = written(readDomain)
const port = z.int().min(1).max(65_535)
const poolName = z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,31}$/)
const role = z.enum(['internal', 'customer', 'internet', 'bounce', 'backup'])
/** Relative, and never upwards. */
const home = z.string().regex(/^(?:[A-Za-z0-9_-]+\/)*[A-Za-z0-9_-]+$/)
const file = z.string().regex(/^[^\u0000\n]{1,1024}$/)

const deliver = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('maildir') }),
  z.strictObject({ kind: z.literal('mx') }),
  z.strictObject({ kind: z.literal('hold') }),
  z.strictObject({ kind: z.literal('smtp'), host, port }),
  z.strictObject({ kind: z.literal('qmtp'), host, port }),
])

const control = z.strictObject({ id: z.string().regex(/^c[1-9]$/), home, host: address, port })

const edge = z.strictObject({
  id: z.string().regex(/^e[1-9][0-9]{0,2}$/),
  home,
  listeners: z.array(z.strictObject({ kind: z.enum(['smtp', 'submission', 'smtps']), host: address, port })).min(1),
  relayFrom: z.array(network),
  rcpthosts: z.array(domain),
  tls: z.strictObject({ certificateFile: file, keyFile: file }).exactOptional(),
  limits: limits<EdgeLimits>(edgeLimitTable),
  handoff: limits<HandoffLimits>(handoffLimitTable),
})

const pool = z.strictObject({
  name: poolName,
  role,
  ids: z.array(z.int().min(0).max(999)),
  domains: z.array(domain),
  deliver,
  mailboxes: z.array(written(readMailAddress)),
  nextHops: z.array(z.strictObject({ key: z.union([z.literal(''), domain]), deliver })),
  slaMs: amount.min(1).exactOptional(),
  lifetimeMs: amount,
  concurrency: amount,
  concurrencyPerDestination: amount,
  messageBytesMax: amount,
  bounceFormat: z.enum(['qsbmf', 'dsn']),
  bounceBytesMax: amount,
  doubleBounceTo: written(readMailAddress),
})

const instanceId = z.string().regex(/^[0-9]{2,3}$/)
const words = z.string().max(1024)

const plan = z.strictObject({
  id: z.string().regex(transactionIdPattern),
  pool: poolName,
  from: amount,
  to: amount,
  leaving: z.array(instanceId).min(1),
  targets: z.array(instanceId),
  state: z.enum(['running', 'cancelling']),
  force: z.boolean(),
  keep: z.boolean(),
  by: words,
  reason: words,
  startedAt: amount,
  cordonEpoch: amount,
})

const instance = z.strictObject({
  id: instanceId,
  number: z.int().min(0).max(999),
  pool: poolName,
  role,
  host: address,
  port,
  handoverPort: port,
  standing: z.enum(['active', 'cordoned', 'draining', 'sealed', 'parked']),
  sourceAddress: address.exactOptional(),
  home,
  acceptFrom: z.array(network),
})

const tlsFiles = z.strictObject({
  caFile: file.exactOptional(),
  certificateFile: file.exactOptional(),
  keyFile: file.exactOptional(),
})

const nats = z.strictObject({
  servers: z.array(z.string().regex(/^(?:\[[0-9a-f:.]+\]|[a-z0-9_.-]+):[0-9]{1,5}$/)).min(1),
  credentials: file,
  user: z
    .string()
    .regex(/^[A-Za-z0-9_.-]{1,64}$/)
    .exactOptional(),
  tls: tlsFiles.exactOptional(),
  replicas: z.int().min(1).max(5).exactOptional(),
})

const sharedState = z.strictObject({
  host,
  port,
  database: amount,
  user: z
    .string()
    .regex(/^[\x21-\x7e]{1,64}$/)
    .exactOptional(),
  passwordFile: file.exactOptional(),
  tls: tlsFiles.exactOptional(),
  deadlineMs: amount.min(1),
})

const clusterLimit = z.strictObject({
  destination: host,
  concurrency: amount.min(1).exactOptional(),
  rate: z.strictObject({ events: amount.min(1), perMs: amount.min(1) }).exactOptional(),
})

const layoutSchema = z.strictObject({
  version: z.literal(layoutVersion),
  epoch: z.int().min(1),
  fence: amount,
  cluster: written(readHostName),
  coordination: nats.exactOptional(),
  control: z.array(control),
  edges: z.array(edge),
  pools: z.array(pool).min(1),
  instances: z.array(instance),
  routes: z.array(z.strictObject({ key: z.union([z.literal(''), z.literal('!@'), domain]), pool: poolName })),
  scaled: z.array(z.strictObject({ pool: poolName, count: amount, fileCount: amount })),
  plans: z.array(plan),
  sharedState: sharedState.exactOptional(),
  clusterLimits: z.array(clusterLimit).exactOptional(),
}) satisfies z.ZodType<Layout>

/** Never throws, whatever it is given. */
export function readLayout(json: unknown): LayoutReading {
  const version = typeof json === 'object' && json !== null ? (json as { version?: unknown }).version : undefined
  if (version !== layoutVersion) {
    return { ok: false, why: `the layout has version ${shown(version)}, this program reads version ${layoutVersion}` }
  }
  const result = layoutSchema.safeParse(json)
  if (!result.success) {
    const issue = result.error.issues[0]
    return {
      ok: false,
      why: `the layout is damaged at ${issue?.path.join('.') || 'its top'}: ${issue?.message ?? 'unknown'}`,
    }
  }
  const layout: Layout = result.data
  const why = contradiction(layout)
  return why === undefined ? { ok: true, layout: deepFreeze(layout) } : { ok: false, why }
}

/** What a lawful layout cannot contain, though each field by itself may be right. */
function contradiction(layout: Layout): string | undefined {
  const pools = new Map(layout.pools.map((candidate) => [candidate.name, candidate]))
  if (pools.size !== layout.pools.length) return 'the layout has two pools of one name'
  const places = [...layout.instances, ...layout.edges, ...layout.control]
  for (const field of ['id', 'home'] as const) {
    const repeated = firstRepeated(places.map((place) => place[field]))
    if (repeated !== undefined) return `the layout has two places with the ${field} ${repeated}`
  }
  const limited = firstRepeated((layout.clusterLimits ?? []).map(({ destination }) => destination))
  if (limited !== undefined) return `the layout limits ${limited} twice`
  const socket = firstRepeated(layout.instances.map(({ host, port }) => `${host}:${port}`))
  if (socket !== undefined) return `two instances of the layout listen on ${socket}`
  for (const { id, number, pool, role } of layout.instances) {
    if (Number(id) !== number) return `instance ${id} of the layout says it is number ${number}`
    if (pools.get(pool)?.role !== role)
      return `instance ${id} of the layout is of pool ${pool}, which is not there in that role`
  }
  for (const { key, pool } of layout.routes) {
    if (!pools.has(pool))
      return `the layout routes ${key === '' ? 'everything else' : key} to ${pool}, which is no pool`
  }
  const confused = planContradiction(layout)
  if (confused !== undefined) return confused
  const key = firstRepeated(layout.routes.map((route) => route.key))
  return key === undefined ? undefined : `the layout has two routes for ${key === '' ? 'everything else' : key}`
}

function planContradiction(layout: Layout): string | undefined {
  const ids = new Set(layout.instances.map(({ id }) => id))
  for (const plan of layout.plans) {
    const unknown = [...plan.leaving, ...plan.targets].find((id) => !ids.has(id))
    if (unknown !== undefined) return `plan ${plan.id} of the layout names instance ${unknown}, which is not there`
    const both = plan.leaving.find((id) => plan.targets.includes(id))
    if (both !== undefined) return `plan ${plan.id} of the layout hands instance ${both} over to itself`
  }
  const twice = firstRepeated(layout.plans.flatMap(({ leaving }) => leaving))
  if (twice !== undefined) return `two plans of the layout drain instance ${twice}`
  const pool = firstRepeated(layout.plans.map((plan) => plan.pool))
  return pool === undefined ? undefined : `the layout has two plans for pool ${pool}`
}

function firstRepeated(values: readonly string[]): string | undefined {
  const seen = new Set<string>()
  return values.find((value) => seen.size === seen.add(value).size)
}
