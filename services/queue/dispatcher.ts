/**
 * From live message to settled recipient: jobs to the scheduler, attempts to the transports, outcomes to the journal.
 *
 * A recipient is marked only after its outcome came back, and counts as marked only once the mark is durable (promise 7). An
 * outcome that cannot be written is kept and written again: forgetting it would deliver twice, acting on it early could
 * lose. When the last recipient is settled and one failed, the bouncer takes over. Paused, it starts nothing and keeps no jobs; what
 * it had is given back to it when it goes on. A message that was offered to another instance is none of its business.
 */

import {
  type Attempt,
  type Body,
  type Destination,
  type Outcome,
  sameForAll,
  type Transport,
} from '../contract/delivery.ts'
import type { Ledger, LedgerEventName } from '../contract/ledger.ts'
import { forwardId } from '../contract/transaction-id.ts'
import { type Failure, temporary } from '../protocol/failure.ts'
import type { Clock, Log, Timer } from '../runtime/world.ts'
import type { CeilingGate } from './ceiling-gate.ts'
import type { JournalRecord } from './journal/record.ts'
import type { JournalStore } from './journal/store.ts'
import { damagedBody, hasFailed, type LiveMessage, type LiveMessages, originOf } from './live-messages.ts'
import { boundedDueAt, expired, isLastAttempt, nextAttemptAt } from './retry.ts'
import { type Job, Scheduler, type SchedulerLimits } from './scheduler.ts'

export interface Transports {
  readonly smtp: Transport
  readonly qmtp: Transport
  readonly maildir: Transport
}

export interface DispatchPolicy {
  readonly limits: SchedulerLimits
  readonly lifetimeMs: number
  /** Wanted from acceptance to delivery; orders the due jobs of a destination. */
  readonly slaMs: number
  readonly recipientsPerAttemptMax: number
  readonly destinationFor: (message: LiveMessage, recipient: string) => Destination
}

export interface DispatcherParts {
  readonly instance: string
  readonly store: JournalStore
  readonly live: LiveMessages
  readonly transports: Transports
  readonly ledger: Ledger
  readonly policy: DispatchPolicy
  /** The cluster's limits on destinations. */
  readonly gate?: CeilingGate
  /** Every recipient is settled and at least one failed. */
  readonly onFailed: (message: LiveMessage) => void
}

export interface DeliveryJob extends Job {
  readonly message: LiveMessage
  readonly to: Destination
  /** Indices of the recipients. */
  readonly recipients: readonly number[]
}

const recordRetryMs = 1000

export class Dispatcher {
  readonly #world: { readonly clock: Clock; readonly log: Log }
  readonly #parts: DispatcherParts
  #policy: DispatchPolicy
  readonly #scheduler: Scheduler<DeliveryJob>
  /** Jobs whose destination takes nothing until the layout says otherwise. */
  #onHold: DeliveryJob[] = []
  #wake: Timer | undefined
  #wakeAt = Number.POSITIVE_INFINITY
  #stopping = false
  #isPaused = false
  /** Begun, and their outcomes not yet marked. */
  readonly #unfinished = new Set<DeliveryJob>()
  #onIdle: (() => void) | undefined
  #pumping = false

  constructor(world: { readonly clock: Clock; readonly log: Log }, parts: DispatcherParts) {
    this.#world = world
    this.#parts = parts
    this.#policy = parts.policy
    this.#scheduler = new Scheduler(parts.policy.limits, parts.gate)
  }

  get running(): number {
    return this.#scheduler.running
  }

  /** Due jobs by the destination that the cluster limits. */
  get dueAtGates(): ReadonlyMap<string, number> {
    return this.#scheduler.dueAtGates()
  }

  /** Schedules everything a message still wants; `pump` starts it. */
  add(message: LiveMessage): void {
    if (message.held !== undefined || message.offered !== undefined || message.pending === 0) return
    this.#schedule(message, message.attempting === 0 ? message.recipients.keys() : this.#untried(message))
  }

