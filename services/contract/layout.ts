/**
 * The layout: conf-qmq compiled into every instance, address, port, home and route.
 *
 * A pure function of the file (`control/layout/compile.ts`); every tier carries mail by the last one it verified and keeps
 * it on its own disk. Paths are relative to the state directory, so that the same file gives the same bytes anywhere.
 * Plain JSON in and out: no Map, no undefined where a key may be left out.
 */

export const layoutVersion = 2

export type Role = 'internal' | 'customer' | 'internet' | 'bounce' | 'backup'

export interface Layout {
  readonly version: typeof layoutVersion
  /** Number of the layout in force; the first is 1. */
  readonly epoch: number
  /**
   * Fencing number of the leader who made it, 0 before there was one. Every order to an instance is a layout: one with a lower fence
   * than the last it took is refused, because a leader that was cut off may not know yet that it is none any more.
   */
  readonly fence: number
  /** The name this cluster greets and bounces with (`control/me`). */
  readonly cluster: string
  /** The NATS servers by which hosts share records. Absent: coordination is in `qmq up` itself, on one host. */
  readonly coordination?: NatsSpec
  readonly control: readonly ControlSpec[]
  readonly edges: readonly EdgeSpec[]
  /** In the order of the file. */
  readonly pools: readonly PoolSpec[]
  /** By number. */
  readonly instances: readonly InstanceSpec[]
  readonly routes: readonly Route[]
  /** Pools whose count was set on the running cluster. Once conf-qmq says another count than it did then, the file is right again. */
  readonly scaled: readonly ScaledPool[]
  /** What is being drained, at most one plan a pool. */
  readonly plans: readonly DrainPlan[]
  /** Absent: each edge process counts for itself. */
  readonly sharedState?: SharedStateSpec
  /** Limits of the whole cluster on one destination; absent: none. */
  readonly clusterLimits?: readonly ClusterLimit[]
}

/** At least one of both limits. Hops to our own instances and the pool of role bounce never count. */
export interface ClusterLimit {
  /** A domain whose mail goes to its exchangers, or the host of a next hop. Lower case. */
  readonly destination: string
  /** Deliveries at a time. */
  readonly concurrency?: number
  /** Deliveries begun, spread evenly. */
  readonly rate?: { readonly events: number; readonly perMs: number }
}

/** The Redis server that the edges share through. Secrets are in files of each host, named here. */
export interface SharedStateSpec {
  readonly host: string
  readonly port: number
  readonly database: number
  readonly user?: string
  /** File names here: relative ones are below the state directory. */
  readonly passwordFile?: string
  /** Present: TLS, and the server's certificate is verified for `host`. PEM files. */
  readonly tls?: { readonly caFile?: string; readonly certificateFile?: string; readonly keyFile?: string }
  /** What is not answered by then is gone: the longest that the server can hold up a client. */
  readonly deadlineMs: number
}

/** Files and directories are relative to the state directory, or absolute. Secrets are in files, never here. */
export interface NatsSpec {
  /** `host:port`; an IPv6 host in brackets. */
  readonly servers: readonly string[]
  /**
   * Directory with a file per client: an nkey's seed `<client>.nk` or `<client>.creds`, client being an instance's id, `up`, `operator` or
   * `viewer`. Where there is no such directory the servers let everybody in.
   */
  readonly credentials: string
  /** All log in by this name, with the password in `<credentials>/password`. */
  readonly user?: string
  /** Absent: TLS only where the server asks for it. Present: never without. */
  readonly tls?: { readonly caFile?: string; readonly certificateFile?: string; readonly keyFile?: string }
  /** Copies of each record. Absent: three where the servers are a cluster, else one. */
  readonly replicas?: number
}

export interface ScaledPool {
  readonly pool: string
  readonly count: number
  /** What conf-qmq said when it was scaled. */
  readonly fileCount: number
}

export type PlanState = 'running' | 'cancelling'

/**
 * One scale-down or drain under way. It is part of the layout, so that leaders, instances and restarts cannot disagree about it: who
 * leads looks at the layout and at the instances' states and takes the next step, whoever took the one before.
 */
