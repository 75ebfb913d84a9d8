/**
 * Carries out what `Handoff` decides: composes packages, offers them to the links of their pools, tells the verdict.
 *
 * Each transaction gets exactly one verdict, whether its client is still there or not. Package ids are the transaction's, with
 * a number where it feeds several pools; offering a package again repeats the same bytes. The bare postmaster of an unknown
 * domain may have no route any more when a layout is swapped in mid-transaction: then its pool has no instances, and that is 451.
 */

import type { Layout } from '../contract/layout.ts'
import { poolOfRole } from '../contract/layout.ts'
import type { SharedState } from '../contract/shared-state.ts'
import { packageId } from '../contract/transaction-id.ts'
import type { ByteString } from '../protocol/byte-string.ts'
import { receivedLine } from '../protocol/headers.ts'
import { mailDate } from '../protocol/mail-date.ts'
import { QmtpLink, type QmtpLinkOutcome } from '../runtime/qmtp-link.ts'
import { ownSharedState } from '../runtime/shared-state-source.ts'
import type { World } from '../runtime/world.ts'
import { type Committed, CommittedContents } from './committed-contents.ts'
import type { Content } from './committed-memory.ts'
import { Contents } from './content.ts'
import { EdgePackage } from './edge-package.ts'
import { Handoff, type HandoffStep, type HandoffVerdict, type InstanceChooser } from './handoff.ts'
import type { Transaction } from './transaction.ts'

/** `to`: the instances that have it now, for the ledger. */
export type HandOverDone = (verdict: HandoffVerdict, to: string) => void

export class HandOver implements InstanceChooser {
  readonly #world: World
  readonly #links = new Map<string, QmtpLink>()
  /** Links of instances the layout no longer has, until nobody can need them. */
  readonly #retired = new Map<QmtpLink, number>()
  readonly #committed: CommittedContents
  #layout: Layout
  #edgeId: string
  #pools: ReadonlyMap<string, readonly string[]> = new Map()
  #backupPool: string | undefined
  #unclearRetryMs = 0
  #turn = 0
  #underWay = 0
  #date = ''
  #dateSecond = -1

  constructor(world: World, layout: Layout, edgeId: string, state: SharedState = ownSharedState(world.clock).state) {
    this.#world = world
    this.#layout = layout
    this.#edgeId = edgeId
    this.#committed = new CommittedContents(state, this.#limits())
  }

  get underWay(): number {
    return this.#underWay
  }

