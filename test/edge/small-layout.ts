/** A layout for edge tests: two instances for one customer, one for another, a default route, a backup. */

import type {
  EdgeLimits,
  HandoffLimits,
  InstanceSpec,
  Layout,
  PoolSpec,
  Role,
  SharedStateSpec,
} from '../../services/contract/layout.ts'

export const edgeLimits: EdgeLimits = {
  messageBytesMax: 1_000_000,
  recipientsPerMessageMax: 100,
  commandLineBytesMax: 1024,
  textLineBytesMax: 2000,
  headerBytesMax: 20_000,
  hopsMax: 30,
  connectionsMax: 100,
  connectionsPerClientMax: 50,
  connectionsPerClientClusterMax: 0,
  messagesPerNetworkClusterMax: 0,
  messagesPerNetworkWindowMs: 3_600_000,
  messagesPerConnectionMax: 1000,
  commandsWithoutMailMax: 50,
  errorsPerConnectionMax: 10,
  handshakeTimeoutMs: 5000,
  commandTimeoutMs: 5000,
  dataTimeoutMs: 5000,
  sessionTimeoutMs: 60_000,
  bufferedBytesMax: 10_000_000,
}

export const handoffLimits: HandoffLimits = {
  connectTimeoutMs: 2000,
  replyTimeoutMs: 2000,
  unclearRetryMs: 1500,
  reconnectMinMs: 10,
  reconnectMaxMs: 50,
  windowPackages: 10,
  windowBytes: 1_000_000,
  rememberedContentMax: 100,
  rememberedContentMs: 60_000,
}

export interface Variation {
  readonly limits?: Partial<EdgeLimits>
  readonly handoff?: Partial<HandoffLimits>
  readonly relayFrom?: readonly string[]
  /** QMTP ports by instance id; those left out get a port nobody listens on. */
  readonly ports?: Readonly<Record<string, number>>
  readonly kinds?: readonly ('smtp' | 'submission' | 'smtps')[]
  readonly instances?: readonly string[]
  readonly sharedState?: SharedStateSpec
}

const pools: readonly (readonly [name: string, role: Role, domains: readonly string[], ids: readonly string[]])[] = [
  ['INTERNAL', 'internal', ['example.com'], ['00']],
  ['CUSTOMER', 'customer', ['customer.example', '.customer.example'], ['01', '02']],
  ['INTERNET', 'internet', [], ['80']],
  ['BOUNCES', 'bounce', [], ['90']],
  ['BACKUP', 'backup', [], ['99']],
]

export function smallLayout(variation: Variation = {}): Layout {
  const ids = pools.flatMap(([name, role, , poolIds]) => poolIds.map((id) => ({ id, name, role })))
  return {
    version: 2,
    epoch: 1,
    fence: 0,
    control: [],
    scaled: [],
    plans: [],
    ...(variation.sharedState === undefined ? {} : { sharedState: variation.sharedState }),
    cluster: 'mail.example.com',
    edges: [
      {
        id: 'e1',
        home: 'edges/e1',
        listeners: (variation.kinds ?? ['smtp']).map((kind) => ({ kind, host: '127.0.0.1', port: 0 })),
        relayFrom: variation.relayFrom ?? [],
        rcpthosts: ['example.com', 'customer.example', '.customer.example', 'lost.example'],
        limits: { ...edgeLimits, ...variation.limits },
        handoff: { ...handoffLimits, ...variation.handoff },
      },
    ],
    pools: pools.map(([name, role, domains]) => pool(name, role, domains)),
    instances: ids
      .filter(({ id }) => variation.instances?.includes(id) ?? true)
      .map(({ id, name, role }) => instance(id, name, role, variation.ports?.[id] ?? 1)),
    routes: [
      ...pools.flatMap(([name, , domains]) => domains.map((key) => ({ key, pool: name }))),
      { key: '', pool: 'INTERNET' },
      { key: '!@', pool: 'BOUNCES' },
    ],
  }
}

function pool(name: string, role: Role, domains: readonly string[]): PoolSpec {
  return {
    name,
    role,
    ids: [],
    domains,
    deliver: { kind: 'hold' },
    mailboxes: [],
    nextHops: [],
    lifetimeMs: 1000,
    concurrency: 1,
    concurrencyPerDestination: 1,
    messageBytesMax: 1_000_000,
    bounceFormat: 'qsbmf',
    bounceBytesMax: 1000,
    doubleBounceTo: 'postmaster@example.com',
  }
}

function instance(id: string, poolName: string, role: Role, port: number): InstanceSpec {
  const at = { host: '127.0.0.1', port, handoverPort: port, standing: 'active' } as const
  return { id, number: Number(id), pool: poolName, role, ...at, home: `queues/${id}`, acceptFrom: [] }
}
