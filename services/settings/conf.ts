/**
 * conf-qmq as a record: frozen, fully checked, every default filled in. Milliseconds, bytes, counts; names of limits as in
 * the contract. Made by `readConf` alone; the layout is compiled from it.
 */

import type {
  ClusterLimit,
  DeliverSpec,
  EdgeLimits,
  HandoffLimits,
  ListenerKind,
  NatsSpec,
  Role,
  SharedStateSpec,
} from '../contract/layout.ts'

export interface Conf {
  readonly version: 1
  readonly cluster: string
  readonly coordination: 'embedded' | NatsSpec
  readonly sharedState: 'embedded' | SharedStateSpec
  readonly basePort: number
  /** Hand-over port of instance 00. */
  readonly handoverBasePort: number
  /** By destination, as written. */
  readonly clusterLimits: readonly ClusterLimit[]
  readonly control: ControlConf
  readonly edge: EdgeConf
  /** In the order of the file. */
  readonly pools: readonly PoolConf[]
}

export interface ControlConf {
  readonly count: number
  readonly host: string
  /** Of c1; the others take the next ones. */
  readonly port: number
}

export interface EdgeConf {
  readonly count: number
  readonly host: string
  readonly listen: readonly { readonly kind: ListenerKind; readonly port: number }[]
  readonly relayFrom: readonly string[]
  readonly rcpthosts: readonly string[]
  readonly tls?: { readonly certificateFile: string; readonly keyFile: string }
  readonly limits: EdgeLimits
  readonly handoff: HandoffLimits
}

export interface PoolConf {
  readonly name: string
  /** Numbers kept for the pool; the first `count` run. */
  readonly ids: readonly number[]
  readonly role: Role
  readonly count: number
  readonly domains: readonly string[]
  readonly deliver: DeliverSpec
  readonly mailboxes: readonly string[]
  readonly nextHops: readonly { readonly key: string; readonly deliver: DeliverSpec }[]
  readonly address: string
  readonly sourceAddress?: string
  readonly acceptFrom: readonly string[]
  readonly slaMs?: number
  readonly lifetimeMs: number
  readonly concurrency: number
  readonly concurrencyPerDestination: number
  readonly messageBytesMax: number
  readonly bounceFormat: 'qsbmf' | 'dsn'
  readonly bounceBytesMax: number
  /** Absent: the postmaster the layout finds. */
  readonly doubleBounceTo?: string
}