  /** True while a link to any instance is open. */
  get reachesAny(): boolean {
    for (const link of this.#links.values()) if (link.open) return true
    return false
  }

  /** Connects to every instance of the layout. */
  start(): void {
    this.apply(this.#layout)
  }

  apply(layout: Layout): void {
    this.#layout = layout
    const limits = this.#limits()
    this.#committed.limits = limits
    this.#unclearRetryMs = limits.unclearRetryMs
    this.#backupPool = poolOfRole(layout, 'backup')?.name
    const pools = new Map<string, string[]>()
    for (const instance of layout.instances) {
      if (instance.standing === 'parked') continue
      if (instance.standing === 'active') pools.set(instance.pool, [...(pools.get(instance.pool) ?? []), instance.id])
      this.#keepLink(instance.id, instance.host, instance.port)
    }
    this.#pools = pools
    for (const [id, link] of this.#links) {
      const isThere = layout.instances.some((instance) => instance.id === id && instance.standing !== 'parked')
      if (!isThere) this.#retire(id, link)
    }
  }

  /** Calls `done` once, never from inside this call unless nothing can take the message or all of it is there. */
  begin(transaction: Transaction, done: HandOverDone): void {
    this.#underWay++
    const addresses = transaction.recipients.map(({ address }) => address)
    this.#committed.find(new Contents(transaction), addresses, this.#world.clock.monotonic(), (committed) => {
      const plan = packagesOf(transaction, committed)
      new Run(this, transaction, plan, this.#backupPool, this.#unclearRetryMs, done).start()
    })
  }

  /** Timeouts; about once a second. */
  check(): void {
    const now = this.#world.clock.monotonic()
    for (const link of this.#links.values()) link.check()
    for (const [link, since] of this.#retired) {
      link.check()
      if (link.load > 0 || now - since < this.#unclearRetryMs) continue
      link.close()
      this.#retired.delete(link)
    }
    this.#committed.check(now)
  }

  /** Drops what is still in flight. */
  close(): void {
    for (const link of this.#links.values()) link.destroy()
    for (const link of this.#retired.keys()) link.destroy()
  }

  /** Least loaded; equals take turns. A link that is only connecting comes after those that are open. */
  choose(pool: string, tried: readonly string[]): string | undefined {
    const ids = this.#pools.get(pool)
    if (ids === undefined) return undefined
    let best: string | undefined
    let bestLoad = Number.POSITIVE_INFINITY
    const first = this.#turn++ % ids.length
    for (let step = 0; step < ids.length; step++) {
      const id = ids[(first + step) % ids.length] as string
      const link = this.#links.get(id)
      if (link === undefined || !link.accepting || tried.includes(id)) continue
      const load = link.open ? link.load : link.load + connectingLoad
      if (load >= bestLoad) continue
      best = id
      bestLoad = load
    }
    return best
  }

  linkOf(instance: string): QmtpLink | undefined {
    return this.#links.get(instance)
  }

  get world(): World {
    return this.#world
  }

  /** The trace line of a package. */
  traceOf(transaction: Transaction, id: string): ByteString {
    const { helo, address, protocol } = transaction.origin
    return receivedLine({ helo, address, by: this.#layout.cluster, protocol, id, date: this.#dateNow() }, 'crlf')
  }

  ended(transaction: Transaction, run: Run, verdict: HandoffVerdict): void {
    this.#underWay--
    const temporary = verdict.kind === 'refused' && verdict.class === 'temporary'
    if (temporary && (verdict.committed.length > 0 || run.skipped.length > 0)) this.#remember(transaction, run, verdict)
    if (!temporary) this.#committed.used(run.skipped)
  }

  #limits() {
    const edge = this.#layout.edges.find((one) => one.id === this.#edgeId)
    if (edge === undefined) throw new Error(`layout has no edge ${this.#edgeId}`)
    return edge.handoff
  }

  #keepLink(id: string, host: string, port: number): void {
    const present = this.#links.get(id)
    if (present !== undefined) {
      present.limits = this.#limits()
      if (present.address.host === host && present.address.port === port) return
      this.#retire(id, present)
    }
    const link = new QmtpLink(this.#world, { host, port }, this.#limits())
    this.#links.set(id, link)
    link.start()
  }

  #retire(id: string, link: QmtpLink): void {
    this.#links.delete(id)
    this.#retired.set(link, this.#world.clock.monotonic())
  }

  #remember(transaction: Transaction, run: Run, verdict: HandoffVerdict & { kind: 'refused' }): void {
    const contents = new Contents(transaction)
    const committed = new Set(verdict.committed.map((one) => run.addressOf(one.package, one.recipient)))
    const fresh = transaction.recipients.filter(({ address }) => committed.has(address))
    const all = [...run.skipped, ...fresh.map(({ address }) => contents.of(address))]
    this.#committed.remember(all, this.#world.clock.monotonic())
  }

  #dateNow(): ByteString {
    const now = this.#world.clock.now()
    const second = Math.floor(now / 1000)
    if (second !== this.#dateSecond) {
      this.#dateSecond = second
      this.#date = mailDate(now)
    }
    return this.#date
  }
}

const connectingLoad = 1_000_000

interface PackagePlan {
  readonly byPool: ReadonlyMap<string, readonly ByteString[]>
  readonly skipped: readonly Content[]
}

/** Recipients by pool, without those an earlier try has committed. */
function packagesOf(transaction: Transaction, committed: Committed): PackagePlan {
  const byPool = new Map<string, ByteString[]>()
  for (const recipient of transaction.recipients) {
    if (committed.has(recipient.address)) continue
    const addresses = byPool.get(recipient.pool)
    if (addresses === undefined) byPool.set(recipient.pool, [recipient.address])
    else addresses.push(recipient.address)
  }
  return { byPool, skipped: [...committed.values()] }
}

/** One transaction on its way. */
class Run {
  readonly skipped: readonly Content[]
  readonly #owner: HandOver
  readonly #transaction: Transaction
  readonly #packages: EdgePackage[] = []
  readonly #handoff: Handoff
  readonly #done: HandOverDone
  #finished = false

  constructor(
    owner: HandOver,
    transaction: Transaction,
    plan: PackagePlan,
    backupPool: string | undefined,
    unclearRetryMs: number,
    done: HandOverDone,
  ) {
    this.skipped = plan.skipped
    this.#owner = owner
    this.#transaction = transaction
    this.#done = done
    const several = plan.byPool.size > 1
    for (const [pool, addresses] of plan.byPool) {
      const index = this.#packages.length
      const id = several ? packageId(transaction.id, index) : transaction.id
      this.#packages.push(new EdgePackage(this, index, pool, addresses, transaction, owner.traceOf(transaction, id)))
    }
    this.#handoff = new Handoff(this.#packages, owner, backupPool, unclearRetryMs)
  }

  start(): void {
    if (this.#packages.length === 0) return this.#finish({ kind: 'accepted' })
    for (let index = 0; index < this.#packages.length; index++) this.#carryOut(this.#handoff.place(index))
  }

  addressOf(index: number, recipient: number): ByteString | undefined {
    return this.#packages[index]?.addresses[recipient]
  }

  settled(index: number, outcome: QmtpLinkOutcome): void {
    const now = this.#owner.world.clock.monotonic()
    switch (outcome.kind) {
      case 'answered':
        return this.#carryOut(this.#handoff.answered(index, outcome.answers, now))
      case 'not-sent':
        return this.#carryOut(this.#handoff.notSent(index, now, outcome.why))
      case 'unclear':
        return this.#carryOut(this.#handoff.unclear(index, now))
    }
  }

  #carryOut(first: HandoffStep): void {
    for (let step = first; ; ) {
      if (step.kind === 'wait') return
      if (step.kind === 'finish') return this.#finish(step.verdict)
      if (step.kind === 'offer-later') return this.#offerLater(step)
      const offered = this.#packages[step.package] as EdgePackage
      offered.link = this.#owner.linkOf(step.instance)
      if (offered.link?.offer(offered) === true) return
      step = this.#handoff.notSent(step.package, this.#owner.world.clock.monotonic(), 'link not open')
    }
  }

  /** The same package to the same link: a layout may have given its instance's name to another meanwhile. */
  #offerLater({ package: index, afterMs }: HandoffStep & { kind: 'offer-later' }): void {
    const { clock } = this.#owner.world
    clock.after(afterMs, () => {
      const offered = this.#packages[index] as EdgePackage
      if (offered.link?.offer(offered) === true) return
      this.#carryOut(this.#handoff.notSent(index, clock.monotonic(), 'link not open'))
    })
  }

  #finish(verdict: HandoffVerdict): void {
    if (this.#finished) throw new Error('a transaction has two verdicts')
    this.#finished = true
    this.#owner.ended(this.#transaction, this, verdict)
    this.#done(verdict, this.#whereTo())
  }

  #whereTo(): string {
    return this.#packages
      .map((one) => (one.link === undefined ? 'nowhere' : `qmtp ${one.link.address.host}:${one.link.address.port}`))
      .join(', ')
  }
}
