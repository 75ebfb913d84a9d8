/**
 * One queue instance: journal, intake, dispatcher and bouncer put together for one place in the layout.
 *
 * Everything outside comes in through the world and the parts, so that the same instance runs as a process and in the
 * simulation. It refuses with Z while its disk is nearly full, and for good once its journal failed: then `onFatal` is called
 * and the process is to exit, because what the disk did with the last bytes is only known after a restart.
 */

import type { BouncePolicy } from '../contract/bounce.ts'
import type { Coordination } from '../contract/coordination.ts'
import type { Transport } from '../contract/delivery.ts'
import {
  type InstanceSpec,
  instanceOf,
  type Layout,
  type PoolSpec,
  poolOf,
  poolOfRole,
  takersOfPool,
} from '../contract/layout.ts'
import type { Ledger } from '../contract/ledger.ts'
import type { Manifest, ManifestPage } from '../contract/manifest.ts'
import type { Audit, DrainProgress, InstanceLoad, QueuedMessage } from '../contract/operations.ts'
import { transactionOf } from '../contract/transaction-id.ts'
import { displayText } from '../protocol/byte-string.ts'
import { errorText } from '../protocol/failure.ts'
import { defaultQmtpServerLimits } from '../protocol/qmtp.ts'
import { SteadyClock } from '../runtime/steady-clock.ts'
import type { Timer, World } from '../runtime/world.ts'
import { type AcceptanceLimits, defaultAcceptanceLimits } from './acceptance.ts'
import { Bouncer } from './bouncer.ts'
import { Router } from './delivery/router.ts'
import { DestinationShares } from './destination-shares.ts'
import { Dispatcher, type DispatchPolicy, type Transports } from './dispatcher.ts'
import { Handover, type HandoverDoors } from './handover/handover.ts'
import { IdIndex } from './id-index.ts'
import { Intake } from './intake.ts'
import { quarantineOf, type Recovered } from './journal/recovery.ts'
import { isMissing, JournalStore, type StoreLimits } from './journal/store.ts'
import { damagedBody, hasFailed, isConserved, type LiveMessage, LiveMessages } from './live-messages.ts'
import { type QmtpListenLimits, QmtpServer } from './qmtp-server.ts'
import { defaultRest } from './scheduler.ts'

export interface QueueInstanceParts {
  readonly layout: Layout
  readonly id: string
  /** The state directory; the instance's home is below it. */
  readonly state: string
  readonly ledger: Ledger
  readonly transports: Transports
  /** Of a layout and the instance's pool in it. */
  readonly bouncePolicyOf: (cluster: string, pool: PoolSpec) => BouncePolicy
  /** Where shares of the cluster's limits are asked for; absent, the instance keeps to its floors. */
  readonly coordination?: Coordination
  /** The journal failed: exit and start again. */
  readonly onFatal: (why: string) => void
  /** Loaded once mail is to be handed over, or taken. */
  readonly handoverDoors: () => Promise<HandoverDoors>
  readonly limits?: Partial<QueueLimits>
}

export interface QueueLimits {
  readonly store?: StoreLimits
  /** Less free space than this, and packages are answered Z. */
  readonly diskReserveBytes: number
  readonly diskCheckMs: number
  readonly connectionsMax: number
  readonly outstandingBytesMax: number
  readonly packageTimeoutMs: number
  readonly recipientsPerAttemptMax: number
  /** How long a stop waits for deliveries under way. */
  readonly stopWaitMs: number
}

export const defaultQueueLimits: QueueLimits = {
  diskReserveBytes: 32 * 1024 * 1024,
  diskCheckMs: 1000,
  connectionsMax: 1000,
  outstandingBytesMax: 64 * 1024 * 1024,
  packageTimeoutMs: 300_000,
  recipientsPerAttemptMax: 100,
  stopWaitMs: 8000,
}

const shownBytesMax = 64 * 1024

/** A week: the deadline of a pool without a service level. */
const noSlaMs = 7 * 24 * 3600 * 1000

export class QueueInstance {
  readonly #world: World
  readonly #parts: QueueInstanceParts
  readonly #limits: QueueLimits
  #bouncePolicy: BouncePolicy
  #router: Router
  #layout: Layout
  #spec: InstanceSpec
  readonly #live = new LiveMessages()
  readonly #ids = new IdIndex()
  readonly #store: JournalStore
  readonly #dispatcher: Dispatcher
  readonly #shares: DestinationShares
  readonly #bouncer: Bouncer
  readonly #intake: Intake
  readonly #server: QmtpServer
  readonly #handover: Handover
  #phase: 'starting' | 'ready' | 'stopping' = 'starting'
  #diskTimer: Timer | undefined
  #isDiskFull = false
  /** What the disk had at the last look. */
  #freeBytes: number | undefined
  #sealed: string | undefined
  #broken: string | undefined
  #recovered: Recovered | undefined
  #rate = { count: 0, at: 0 }
  #quarantined = 0

