/**
 * The source's side of a hand-over: all mail of this instance to the targets of its plan, message by message.
 *
 *   offered   durable here before the message is sent: from then on it is delivered by nobody
 *   taken     the target's answer, durable there; its hashes must be ours
 *   line      in our manifest, durable
 *   moved     durable here: the message is over
 *
 * What is offered and not answered is offered again to the same target, by this life or a later one, until it has said what became of
 * it. Without a link everything stays where it is. When the plan is cancelled, offers are still settled so; every other message is
 * given back to be delivered here.
 */

import type { DialHandover, HandoverAnswer, HandoverLink } from '../../contract/handover.ts'
import { handoverVersion } from '../../contract/handover.ts'
import { type DrainPlan, instanceOf, type Layout } from '../../contract/layout.ts'
import type { Ledger } from '../../contract/ledger.ts'
import { errorText } from '../../protocol/failure.ts'
import type { Clock, Log, Timer } from '../../runtime/world.ts'
import type { JournalRecord } from '../journal/record.ts'
import type { JournalStore } from '../journal/store.ts'
import { countOpen, damagedBody, type LiveMessage, type LiveMessages } from '../live-messages.ts'
import type { Manifests } from './manifests.ts'
import { type AnswerKind, defaultOfferLimits, OfferBook, type OfferLimits, type Turn } from './offer-book.ts'
import { entryOfParcel, type Parcel, parcelOf } from './parcel.ts'

export interface DrainParts {
  readonly instance: string
  readonly store: JournalStore
  readonly live: LiveMessages
  readonly manifests: Manifests
  readonly ledger: Ledger
  /** Asked for once something is to be handed over. */
  readonly dial: () => Promise<DialHandover>
  /** A bounce of the message may be on its way. */
  readonly isBouncing: (message: LiveMessage) => boolean
  /** Its offer is settled: it stays, and is to be delivered here. */
  readonly onStays: (message: LiveMessage) => void
  /** Something was moved, or may be moved now. */
  readonly onProgress: () => void
  readonly limits?: OfferLimits
}

/** How long a message whose delivery is under way is left alone before it is looked at again. */
const lookAgainMs = 100

export class Drain {
  readonly #world: { readonly clock: Clock; readonly log: Log }
  readonly #parts: DrainParts
  readonly #book: OfferBook
  #layout: Layout
  #plan: DrainPlan | undefined
  /** False: only what is offered already is settled. */
  #isMoving = false
  #dial: DialHandover | undefined
  readonly #links = new Map<string, HandoverLink>()
  /** Messages with a delivery, a bounce or a record under way. */
  readonly #busy = new Set<LiveMessage>()
  /** Messages in the book or in flight. */
  readonly #held = new Set<number>()
  /** What a target said last, where it did not take. */
  readonly #complaints = new Map<string, string>()
  /** Messages a target has otherwise than we do: nobody touches them before a person has looked. */
  readonly #disputed = new Set<number>()
  /** Messages whose bodies did not check when they were met; some may have been released since. */
  readonly #damaged = new Set<LiveMessage>()
  /** Messages that are about to be given back. */
  readonly #staying = new Set<number>()
  #trouble: string | undefined
  /** It is known what earlier lives have moved. */
  #isReady = false
  #wake: Timer | undefined
  #stopped = false
  #pumping = false
  #onIdle: (() => void) | undefined
  moved = 0
  movedBytes = 0

  constructor(world: { readonly clock: Clock; readonly log: Log }, parts: DrainParts, layout: Layout) {
    this.#world = world
    this.#parts = parts
    this.#layout = layout
    this.#book = new OfferBook(parts.limits ?? defaultOfferLimits)
  }

