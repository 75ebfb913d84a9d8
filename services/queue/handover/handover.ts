/**
 * What an instance has to do with hand-overs, by the layout alone: leave, be sealed, take from others, or nothing of it.
 *
 * `draining` by a plan that runs: deliveries pause and all mail goes to the plan's targets. `sealed` as well, with every package refused;
 * once nothing is left the seal is written, and what still came before that is moved like the rest. Any other standing delivers,
 * and settles what a cancelled plan has left unanswered. The port for others is open only while a plan names this instance as a
 * target. Without coordination the last layout goes on being carried out; without the doors (`HandoverDoors`) mail stays where it is.
 */

import type { DialHandover, ListenHandover } from '../../contract/handover.ts'
import { type DrainPlan, instanceOf, type Layout, planOfLeaving, plansOfTarget } from '../../contract/layout.ts'
import type { Ledger } from '../../contract/ledger.ts'
import type { Audit, DrainProgress } from '../../contract/operations.ts'
import { errorText } from '../../protocol/failure.ts'
import type { Timer, World } from '../../runtime/world.ts'
import type { IdIndex } from '../id-index.ts'
import type { JournalStore } from '../journal/store.ts'
import type { LiveMessage, LiveMessages } from '../live-messages.ts'
import { Drain } from './drain.ts'
import { Manifests } from './manifests.ts'
import type { OfferLimits } from './offer-book.ts'
import { breakSeal, sealVersion, writeSeal } from './seal.ts'
import { Taker } from './taker.ts'

/** How mail gets out and in: loaded when it is first needed. */
export interface HandoverDoors {
  readonly dial: DialHandover
  readonly listen: ListenHandover
}

export interface HandoverParts {
  readonly instance: string
  readonly home: string
  readonly store: JournalStore
  readonly live: LiveMessages
  readonly ids: IdIndex
  readonly ledger: Ledger
  readonly doors: () => Promise<HandoverDoors>
  readonly audit: () => Audit
  /** Why this instance takes nothing now. */
  readonly refusing: () => string | undefined
  /** Packages whose fate is not decided. */
  readonly committing: () => number
  readonly isBouncing: (message: LiveMessage) => boolean
  /** Deliveries and bounces begin no more; they begin again, all of them. */
  readonly pause: () => void
  readonly resume: () => void
  /** These want delivery, or their bounce. */
  readonly deliver: (messages: readonly LiveMessage[]) => void
  /** Refuse every package, or no longer. */
  readonly onSealed: (why: string | undefined) => void
  readonly onFatal: (error: Error) => void
  readonly limits?: OfferLimits
}

const listenAgainMs = 1000
const sealAgainMs = 1000

export class Handover {
  readonly #world: World
  readonly #parts: HandoverParts
  readonly #manifests: Manifests
  readonly #taker: Taker
  readonly #drain: Drain
  #layout: Layout
  /** The plan by which this instance leaves now. */
  #plan: DrainPlan | undefined
  #isStarted = false
  #isStopped = false
  #listener: Promise<{ close(): Promise<void> } | undefined> | undefined
  #listenTimer: Timer | undefined
  /** The plan whose seal is durable. */
  #sealedBy: string | undefined
  #sealing = false
  #mayHaveSeal = true
  #sealTimer: Timer | undefined

