/**
 * The edge: listens for SMTP, keeps the links to the queue instances, and one clock tick for everything that can time out.
 *
 * It holds no mail that anybody was told is safe: 250 follows the instances' `K`. A new layout replaces rules, routes, limits and links at once;
 * listeners stay as they were opened until the process is started again. `stop` accepts no more, lets messages under way
 * finish for a while, and closes.
 */

import type { EdgeSpec, Layout, ListenerSpec } from '../contract/layout.ts'
import type { Ledger } from '../contract/ledger.ts'
import type { InstanceLoad } from '../contract/operations.ts'
import type { SharedStateStatus } from '../contract/shared-state.ts'
import { reply } from '../protocol/smtp/reply.ts'
import type { SmtpServerOptions } from '../protocol/smtp/server-session.ts'
import { ownSharedState, type SharedStateSource } from '../runtime/shared-state-source.ts'
import type { Connection, ConnectionHandler, Listener, Timer, TlsServerOptions, World } from '../runtime/world.ts'
import { Acceptance } from './acceptance.ts'
import { BodyBudget } from './body-budget.ts'
import { ClientLimits } from './client-limits.ts'
import { HandOver } from './hand-over.ts'
import { type EdgeServices, SmtpShell } from './smtp-shell.ts'

export interface EdgeOptions {
  readonly ledger: Ledger
  /** Absent: STARTTLS is not offered and `smtps` does not listen. */
  readonly tls?: TlsServerOptions
  /** Absent: this process counts for itself. The edge closes it. */
  readonly sharedState?: SharedStateSource
}

export interface EdgeStatus {
  /** `refusing` answers 451 to every message, for the reason in `why`. */
  readonly phase: 'starting' | 'ready' | 'refusing' | 'stopping'
  readonly why?: string
  readonly epoch: number
  readonly listeners: readonly { readonly kind: string; readonly host: string; readonly port: number }[]
  readonly load: InstanceLoad
  /** Absent: each edge for itself. */
  readonly sharedState?: SharedStateStatus
}

/** How long `stop` waits for messages under way. */
const stopGraceMs = 10_000
const sweepMaxMs = 1000
const sweepMinMs = 20

const busy = reply(421, '4.3.2', 'too many connections, try again soon')
const busyClient = reply(421, '4.7.0', 'too many connections from your address')

export class Edge implements EdgeServices {
  readonly id: string
  readonly world: World
  readonly ledger: Ledger
  readonly handOver: HandOver
  readonly budget: BodyBudget
  readonly clients: ClientLimits
  readonly #sharedState: SharedStateSource
  readonly #tls: TlsServerOptions | undefined
  readonly #listeners: { readonly spec: ListenerSpec; readonly listener: Listener }[] = []
  readonly #shells = new Set<SmtpShell>()
  readonly #perClient = new Map<string, number>()
  #layout: Layout
  #acceptance: Acceptance
  #sessionOptions: SmtpServerOptions
  #greeting
  #phase: 'starting' | 'ready' | 'stopping' = 'starting'
  #sweep: Timer | undefined
  #sweptAt = 0
  #acceptedSinceSweep = 0
  #acceptedPerSecond = 0
  #emptied: (() => void) | undefined