  /** Hands over everything there is and everything that still comes. */
  move(layout: Layout, plan: DrainPlan): void {
    if (this.#plan?.id !== plan.id) this.#begin(plan)
    this.#layout = layout
    this.#plan = plan
    this.#isMoving = true
    this.#book.targets = plan.targets
    for (const message of this.#parts.live.all()) this.add(message)
    this.#prepare()
  }

  /** Hands over no more; what is offered already is settled. */
  settle(layout: Layout, plan: DrainPlan | undefined): void {
    this.#layout = layout
    if (plan !== undefined && this.#plan?.id !== plan.id) this.#begin(plan)
    this.#plan = plan ?? this.#plan
    this.#isReady ||= this.#plan === undefined
    this.#isMoving = false
    this.#book.targets = []
    this.#busy.clear()
    for (const { number } of this.#book.takeFree()) {
      const message = this.#parts.live.get(number)
      if (message !== undefined) this.#stay(message)
    }
    for (const message of this.#parts.live.all()) if (message.offered !== undefined) this.add(message)
    if (this.offered > 0) this.#prepare()
  }

  /** A message that came meanwhile, or that was there. */
  add(message: LiveMessage): void {
    const { number, held } = message
    if (held === damagedBody) this.#damaged.add(message)
    if (this.#stopped || this.#held.has(number) || this.#disputed.has(number) || held === damagedBody) return
    if (message.attempting > 0 || message.appending > 0 || this.#parts.isBouncing(message)) {
      this.#busy.add(message)
      this.#sleep()
      return
    }
    this.#held.add(number)
    const bound = message.offered?.target
    this.#book.add({
      number,
      id: message.id,
      bytes: message.location.bytes,
      dueAt: dueAtOf(message),
      bound,
      refusedBy: [],
    })
    this.#pumpSoon()
  }

  /** Messages that may be at a target: only it can say. */
  get offered(): number {
    return this.#book.inFlight + this.#book.bound + this.#staying.size + this.#disputed.size
  }

  /** Deliveries and records that are waited for. */
  get waiting(): number {
    return this.#busy.size
  }

  /** True: the message is being handed over, or was offered. */
  has(message: LiveMessage): boolean {
    return this.#held.has(message.number) || this.#disputed.has(message.number)
  }

  /** Ids of messages that stay, because their bodies are damaged. */
  get damaged(): readonly string[] {
    const { live } = this.#parts
    const there = [...this.#damaged].filter((one) => one.held === damagedBody && live.get(one.number) === one)
    return there.map(({ id }) => id)
  }

  /** Why it does not go on, in words; undefined where it does. */
  get why(): string | undefined {
    const { live } = this.#parts
    if (this.#disputed.size > 0) return `targets have ${this.#disputed.size} messages otherwise than this instance`
    if (this.#trouble !== undefined) return this.#trouble
    if (this.#isMoving && live.size > 0 && this.#plan?.targets.length === 0) return 'the plan has no target'
    const complaints = this.#book.resting(this.#world.clock.monotonic()).flatMap((target) => {
      const complaint = this.#complaints.get(target)
      return complaint === undefined ? [] : [`${target}: ${complaint}`]
    })
    return complaints.length === 0 ? undefined : complaints.join('; ')
  }

  /** What was sent and not answered stays unclear. Resolves when nothing of it is under way here. */
  stop(): Promise<void> {
    this.#stopped = true
    this.#wake?.cancel()
    this.#closeLinks()
    if (this.#book.inFlight === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#onIdle = resolve
    })
  }

  #begin(plan: DrainPlan): void {
    this.#closeLinks()
    this.moved = 0
    this.movedBytes = 0
    this.#isReady = false
    const { manifests, instance } = this.#parts
    const begin = (): void => {
      this.#isReady = true
      this.#pumpSoon()
    }
    manifests.manifest(plan.id).then(
      ({ parts }) => {
        for (const part of parts) {
          if (part.source !== instance) continue
          this.moved += part.messages
          this.movedBytes += part.bytes
        }
        begin()
      },
      (error: unknown) => {
        // Only people look at the figures; the file is read again for the receipt.
        this.#world.log.warn('manifest cannot be read', { plan: plan.id, error: errorText(error) })
        begin()
      },
    )
  }

  #prepare(): void {
    if (this.#dial !== undefined) return this.#pumpSoon()
    this.#parts.dial().then(
      (dial) => {
        this.#dial = dial
        this.#pumpSoon()
      },
      (error: unknown) => {
        this.#trouble = `nothing can be handed over: ${errorText(error)}`
        this.#world.log.error('hand-over cannot begin', { error: errorText(error) })
      },
    )
  }

  #pumpSoon(): void {
    if (this.#pumping || this.#stopped) return
    this.#pumping = true
    this.#world.clock.soon(() => {
      this.#pumping = false
      this.#pump()
    })
  }