  /** Starts no delivery and forgets what waits, until `resume`. */
  pause(): void {
    this.#isPaused = true
    this.#scheduler.drain()
    this.#onHold = []
    this.#wake?.cancel()
    this.#wakeAt = Number.POSITIVE_INFINITY
  }

  /** The owner adds whatever is to be delivered. */
  resume(): void {
    this.#isPaused = false
  }

  /** Starts what can start now; asked again by itself when something ends or falls due. */
  pump(): void {
    if (this.#stopping || this.#isPaused || this.#pumping) return
    this.#pumping = true
    const now = this.#world.clock.now()
    for (let job = this.#scheduler.start(now); job !== undefined; job = this.#scheduler.start(now)) this.#run(job)
    this.#pumping = false
    this.#sleep(now)
  }

  /** A new layout: everything that waits is routed again; what runs finds its way when it ends. */
  apply(policy: DispatchPolicy): void {
    this.#policy = policy
    this.#scheduler.limits = policy.limits
    this.#scheduler.regate()
    const waiting = [...this.#scheduler.drain(), ...this.#onHold]
    this.#onHold = []
    for (const job of waiting) {
      if (this.#parts.live.get(job.message.number) === job.message) this.#schedule(job.message, job.recipients)
    }
    this.pump()
  }

  /** The operator's "try now". */
  dueNow(): void {
    this.#scheduler.dueNow(this.#world.clock.now())
    this.pump()
  }

  /** Starts nothing more; resolves when nothing runs, or after `waitMs`. */
  stop(waitMs: number): Promise<void> {
    this.#stopping = true
    this.#wake?.cancel()
    if (this.#scheduler.running === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#onIdle = resolve
      this.#world.clock.after(waitMs, resolve)
    })
  }

  /** Recipients of a message that no unfinished job has. */
  #untried(message: LiveMessage): number[] {
    const tried = new Set<number>()
    for (const job of this.#unfinished)
      if (job.message === message) for (const index of job.recipients) tried.add(index)
    return [...message.recipients.keys()].filter((index) => !tried.has(index))
  }

  /** Jobs for those of the recipients that are pending, one for each destination and due time. */
  #schedule(message: LiveMessage, indices: Iterable<number>): void {
    if (this.#isPaused) return
    const now = this.#world.clock.now()
    for (const job of this.#jobsOf(message, indices, now)) {
      if (job.to.kind === 'hold') this.#onHold.push(job)
      else this.#scheduler.add(job, now)
    }
  }

  #jobsOf(message: LiveMessage, indices: Iterable<number>, now: number): DeliveryJob[] {
    const groups: { readonly to: Destination; readonly dueAt: number; readonly recipients: number[] }[] = []
    const byKey = new Map<string, (typeof groups)[number]>()
    for (const index of indices) {
      const recipient = message.recipients[index]
      if (recipient?.status !== 'pending') continue
      const dueAt = boundedDueAt(recipient.dueAt, message.birthAt, now)
      const to = this.#policy.destinationFor(message, recipient.address)
      const known = groups.length > 0 ? byKey.get(`${to.key} ${dueAt}`) : undefined
      if (known !== undefined && known.recipients.length < this.#policy.recipientsPerAttemptMax) {
        known.recipients.push(index)
        continue
      }
      const group = { to, dueAt, recipients: [index] }
      groups.push(group)
      // Most messages have one recipient and never look here.
      if (message.recipients.length > 1) byKey.set(`${to.key} ${dueAt}`, group)
    }
    const deadlineAt = message.birthAt + this.#policy.slaMs
    return groups.map(({ to, dueAt, recipients }) => ({
      destination: to.key,
      to,
      dueAt,
      deadlineAt,
      message,
      recipients,
    }))
  }

  #run(job: DeliveryJob): void {
    const { message } = job
    message.attempting++
    this.#unfinished.add(job)
    if (message.cached !== undefined || message.verified) return this.#attempt(job)
    this.#parts.store.bodies.verify(message).then(
      (whole) => {
        if (whole) this.#attempt(job)
        else this.#setAside(job)
      },
      (error: unknown) => {
        const failure = temporary('self', '4.3.0', 'the message cannot be read from the disk now')
        this.#world.log.error('body cannot be read', { id: message.id, error: String(error) })
        this.#ended(
          job,
          this.#world.clock.now(),
          job.recipients.map(() => ({ kind: 'failed', to: '', failure })),
        )
      },
    )
  }

  #attempt(job: DeliveryJob): void {
    const startedAt = this.#world.clock.now()
    const attempt: Attempt = {
      id:
        job.to.kind === 'qmtp'
          ? forwardId(job.message.id, originOf(job.message, this.#parts.instance).instance)
          : job.message.id,
      sender: job.message.sender,
      recipients: job.recipients.map((index) => job.message.recipients[index]!.address),
      body: this.#bodyOf(job.message),
      destination: job.to,
      birthAt: job.message.birthAt,
    }
    this.#transportOf(job.to).attempt(attempt, (outcomes) => {
      const complete = outcomes.length === attempt.recipients.length
      this.#ended(job, startedAt, complete ? outcomes : sameForAll(attempt, brokenTransport))
    })
  }

  #transportOf(to: Destination): Transport {
    if (to.kind === 'maildir') return this.#parts.transports.maildir
    return to.kind === 'qmtp' ? this.#parts.transports.qmtp : this.#parts.transports.smtp
  }

  #bodyOf(message: LiveMessage): Body {
    const { bodies } = this.#parts.store
    return {
      form: message.form,
      bytes: message.location.bytes,
      slice: (position, length) => bodies.slice(message, position, length),
    }
  }

  #ended(job: DeliveryJob, startedAt: number, outcomes: readonly Outcome[]): void {
    const now = this.#world.clock.now()
    this.#scheduler.end(job, outcomes.some(reachedPeer), now)
    const attempts = Math.max(...job.recipients.map((index) => job.message.recipients[index]!.attempts))
    const last = isLastAttempt(job.message.birthAt, startedAt, this.#policy.lifetimeMs, attempts)
    const settled: (typeof outcomes)[number][] = outcomes.map((outcome) =>
      outcome.kind === 'failed' && last && outcome.failure.class === 'temporary'
        ? { ...outcome, failure: expired(outcome.failure) }
        : outcome,
    )
    this.#mark(job, startedAt, now, settled)
    if (this.#scheduler.running === 0) this.#onIdle?.()
    this.pump()
  }

  #mark(job: DeliveryJob, startedAt: number, at: number, outcomes: readonly Outcome[]): void {
    const { number } = job.message
    const results: { index: number; status: 'delivered' | 'failed'; failure: Failure | undefined; remote: string }[] =
      []
    const deferrals: { index: number; failure: Failure; remote: string }[] = []
    for (const [position, outcome] of outcomes.entries()) {
      const index = job.recipients[position]!
      if (outcome.kind === 'delivered') {
        results.push({ index, status: 'delivered', failure: undefined, remote: outcome.to })
      } else if (outcome.failure.class === 'permanent') {
        results.push({ index, status: 'failed', failure: outcome.failure, remote: outcome.to })
      } else deferrals.push({ index, failure: outcome.failure, remote: outcome.to })
    }
    const marks: JournalRecord[] = []
    if (results.length > 0) marks.push({ type: 'result', number, at, results })
    if (deferrals.length > 0) {
      const channel = job.to.kind === 'maildir' ? 'local' : 'remote'
      const dueAt = Math.max(at, nextAttemptAt(job.message.birthAt, startedAt, channel))
      marks.push({ type: 'deferral', number, at, dueAt, deferrals })
    }
    this.#report(job, at, outcomes)
    this.#write(job, marks)
  }

  /** All marks of one attempt, then what follows from them. */
  #write(job: DeliveryJob, marks: readonly JournalRecord[]): void {
    const { message } = job
    let left = marks.length
    message.appending++
    for (const mark of marks) {
      this.#writeMark(mark, () => {
        if (--left > 0) return
        message.appending--
        this.#marked(job)
      })
    }
  }

  #writeMark(mark: JournalRecord, done: () => void): void {
    this.#parts.store.append(mark, [], 0, (error) => {
      if (error === undefined) return done()
      if (this.#parts.store.journal.failure !== undefined) return
      this.#world.clock.after(recordRetryMs, () => this.#writeMark(mark, done))
    })
  }

  #marked(job: DeliveryJob): void {
    const { message } = job
    this.#finish(job)
    const { live } = this.#parts
    if (live.get(message.number) !== message) {
      this.#note(message, 'ended', {})
      return
    }
    if (message.pending === 0 && hasFailed(message)) return this.#parts.onFailed(message)
    this.#again(job)
    this.pump()
  }

  #finish(job: DeliveryJob): void {
    job.message.attempting--
    this.#unfinished.delete(job)
  }

  /** The recipients of the job that were deferred, by what is now in the queue. */
  #again(job: DeliveryJob): void {
    const { message } = job
    const recipients = job.recipients.filter((index) => message.recipients[index]?.status === 'pending')
    const first = message.recipients[recipients[0] ?? -1]
    if (first === undefined || message.held !== undefined) return
    this.#schedule(message, recipients)
  }

  /** A stored body that does not match its checksum: kept for a person to look at, never sent. */
  #setAside(job: DeliveryJob): void {
    const { message } = job
    const why = damagedBody
    this.#world.log.error('message held: its body does not match its checksum', { id: message.id })
    this.#scheduler.end(job, true, this.#world.clock.now())
    this.#finish(job)
    message.held = why
    this.#note(message, 'quarantined', { text: why })
    this.#writeMark({ type: 'hold', number: message.number, at: this.#world.clock.now(), held: true, why }, () => {})
    this.pump()
  }

  #report(job: DeliveryJob, at: number, outcomes: readonly Outcome[]): void {
    for (const [position, outcome] of outcomes.entries()) {
      const recipients = [job.message.recipients[job.recipients[position]!]!.address]
      const base = { recipients, to: outcome.to, at }
      if (outcome.kind === 'delivered') this.#note(job.message, 'delivered', { ...base, text: outcome.text })
      else {
        const event = outcome.failure.class === 'permanent' ? 'failed' : 'deferred'
        this.#note(job.message, event, { ...base, text: `${outcome.failure.text} (#${outcome.failure.enhanced})` })
      }
    }
  }

  #note(
    message: LiveMessage,
    event: LedgerEventName,
    more: {
      readonly recipients?: readonly string[]
      readonly to?: string
      readonly text?: string
      readonly at?: number
    },
  ): void {
    const at = this.#world.clock.now()
    this.#parts.ledger.record({ id: message.id, tier: 'queue', instance: this.#parts.instance, event, at, ...more })
  }

  #sleep(now: number): void {
    const at = this.#scheduler.nextAt()
    if (at === this.#wakeAt || this.#stopping || this.#isPaused) return
    this.#wake?.cancel()
    this.#wakeAt = at
    if (at === Number.POSITIVE_INFINITY) return
    this.#wake = this.#world.clock.after(at - now, () => {
      this.#wakeAt = Number.POSITIVE_INFINITY
      this.pump()
    })
  }
}

const brokenTransport: Outcome = {
  kind: 'failed',
  to: '',
  failure: temporary('self', '4.3.0', 'a delivery answered for other recipients than it was given'),
}

/** 4.4.1 and 4.4.3 say that no host of the destination could be reached at all. */
function reachedPeer(outcome: Outcome): boolean {
  if (outcome.kind === 'delivered') return true
  return outcome.failure.enhanced !== '4.4.1' && outcome.failure.enhanced !== '4.4.3'
}