  constructor(world: World, parts: HandoverParts, layout: Layout) {
    this.#world = world
    this.#parts = parts
    this.#layout = layout
    const { instance, home, store, live, ids, ledger, onFatal, isBouncing, limits } = parts
    this.#manifests = new Manifests(world, `${home}/handover`, { instance, onFatal })
    const common = { instance, store, manifests: this.#manifests, ledger }
    this.#taker = new Taker(world, {
      ...{ ...common, ids },
      layout: () => this.#layout,
      refusing: parts.refusing,
      onTaken: (message) => this.accepted(message),
    })
    this.#drain = new Drain(
      world,
      {
        ...{ ...common, live, isBouncing },
        dial: async () => (await parts.doors()).dial,
        onStays: (message) => parts.deliver([message]),
        onProgress: () => this.#check(),
        ...(limits === undefined ? {} : { limits }),
      },
      layout,
    )
  }

  /** The journal has been replayed. */
  start(): void {
    this.#isStarted = true
    this.#follow(this.#layout)
    if (this.#plan === undefined) this.#deliverAll()
  }

  apply(layout: Layout): void {
    this.#layout = layout
    this.#taker.apply(layout)
    if (this.#isStarted && !this.#isStopped) this.#follow(layout)
  }

  /** A message is new here. */
  accepted(message: LiveMessage): void {
    this.#sealedBy = undefined
    if (this.#plan === undefined) this.#parts.deliver([message])
    else this.#drain.add(message)
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.#taker.close()
    this.#listenTimer?.cancel()
    this.#sealTimer?.cancel()
    await this.#closeListener()
    await this.#drain.stop()
  }

  /** After the journal: its last answers write their lines. */
  async close(): Promise<void> {
    await this.#manifests.close()
  }

  get manifests(): Manifests {
    return this.#manifests
  }

  /** Of the plan by which this instance leaves, or left what is not settled. */
  get progress(): DrainProgress | undefined {
    const plan = planOfLeaving(this.#layout, this.#parts.instance)
    const { offered, moved, movedBytes, waiting } = this.#drain
    const isLeaving = plan !== undefined && (this.#plan !== undefined || !this.#isStarted)
    if (!isLeaving && offered === 0) return undefined
    const { size, bodyBytes } = this.#parts.live
    const base = { plan: plan?.id ?? '', moved, movedBytes, left: size, leftBytes: bodyBytes }
    // What the journal will say is not known yet: it may be anything but nothing.
    if (!this.#isStarted) return { ...base, phase: 'quiescing', offered: 1, why: 'it is replaying its journal' }
    const why = this.#drain.why ?? (this.#plan === undefined ? undefined : this.#damageText())
    const phase = this.#phase(waiting)
    return { ...base, phase, offered, ...(why === undefined ? {} : { why }) }
  }

  #phase(waiting: number): DrainProgress['phase'] {
    if (this.#plan === undefined) return 'moving'
    if (this.#sealedBy === this.#plan.id && this.#isEmpty()) return 'sealed'
    if (this.#isEmpty()) return 'empty'
    return waiting > 0 && waiting >= this.#parts.live.size - this.#drain.offered ? 'quiescing' : 'moving'
  }

  #isEmpty(): boolean {
    return this.#parts.live.size === 0 && this.#drain.offered === 0
  }

  #damageText(): string | undefined {
    const { damaged } = this.#drain
    if (damaged.length === 0) return undefined
    const named = `${damaged.slice(0, 5).join(', ')}${damaged.length > 5 ? ', ...' : ''}`
    return `${damaged.length} messages stay, because their bodies are damaged on disk: ${named}`
  }

  #follow(layout: Layout): void {
    const { instance } = this.#parts
    const own = planOfLeaving(layout, instance)
    const standing = instanceOf(layout, instance)?.standing
    const leaves = own?.state === 'running' && (standing === 'draining' || standing === 'sealed')
    this.#parts.onSealed(leaves && standing === 'sealed' ? 'this queue has left the cluster' : undefined)
    if (standing !== 'sealed') this.#breakSeal()
    const moved = this.#plan !== undefined
    this.#plan = leaves ? own : undefined
    if (leaves) {
      if (!moved) this.#parts.pause()
      this.#drain.move(layout, own)
    } else {
      this.#drain.settle(layout, own)
      if (moved) {
        this.#parts.resume()
        this.#deliverAll()
      }
    }
    this.#openOrClose(plansOfTarget(layout, instance).length > 0)
    this.#check()
  }

  #deliverAll(): void {
    const messages = [...this.#parts.live.all()]
    this.#parts.deliver(messages.filter((one) => one.offered === undefined && !this.#drain.has(one)))
  }

  #breakSeal(): void {
    this.#sealedBy = undefined
    if (!this.#mayHaveSeal) return
    this.#mayHaveSeal = false
    breakSeal(this.#world.disk, this.#parts.home).catch((error: unknown) => {
      this.#world.log.warn('an old seal is left', { home: this.#parts.home, error: errorText(error) })
    })
  }

  /** Whether the seal can be written. */
  #check(): void {
    const plan = this.#plan
    const standing = instanceOf(this.#layout, this.#parts.instance)?.standing
    if (plan === undefined || standing !== 'sealed' || this.#sealing || this.#isStopped) return
    if (this.#sealedBy === plan.id || !this.#isEmpty()) return
    this.#sealTimer?.cancel()
    if (this.#parts.committing() > 0) {
      this.#sealTimer = this.#world.clock.after(sealAgainMs, () => this.#check())
      return
    }
    this.#sealing = true
    this.#mayHaveSeal = true
    this.#seal(plan)
      .catch((error: unknown) => {
        this.#world.log.error('seal not written', { home: this.#parts.home, error: errorText(error) })
        this.#sealTimer = this.#world.clock.after(sealAgainMs, () => this.#check())
      })
      .finally(() => {
        this.#sealing = false
      })
  }

  async #seal(plan: DrainPlan): Promise<void> {
    const { instance, home, audit } = this.#parts
    const { parts } = await this.#manifests.manifest(plan.id)
    const left = parts.filter(({ source }) => source === instance)
    const sealedAt = this.#world.clock.now()
    await writeSeal(this.#world.disk, home, {
      ...{ version: sealVersion, plan: plan.id, instance, sealedAt, left, audit: audit() },
    })
    // What has come meanwhile is moved, and the seal is written again then.
    if (this.#isEmpty() && this.#plan?.id === plan.id) this.#sealedBy = plan.id
  }

  #openOrClose(isTarget: boolean): void {
    if (isTarget && this.#listener === undefined) this.#open()
    else if (!isTarget && this.#listener !== undefined) {
      this.#closeListener().catch((error: unknown) => {
        this.#world.log.warn('hand-over port not closed', { error: errorText(error) })
      })
    }
  }

  #open(): void {
    const spec = instanceOf(this.#layout, this.#parts.instance)
    if (spec === undefined) return
    const at = { host: spec.host, port: spec.handoverPort }
    this.#listenTimer?.cancel()
    const opening = this.#parts.doors().then(({ listen }) => listen(at, this.#taker))
    this.#listener = opening.catch((error: unknown) => {
      this.#world.log.error('nothing can be taken over', { ...at, error: errorText(error) })
      this.#listener = undefined
      if (this.#isStopped) return undefined
      this.#listenTimer = this.#world.clock.after(listenAgainMs, () => {
        this.#openOrClose(plansOfTarget(this.#layout, this.#parts.instance).length > 0)
      })
      return undefined
    })
  }

  async #closeListener(): Promise<void> {
    const listener = this.#listener
    this.#listener = undefined
    await (await listener)?.close()
  }
}