  constructor(world: World, parts: QueueInstanceParts) {
    this.#world = world
    this.#parts = parts
    this.#layout = parts.layout
    this.#limits = { ...defaultQueueLimits, ...parts.limits }
    this.#spec = specOf(parts.layout, parts.id)
    const pool = poolOf(parts.layout, this.#spec.pool)
    this.#router = new Router(parts.layout, parts.id)
    this.#bouncePolicy = parts.bouncePolicyOf(parts.layout.cluster, pool)
    const { ledger } = parts
    const aging = { ...world, clock: new SteadyClock(world.clock) }
    this.#store = new JournalStore(
      world,
      `${this.home}/journal`,
      { live: this.#live, ids: this.#ids, onFatal: (error) => this.#fatal(error) },
      this.#limits.store,
    )
    this.#shares = new DestinationShares(world.clock, parts.id, parts.layout)
    this.#dispatcher = new Dispatcher(aging, {
      instance: parts.id,
      store: this.#store,
      live: this.#live,
      transports: parts.transports,
      ledger,
      policy: this.#policy(),
      gate: this.#shares.gate,
      onFailed: (message) => this.#bouncer.report(message),
    })
    this.#intake = new Intake(aging, {
      instance: parts.id,
      cluster: parts.layout.cluster,
      store: this.#store,
      ids: this.#ids,
      ledger,
      limits: acceptanceLimitsOf(pool),
      onAccepted: (message) => this.#handover.accepted(message),
    })
    this.#bouncer = new Bouncer(world, {
      instance: parts.id,
      store: this.#store,
      policy: () => this.#bouncePolicy,
      transport: parts.transports.qmtp,
      ledger,
      bounceHosts: () => this.#bounceHosts(),
      acceptLocal: (message, done) => this.#intake.acceptLocal(message, done),
    })
    this.#server = new QmtpServer(world, this.#intake, this.#listenLimits(pool), this.#spec.acceptFrom)
    this.#handover = this.#makeHandover(aging)
  }

  #makeHandover(aging: World): Handover {
    const parts = {
      ...{ instance: this.#parts.id, home: this.home, store: this.#store, live: this.#live, ids: this.#ids },
      ledger: this.#parts.ledger,
      doors: this.#parts.handoverDoors,
      audit: () => this.audit(),
      refusing: () => this.#intake.refusing,
      committing: () => this.#intake.committing,
      isBouncing: (message: LiveMessage) => this.#bouncer.isBusy(message),
      pause: () => this.#pause(),
      resume: () => this.#goOn(),
      deliver: (messages: readonly LiveMessage[]) => this.#deliver(messages),
      onSealed: (why: string | undefined) => {
        this.#sealed = why
        this.#refuseOrNot()
      },
      onFatal: (error: Error) => this.#fatal(error),
    }
    return new Handover(aging, parts, this.#layout)
  }

  get home(): string {
    return `${this.#parts.state}/${this.#spec.home}`
  }

  /** Replays the journal, listens, and goes on delivering. Rejects where it cannot: the process must not stay. */
  async start(): Promise<Recovered> {
    const recovered = await this.#store.open()
    this.#recovered = recovered
    await this.#countQuarantined()
    await this.#checkDisk()
    await this.#server.listen(this.#spec.host, this.#spec.port)
    this.#phase = 'ready'
    this.#world.log.info('queue instance ready', {
      instance: this.#parts.id,
      messages: this.#live.size,
      recordsRead: recovered.recordsRead,
      segmentsRead: recovered.segmentsRead,
      tornBytes: recovered.tornBytes,
      damaged: recovered.damage.length,
    })
    this.#handover.start()
    if (this.#parts.coordination !== undefined) this.#shares.start(this.#parts.coordination, this.#dispatcher)
    return recovered
  }

  /** Accepts no more, lets deliveries under way end, and writes a snapshot. */
  async stop(): Promise<void> {
    this.#phase = 'stopping'
    this.#diskTimer?.cancel()
    this.#shares.stop()
    this.#refuseOrNot()
    await this.#server.close()
    this.#bouncer.stop()
    await this.#handover.stop()
    await this.#dispatcher.stop(this.#limits.stopWaitMs)
    for (const transport of Object.values(this.#parts.transports) as Transport[]) transport.close()
    await this.#store.close()
    await this.#handover.close()
    this.#server.destroy()
  }

  /** A newer layout of which this instance is still part. */
  apply(layout: Layout): void {
    this.#spec = specOf(layout, this.#parts.id)
    this.#layout = layout
    const pool = poolOf(layout, this.#spec.pool)
    this.#router = new Router(layout, this.#parts.id)
    this.#bouncePolicy = this.#parts.bouncePolicyOf(layout.cluster, pool)
    this.#intake.limits = acceptanceLimitsOf(pool)
    this.#server.apply(this.#spec.acceptFrom, this.#listenLimits(pool))
    this.#shares.apply(layout)
    this.#dispatcher.apply(this.#policy())
    this.#handover.apply(layout)
  }

  /** How far it is with leaving, where it leaves. */
  get drain(): DrainProgress | undefined {
    return this.#handover.progress
  }

  manifest(plan: string): Promise<Manifest> {
    return this.#handover.manifests.manifest(plan)
  }

  manifestLines(
    plan: string,
    part: { readonly source: string; readonly target: string },
    after: string,
    limit: number,
  ): Promise<ManifestPage> {
    return this.#handover.manifests.page(plan, part, after, limit)
  }

  get phase(): 'starting' | 'ready' | 'refusing' | 'stopping' {
    return this.#phase === 'ready' && this.#intake.refusing !== undefined ? 'refusing' : this.#phase
  }

  get why(): string | undefined {
    return this.#intake.refusing
  }

  get address(): { readonly host: string; readonly port: number } | undefined {
    return this.#server.address
  }

  /** Rates are since the last call. */
  load(): InstanceLoad {
    const now = this.#world.clock.monotonic()
    const seconds = (now - this.#rate.at) / 1000
    const accepted = this.#intake.acceptedMessages - this.#rate.count
    this.#rate = { count: this.#intake.acceptedMessages, at: now }
    const oldest = this.#live.all().next().value
    return {
      queued: this.#live.size,
      inFlight: this.#dispatcher.running,
      acceptedPerSecond: seconds > 0 ? Math.round((accepted / seconds) * 10) / 10 : 0,
      oldestAgeMs: oldest === undefined ? 0 : Math.max(0, this.#world.clock.now() - oldest.birthAt),
      queuedBytes: this.#live.bodyBytes,
      ...(this.#freeBytes === undefined ? {} : { freeBytes: this.#freeBytes }),
    }
  }

  audit(): Audit {
    const { totals } = this.#live
    const queued = this.#live.countQueued()
    const quarantined = this.#quarantined + this.#heldForDamage()
    return { instance: this.#parts.id, ...totals, queued, balanced: isConserved(totals, queued), quarantined }
  }

  /** Messages whose body no longer matches its checksum: still queued, and never to be sent as they are. */
  #heldForDamage(): number {
    let held = 0
    for (const message of this.#live.all()) if (message.held === damagedBody) held++
    return held
  }

  list(limit: number): readonly QueuedMessage[] {
    const messages: QueuedMessage[] = []
    for (const message of this.#live.all()) {
      if (messages.length >= limit) break
      messages.push(this.#describe(message))
    }
    return messages
  }

  /** The messages of a transaction, or the one with this very id, each with its header; none where it is not in this queue. */
  async show(id: string): Promise<readonly { readonly message: QueuedMessage; readonly header: string }[]> {
    const found: { message: QueuedMessage; header: string }[] = []
    for (const message of this.#live.all()) {
      if (message.id !== id && transactionOf(message.id) !== id) continue
      found.push({ message: this.#describe(message), header: await this.#headerOf(message) })
    }
    return found
  }

  async #headerOf(message: LiveMessage): Promise<string> {
    const bytes = Math.min(message.location.bytes, shownBytesMax)
    const start = (await this.#store.bodies.slice(message, 0, bytes)).toString('latin1')
    const end = start.search(/\r?\n\r?\n/)
    const header = end < 0 ? start : start.slice(0, end)
    return header.split(/\r?\n/).map(displayText).join('\n')
  }

  /** Everything deferred is due now. */
  tryNow(): void {
    this.#dispatcher.dueNow()
  }

  get recovered(): Recovered | undefined {
    return this.#recovered
  }

  /** Bytes and calls made durable since the start. */
  get durability(): { readonly syncedBytes: number; readonly syncs: number; readonly segments: number } {
    const { syncedBytes, syncs } = this.#store.journal
    return { syncedBytes, syncs, segments: this.#store.segmentCount }
  }

  #deliver(messages: readonly LiveMessage[]): void {
    for (const message of messages) this.#resume(message)
    this.#dispatcher.pump()
  }

  #pause(): void {
    this.#dispatcher.pause()
    this.#bouncer.pause()
  }

  #goOn(): void {
    this.#dispatcher.resume()
    this.#bouncer.resume()
  }

  #resume(message: LiveMessage): void {
    if (message.held !== undefined) return
    if (message.pending > 0) this.#dispatcher.add(message)
    else if (hasFailed(message)) this.#bouncer.report(message)
  }

  #listenLimits(pool: PoolSpec): QmtpListenLimits {
    const { messageBytesMax } = pool
    const announcedBytesMax = Math.max(defaultQmtpServerLimits.announcedBytesMax, messageBytesMax + 64 * 1024)
    const { connectionsMax, outstandingBytesMax, packageTimeoutMs } = this.#limits
    const reader = { ...defaultQmtpServerLimits, messageBytesMax, announcedBytesMax }
    return { reader, connectionsMax, outstandingBytesMax, packageTimeoutMs }
  }

  #policy(): DispatchPolicy {
    const pool = poolOf(this.#layout, this.#spec.pool)
    const router = this.#router
    return {
      limits: {
        concurrency: pool.concurrency,
        concurrencyPerDestination: pool.concurrencyPerDestination,
        ...defaultRest,
      },
      lifetimeMs: pool.lifetimeMs,
      slaMs: pool.slaMs ?? noSlaMs,
      recipientsPerAttemptMax: this.#limits.recipientsPerAttemptMax,
      destinationFor: (message, recipient) => router.destinationFor(message.sender, recipient),
    }
  }

  #bounceHosts(): { key: string; kind: 'qmtp'; hosts: { host: string; port: number }[] } | undefined {
    const pool = poolOfRole(this.#layout, 'bounce')
    if (pool === undefined || this.#spec.role === 'bounce') return undefined
    const hosts = takersOfPool(this.#layout, pool.name).map(({ host, port }) => ({ host, port }))
    return hosts.length === 0 ? undefined : { key: `pool:${pool.name}`, kind: 'qmtp', hosts }
  }

  async #checkDisk(): Promise<void> {
    try {
      const free = await this.#world.disk.freeBytes(this.home)
      this.#freeBytes = free
      if (this.#store.journal.failure === undefined && this.#phase !== 'stopping') this.#judgeSpace(free)
    } catch (error) {
      this.#world.log.warn('free space unknown', { directory: this.home, error: errorText(error) })
    }
    if (this.#phase === 'stopping') return
    this.#diskTimer = this.#world.clock.after(this.#limits.diskCheckMs, () => {
      // Its own failures are logged above; there is nothing left to reject.
      this.#checkDisk().catch(() => {})
    })
  }

  #judgeSpace(free: number): void {
    const reserve = this.#limits.diskReserveBytes
    if (!this.#isDiskFull && free < reserve) {
      this.#world.log.error('disk nearly full: refusing mail', { directory: this.home, free, reserve })
      this.#isDiskFull = true
    } else if (this.#isDiskFull && free > reserve * 1.25) {
      this.#world.log.info('disk has room again', { directory: this.home, free })
      this.#isDiskFull = false
    }
    this.#refuseOrNot()
  }

  #refuseOrNot(): void {
    const stopping = this.#phase === 'stopping' ? 'this queue is stopping' : undefined
    const full = this.#isDiskFull ? 'disk nearly full' : undefined
    this.#intake.refuse(this.#broken ?? stopping ?? this.#sealed ?? full)
  }

  #fatal(error: Error): void {
    this.#broken = 'this queue cannot write'
    this.#refuseOrNot()
    this.#parts.onFatal(error.message)
  }

  async #countQuarantined(): Promise<void> {
    try {
      const names = await this.#world.disk.list(quarantineOf(`${this.home}/journal`))
      this.#quarantined = names.filter((name) => /\.(?:record|segment)$/.test(name)).length
    } catch (error) {
      if (!isMissing(error)) throw error
    }
  }

  #describe(message: LiveMessage): QueuedMessage {
    const router = this.#router
    return {
      id: message.id,
      instance: this.#parts.id,
      sender: displayText(message.sender),
      bytes: message.location.bytes,
      birthAt: message.birthAt,
      recipients: message.recipients.map((recipient) => ({
        address: displayText(recipient.address),
        status: recipient.status === 'failed' ? 'bouncing' : recipient.status === 'pending' ? 'pending' : 'delivered',
        attempts: recipient.attempts,
        dueAt: recipient.dueAt,
        destination: router.destinationFor(message.sender, recipient.address).key,
        lastText: recipient.failure === undefined ? '' : displayText(recipient.failure.text),
      })),
    }
  }
}

function acceptanceLimitsOf(pool: PoolSpec): AcceptanceLimits {
  return { ...defaultAcceptanceLimits, messageBytesMax: pool.messageBytesMax }
}

function specOf(layout: Layout, id: string): InstanceSpec {
  const spec = instanceOf(layout, id)
  if (spec === undefined) throw new Error(`the layout has no instance ${id}`)
  return spec
}