  constructor(world: World, layout: Layout, edgeId: string, options: EdgeOptions) {
    this.id = edgeId
    this.world = world
    this.ledger = options.ledger
    this.#tls = options.tls
    this.#layout = layout
    this.#acceptance = new Acceptance(layout, this.#specOf(layout))
    this.#sessionOptions = this.#optionsOf(layout)
    this.#greeting = reply(220, '', `${layout.cluster} ESMTP`)
    this.#sharedState = options.sharedState ?? ownSharedState(world.clock)
    this.handOver = new HandOver(world, layout, edgeId, this.#sharedState.state)
    const { limits } = this.#acceptance.edge
    this.budget = new BodyBudget(limits.bufferedBytesMax)
    this.clients = new ClientLimits(world, edgeId, this.#sharedState.state, limits)
  }

  get acceptance(): Acceptance {
    return this.#acceptance
  }

  get draining(): boolean {
    return this.#phase === 'stopping'
  }

  /** Resolves when every listener is open; rejects where one cannot be. */
  async start(): Promise<void> {
    this.handOver.start()
    for (const spec of this.#acceptance.edge.listeners) {
      if (spec.kind === 'smtps' && this.#tls === undefined)
        this.world.log.warn('no certificate, not listening', { ...spec })
      else this.#listeners.push({ spec, listener: await this.#listen(spec) })
    }
    this.#phase = 'ready'
    this.#sweptAt = this.world.clock.monotonic()
    this.#armSweep()
  }

  /** Idempotent. Resolves when the last connection is closed. */
  async stop(): Promise<void> {
    if (this.#phase === 'stopping') return
    this.#phase = 'stopping'
    for (const { listener } of this.#listeners) await listener.close()
    for (const shell of [...this.#shells]) shell.stop()
    await this.#untilEmpty()
    this.#sweep?.cancel()
    this.handOver.close()
    this.#sharedState.close()
  }

  /** Replaces everything a layout says but where the edge listens. */
  apply(layout: Layout): void {
    this.#acceptance = new Acceptance(layout, this.#specOf(layout))
    this.#sessionOptions = this.#optionsOf(layout)
    this.#greeting = reply(220, '', `${layout.cluster} ESMTP`)
    this.#layout = layout
    const { limits } = this.#acceptance.edge
    this.budget.bytesMax = limits.bufferedBytesMax
    this.clients.limits = limits
    this.#sharedState.apply(layout)
    this.handOver.apply(layout)
  }

  /** Certificate and key for handshakes that begin later. */
  setTls(options: TlsServerOptions): void {
    for (const { listener } of this.#listeners) listener.setTls(options)
  }

  state(): EdgeStatus {
    const inFlight = this.handOver.underWay
    const { status } = this.#sharedState
    const refusing = this.#phase === 'ready' && !this.handOver.reachesAny
    return {
      phase: refusing ? 'refusing' : this.#phase,
      ...(refusing ? { why: 'no queue instance can be reached' } : {}),
      epoch: this.#layout.epoch,
      listeners: this.#listeners.map(({ spec, listener }) => ({ kind: spec.kind, ...listener.address })),
      load: { queued: this.#shells.size, inFlight, acceptedPerSecond: this.#acceptedPerSecond, oldestAgeMs: 0 },
      ...(status === undefined ? {} : { sharedState: status }),
    }
  }

  accepted(): void {
    this.#acceptedSinceSweep++
  }

  closed(shell: SmtpShell): void {
    if (!this.#shells.delete(shell)) return
    const { address } = shell.client
    const left = (this.#perClient.get(address) ?? 1) - 1
    if (left === 0) this.#perClient.delete(address)
    else this.#perClient.set(address, left)
    if (this.#shells.size === 0) this.#emptied?.()
  }

  #specOf(layout: Layout): EdgeSpec {
    const spec = layout.edges.find((edge) => edge.id === this.id)
    if (spec === undefined) throw new Error(`layout has no edge ${this.id}`)
    return spec
  }

  #optionsOf(layout: Layout): SmtpServerOptions {
    const { limits } = this.#specOf(layout)
    return { hostname: layout.cluster, limits, offersStartTls: this.#tls !== undefined }
  }

  #listen(spec: ListenerSpec): Promise<Listener> {
    const mode = spec.kind === 'smtps' ? 'implicit' : 'upgrade'
    const shared = this.#layout.edges.filter((edge) => edge.listeners.some((one) => one.port === spec.port)).length > 1
    return this.world.network.listen(
      {
        host: spec.host,
        port: spec.port,
        reusePort: shared,
        ...(this.#tls === undefined ? {} : { tls: { mode, options: this.#tls } }),
      },
      (connection) => this.#accept(connection, spec),
    )
  }

  #accept(connection: Connection, spec: ListenerSpec): ConnectionHandler {
    const client = this.#acceptance.client(connection.remote.host, spec.kind)
    const { connectionsMax, connectionsPerClientMax } = this.#acceptance.edge.limits
    const connections = this.#perClient.get(client.address) ?? 0
    const full =
      this.#shells.size >= connectionsMax ? busy : connections >= connectionsPerClientMax ? busyClient : undefined
    const greeting = full ?? this.#greeting
    const shell = new SmtpShell(this, connection, client, this.#sessionOptions, greeting, spec.kind === 'smtps')
    this.#shells.add(shell)
    this.#perClient.set(client.address, connections + 1)
    return shell
  }

  #armSweep(): void {
    const { limits, handoff } = this.#acceptance.edge
    const shortest = Math.min(
      limits.handshakeTimeoutMs,
      limits.commandTimeoutMs,
      limits.dataTimeoutMs,
      limits.sessionTimeoutMs,
      handoff.replyTimeoutMs,
    )
    const delay = Math.max(sweepMinMs, Math.min(sweepMaxMs, shortest / 4))
    this.#sweep = this.world.clock.after(delay, () => this.#check())
  }

  #check(): void {
    const now = this.world.clock.monotonic()
    for (const shell of this.#shells) shell.check(now)
    this.budget.check(now)
    this.handOver.check()
    this.#acceptedPerSecond = (this.#acceptedSinceSweep * 1000) / Math.max(1, now - this.#sweptAt)
    this.#acceptedSinceSweep = 0
    this.#sweptAt = now
    this.#armSweep()
  }

  /** Resolves when no connection is left, by itself or by force. */
  #untilEmpty(): Promise<void> {
    if (this.#shells.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const force = this.world.clock.after(stopGraceMs, () => {
        for (const shell of [...this.#shells]) shell.destroy()
      })
      this.#emptied = () => {
        force.cancel()
        resolve()
      }
    })
  }
}
