/**
 * The layout: conf-qmq compiled into every instance, address, port, home and route.
 *
 * A pure function of the file (`control/layout/compile.ts`); every tier carries mail by the last one it verified and keeps
 * it on its own disk. Paths are relative to the state directory, so that the same file gives the same bytes anywhere.
 * Plain JSON in and out: no Map, no undefined where a key may be left out.
 */

export const layoutVersion = 1

export type Role = 'internal' | 'customer' | 'internet' | 'bounce' | 'backup'

export interface Layout {
  readonly version: typeof layoutVersion
  /** Number of the layout in force; the first is 1. */
  readonly epoch: number
  /** The name this cluster greets and bounces with (`control/me`). */
  readonly cluster: string
  readonly edges: readonly EdgeSpec[]
  /** In the order of the file. */
  readonly pools: readonly PoolSpec[]
  /** By number. */
  readonly instances: readonly InstanceSpec[]
  readonly routes: readonly Route[]
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

export interface InstanceSpec {
  /** Two digits or three: `00`, `01`, ... */
  readonly id: string
  readonly number: number
  readonly pool: string
  readonly role: Role
  /** Where its QMTP server listens; the port is base + number. */
  readonly host: string
  readonly port: number
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

export function instancesOfPool(layout: Layout, name: string): readonly InstanceSpec[] {
  return layout.instances.filter((instance) => instance.pool === name)
}

export function poolOfRole(layout: Layout, role: Role): PoolSpec | undefined {
  return layout.pools.find((pool) => pool.role === role)
}