  #pump(): void {
    this.#parts.onProgress()
    if (this.#stopped || this.#dial === undefined || !this.#isReady) return
    const now = this.#world.clock.monotonic()
    for (let turn = this.#book.next(now); turn !== undefined; turn = this.#book.next(now)) this.#start(turn)
    this.#sleep()
  }

  #sleep(): void {
    const now = this.#world.clock.monotonic()
    const again = this.#busy.size > 0 ? now + lookAgainMs : Number.POSITIVE_INFINITY
    const at = Math.min(again, this.#book.nextAt(now))
    this.#wake?.cancel()
    if (at === Number.POSITIVE_INFINITY || this.#stopped) return
    this.#wake = this.#world.clock.after(at - now, () => {
      for (const message of [...this.#busy]) {
        this.#busy.delete(message)
        if (this.#parts.live.get(message.number) === message) this.add(message)
      }
      this.#pump()
    })
  }

  #start(turn: Turn): void {
    const message = this.#parts.live.get(turn.offering.number)
    // Whatever had it under way when it was added has ended since; nothing else begins while it is here.
    if (message === undefined || message.appending > 0) {
      this.#book.abandoned(turn)
      this.#held.delete(turn.offering.number)
      if (message !== undefined) this.add(message)
      return
    }
    message.appending++
    this.#turn(turn, message)
      .catch((error: unknown) => this.#world.log.error('hand-over is broken', { error: errorText(error) }))
      .finally(() => {
        message.appending--
        if (this.#book.inFlight === 0) this.#onIdle?.()
        this.#pumpSoon()
      })
  }

  /** One offer of one message, to its end; the book hears of it once. */
  async #turn(turn: Turn, message: LiveMessage): Promise<void> {
    const { offering, target } = turn
    const attempt = { wasAsked: false }
    const end = await this.#offer(turn, message, attempt).catch((error: unknown): AnswerKind => {
      this.#trouble = errorText(error)
      this.#world.log.error('message not handed over', { id: message.id, error: errorText(error) })
      // Before the target was asked, nothing has changed; afterwards, only it can say.
      return attempt.wasAsked ? 'unclear' : 'refused'
    })
    if (end === 'damaged' || end === 'disputed') {
      this.#book.abandoned(turn)
      this.#held.delete(offering.number)
      return end === 'damaged' ? this.#setAside(message) : this.#dispute(message, target)
    }
    const meaning = this.#book.answered(turn, end, this.#world.clock.monotonic())
    if (meaning === 'over') this.#left(turn, message)
    else if (meaning === 'bound' || this.#isMoving) this.#book.add(offering)
    else this.#stay(message)
  }

  async #offer(
    { offering, target }: Turn,
    message: LiveMessage,
    attempt: { wasAsked: boolean },
  ): Promise<AnswerKind | 'damaged' | 'disputed'> {
    const parcel = await parcelOf(this.#parts.store.bodies, message, this.#parts.instance)
    if (parcel === undefined) return 'damaged'
    if (message.offered?.target !== target) {
      const { number } = offering
      const plan = this.#plan?.id ?? ''
      await this.#write({ type: 'offered', number, target, plan, at: this.#world.clock.now() })
    }
    if (!this.#isMoving && offering.bound === undefined) return 'refused'
    const link = this.#linkTo(target)
    if (typeof link === 'string') {
      this.#complaints.set(target, link)
      return 'refused'
    }
    attempt.wasAsked = true
    const answer = await new Promise<HandoverAnswer>((resolve) => link.offer(parcel.offer, resolve))
    if (answer.kind === 'taken') {
      if (!isSame(answer, parcel)) return 'disputed'
      await this.#leave(message, parcel, target)
      this.#trouble = undefined
      return 'taken'
    }
    this.#complaints.set(target, answer.why)
    if (answer.kind !== 'absent' && this.#links.get(target) === link) this.#closeLink(target)
    return answer.kind
  }

  /** The target has it, durably: so may we say. */
  async #leave(message: LiveMessage, parcel: Parcel, target: string): Promise<void> {
    const { manifests, instance } = this.#parts
    const { number } = message
    const plan = this.#plan?.id ?? ''
    const entry = entryOfParcel(parcel, message, instance, target)
    await new Promise<void>((resolve, reject) => {
      manifests.append(plan, entry, (error) => (error === undefined ? resolve() : reject(error)))
    })
    const at = this.#world.clock.now()
    await this.#write({ type: 'moved', number, at, target, count: countOpen(message.recipients) })
  }

  #left({ offering, target }: Turn, message: LiveMessage): void {
    const { bytes, number } = offering
    this.#held.delete(number)
    this.moved++
    this.movedBytes += bytes
    const { ledger, instance } = this.#parts
    const [at, text] = [this.#world.clock.now(), this.#plan?.id ?? '']
    ledger.record({ id: message.id, tier: 'queue', instance, event: 'handed-over', at, bytes, to: target, text })
  }

  /** No target has it, and none will: that is durable before it is delivered here. */
  #stay(message: LiveMessage): void {
    const { number, offered } = message
    this.#staying.add(number)
    if (offered === undefined) return this.#stays(message)
    message.appending++
    const record = { type: 'offered', number, target: '', plan: offered.plan, at: this.#world.clock.now() } as const
    this.#parts.store.append(record, [], 0, (error) => {
      message.appending--
      if (error === undefined) return this.#stays(message)
      if (this.#stopped || this.#parts.store.journal.failure !== undefined) return
      this.#world.clock.after(defaultOfferLimits.againMs, () => this.#stay(message))
    })
  }

  #stays(message: LiveMessage): void {
    this.#world.clock.soon(() => {
      this.#staying.delete(message.number)
      this.#held.delete(message.number)
      // The plan may have come back meanwhile.
      if (this.#isMoving) this.add(message)
      else this.#parts.onStays(message)
    })
  }

  #setAside(message: LiveMessage): Promise<void> {
    const [number, at] = [message.number, this.#world.clock.now()]
    this.#world.log.error('message held: its body does not match its checksum', { id: message.id })
    message.held = damagedBody
    this.#damaged.add(message)
    return this.#write({ type: 'hold', number, at, held: true, why: damagedBody })
  }

  #dispute(message: LiveMessage, target: string): void {
    this.#world.log.error('a target has a message otherwise than this instance', { id: message.id, target })
    this.#disputed.add(message.number)
  }

  #write(record: JournalRecord): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#parts.store.append(record, [], 0, (error) => (error === undefined ? resolve() : reject(error)))
    })
  }

  #linkTo(target: string): HandoverLink | string {
    const known = this.#links.get(target)
    if (known !== undefined) return known
    const spec = instanceOf(this.#layout, target)
    const [plan, dial] = [this.#plan, this.#dial]
    if (this.#stopped || plan === undefined || dial === undefined) return 'there is no plan'
    if (spec === undefined) return `the layout has no instance ${target}`
    const { cluster, epoch } = this.#layout
    const hello = { version: handoverVersion, cluster, plan: plan.id, source: this.#parts.instance, target, epoch }
    const link = dial({ host: spec.host, port: spec.handoverPort }, hello)
    this.#links.set(target, link)
    return link
  }

  #closeLink(target: string): void {
    const link = this.#links.get(target)
    this.#links.delete(target)
    link?.close()
  }

  #closeLinks(): void {
    for (const target of [...this.#links.keys()]) this.#closeLink(target)
  }
}

function isSame(answer: HandoverAnswer & { readonly kind: 'taken' }, { hashes }: Parcel): boolean {
  return answer.envelope === hashes.envelope && answer.body === hashes.body
}

/** Of the first recipient that waits; a message to be reported waits for nothing. */
function dueAtOf({ birthAt, recipients }: LiveMessage): number {
  let dueAt = Number.POSITIVE_INFINITY
  for (const recipient of recipients) if (recipient.status === 'pending') dueAt = Math.min(dueAt, recipient.dueAt)
  return dueAt === Number.POSITIVE_INFINITY ? birthAt : dueAt
}