export interface DrainPlan {
  /** In the form of a transaction id. */
  readonly id: string
  readonly pool: string
  /** Instances of the pool that take mail, before and after. */
  readonly from: number
  readonly to: number
  /** Ids of the instances that leave. */
  readonly leaving: readonly string[]
  /** Ids of the instances that take their mail: never one that leaves. */
  readonly targets: readonly string[]
  readonly state: PlanState
  /** Instances that cannot hand over all they have are parked with the rest instead of holding up the plan. */
  readonly force: boolean
  /** The leaving instances stay in the layout, cordoned, where nothing but an order to drain was given (`qmq drain`). */
  readonly keep: boolean
  /** Who ordered it, and why, in their words. */
  readonly by: string
  readonly reason: string
  /** Unix milliseconds. */
  readonly startedAt: number
  /** The first epoch without the leaving instances among those that take mail. */
  readonly cordonEpoch: number
}

export interface ControlSpec {
  /** `c1`, `c2`, ... */
  readonly id: string
  readonly home: string
  /** Where it serves gRPC to operators elsewhere, with mutual TLS. */
  readonly host: string
  readonly port: number
}

export type ListenerKind = 'smtp' | 'submission' | 'smtps'

export interface ListenerSpec {
  readonly kind: ListenerKind
  readonly host: string
  readonly port: number
}

export interface EdgeSpec {
  /** `e1`, `e2`, ... */
  readonly id: string
  readonly home: string
  readonly listeners: readonly ListenerSpec[]
  /** Networks in CIDR form whose clients may send anywhere (qmail's RELAYCLIENT). */
  readonly relayFrom: readonly string[]
  /** Domains accepted from anyone (`control/rcpthosts`); a leading dot accepts the subdomains. */
  readonly rcpthosts: readonly string[]
  /** PEM files; relative ones are below the state directory. Absent: no TLS is offered. */
  readonly tls?: { readonly certificateFile: string; readonly keyFile: string }
  readonly limits: EdgeLimits
  readonly handoff: HandoffLimits
}

/** Every limit of the SMTP edge. Bytes, counts, milliseconds; defaults in `settings/limits.ts`. */
export interface EdgeLimits {
  readonly messageBytesMax: number
  readonly recipientsPerMessageMax: number
  readonly commandLineBytesMax: number
  readonly textLineBytesMax: number
  readonly headerBytesMax: number
  readonly hopsMax: number
  readonly connectionsMax: number
  readonly connectionsPerClientMax: number
  /** Over all edges, for clients that may not relay; 0: no limit. */
  readonly connectionsPerClientClusterMax: number
  /** Messages of one client network over all edges, refilled evenly over the window; 0: no limit. */
  readonly messagesPerNetworkClusterMax: number
  readonly messagesPerNetworkWindowMs: number
  readonly messagesPerConnectionMax: number
  readonly commandsWithoutMailMax: number
  readonly errorsPerConnectionMax: number
  /** One TLS handshake, from connection or STARTTLS to its end. */
  readonly handshakeTimeoutMs: number
  readonly commandTimeoutMs: number
  readonly dataTimeoutMs: number
  readonly sessionTimeoutMs: number
  /** Message bytes held in memory by one edge process; past it, clients are read more slowly, then refused with 451. */
  readonly bufferedBytesMax: number
}

/** How an edge hands packages to queue instances. */
export interface HandoffLimits {
  readonly connectTimeoutMs: number
  /** After the last byte of a package, until its reply. */
  readonly replyTimeoutMs: number
  /** A package whose outcome is unclear is offered to the same instance again for this long, then 451. */
  readonly unclearRetryMs: number
  readonly reconnectMinMs: number
  readonly reconnectMaxMs: number
  /** Packages in flight per instance and connection. */
  readonly windowPackages: number
  readonly windowBytes: number
  /** Partly committed transactions remembered for the client's retry. */
  readonly rememberedContentMax: number
  readonly rememberedContentMs: number
}

export type DeliverSpec =
  /** Maildirs below the state directory: `mailboxes/DOMAIN/LOCAL/`. */
  | { readonly kind: 'maildir' }
  | { readonly kind: 'smtp'; readonly host: string; readonly port: number }
  | { readonly kind: 'qmtp'; readonly host: string; readonly port: number }
  /** The recipient domain's mail exchangers. */
  | { readonly kind: 'mx' }
  /** Accept and keep; nothing leaves until the layout says otherwise. */
  | { readonly kind: 'hold' }

export interface PoolSpec {
  readonly name: string
  readonly role: Role
  /** Numbers kept for its instances: a scaled pool takes the first ones that are free. */
  readonly ids: readonly number[]
  /** Recipient domains of the pool; a leading dot takes the subdomains. */
  readonly domains: readonly string[]
  readonly deliver: DeliverSpec
  /** Mailboxes made at start, for `deliver: maildir`; full addresses. */
  readonly mailboxes: readonly string[]
  /** Next hops by domain that win over `deliver` (`control/smtproutes`, `control/qmtproutes`). Key '' is the default. */
  readonly nextHops: readonly { readonly key: string; readonly deliver: DeliverSpec }[]
  /** Service level: time from acceptance to delivery, milliseconds. */
  readonly slaMs?: number
  /** qmail's queuelifetime. */
  readonly lifetimeMs: number
  /** qmail's concurrencyremote, and how much of it one destination may take. */
  readonly concurrency: number
  readonly concurrencyPerDestination: number
  readonly messageBytesMax: number
  readonly bounceFormat: 'qsbmf' | 'dsn'
  readonly bounceBytesMax: number
  readonly doubleBounceTo: string
}

/**
 * `active` takes mail from edges and other instances. `cordoned` is chosen for no new mail, takes what still comes, and delivers.
 * `draining` does not deliver but hands its mail over to the targets of its plan. `sealed` refuses everything; it is empty, and its
 * receipt is being made. `parked` does not run: it left with mail, on purpose.
 */
export type Standing = 'active' | 'cordoned' | 'draining' | 'sealed' | 'parked'

export interface InstanceSpec {
  /** Two digits or three: `00`, `01`, ... */
  readonly id: string
  readonly number: number
  readonly pool: string
  readonly role: Role
  /** Where its QMTP server listens; the port is base + number. */
  readonly host: string
  readonly port: number
  /** Where it takes mail handed over by a draining instance: open only while a plan names it as a target. */
  readonly handoverPort: number
  readonly standing: Standing
  /** Source address of its deliveries, where one is given (`control/domainips`). */
  readonly sourceAddress?: string
  readonly home: string
  /** Addresses in CIDR form that may hand it mail. */
  readonly acceptFrom: readonly string[]
}

export interface Route {
  /** A domain, `.domain` for its subdomains, '' for everything else, or `!@` for the empty sender. Lower case. */
  readonly key: string
  readonly pool: string
}

export function poolOf(layout: Layout, name: string): PoolSpec {
  const pool = layout.pools.find((candidate) => candidate.name === name)
  if (pool === undefined) throw new Error(`layout has no pool ${name}`)
  return pool
}

export function instanceOf(layout: Layout, id: string): InstanceSpec | undefined {
  return layout.instances.find((candidate) => candidate.id === id)
}

/** Of any standing. */
export function instancesOfPool(layout: Layout, name: string): readonly InstanceSpec[] {
  return layout.instances.filter((instance) => instance.pool === name)
}

/** Those that new mail for the pool may go to. */
export function takersOfPool(layout: Layout, name: string): readonly InstanceSpec[] {
  return layout.instances.filter(({ pool, standing }) => pool === name && standing === 'active')
}

/** The plan by which an instance leaves. */
export function planOfLeaving(layout: Layout, id: string): DrainPlan | undefined {
  return layout.plans.find((plan) => plan.leaving.includes(id))
}

/** The plans by which an instance takes mail over. */
export function plansOfTarget(layout: Layout, id: string): readonly DrainPlan[] {
  return layout.plans.filter((plan) => plan.targets.includes(id))
}

export function poolOfRole(layout: Layout, role: Role): PoolSpec | undefined {
  return layout.pools.find((pool) => pool.role === role)
}
