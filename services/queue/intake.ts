/**
 * Packages in, answers out: the queue's side of promises 1, 3 and 5.
 *
 * `K` is an effect of the journal's "made durable" and of nothing else. A package already committed is answered `K` again; one
 * whose commit is under way waits for the same commit. Whatever goes wrong here is `Z`, and the reason is in the log.
 */

import type { Ledger } from '../contract/ledger.ts'
import { makeTransactionId } from '../contract/transaction-id.ts'
import type { ByteString } from '../protocol/byte-string.ts'
import { receivedLine } from '../protocol/headers.ts'
import { mailDate } from '../protocol/mail-date.ts'
import { encodeQmtpReply, type QmtpPackage } from '../protocol/qmtp.ts'
import type { Clock, Log, Random } from '../runtime/world.ts'
import { type AcceptanceLimits, givenId, type Judgement, judgePackage, type PackageReply } from './acceptance.ts'
import { type IdIndex, type IdKey, idKey, nameOfKey } from './id-index.ts'
import { isOutOfSpace } from './journal/journal.ts'
import type { JournalStore } from './journal/store.ts'
import type { LiveMessage } from './live-messages.ts'

export interface IntakeParts {
  readonly instance: string
  readonly cluster: string
  readonly store: JournalStore
  readonly ids: IdIndex
  readonly ledger: Ledger
  readonly limits: AcceptanceLimits
  /** A new message is durable and wants delivery. */
  readonly onAccepted: (message: LiveMessage) => void
}

export interface IntakeWorld {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

type Committed = (error: Error | undefined) => void

/** Called once with the encoded replies of a package, in order of its recipients; '' where it has none. */
export type Answer = (replies: ByteString) => void

export class Intake {
  readonly #world: IntakeWorld
  readonly #parts: IntakeParts
  /** Packages on their way to the disk, by key. */
  readonly #committing = new Map<string, Committed[]>()
  #limits: AcceptanceLimits
  #refusing: string | undefined
  #date = ''
  #dateSecond = 0
  /** Messages accepted since the start. */
  acceptedMessages = 0

  constructor(world: IntakeWorld, parts: IntakeParts) {
    this.#world = world
    this.#parts = parts
    this.#limits = parts.limits
  }

  /** The limits of a new layout. */
  set limits(limits: AcceptanceLimits) {
    this.#limits = limits
  }

  /** With a reason: answers Z to everything until called with undefined. */
  refuse(why: string | undefined): void {
    this.#refusing = why
  }

  /** Packages whose fate is not yet decided. */
  get committing(): number {
    return this.#committing.size
  }

  get refusing(): string | undefined {
    return this.#refusing
  }

  /** `peer` is the client's IP address. */
  accept(given: QmtpPackage, peer: string, answer: Answer): void {
    if (given.recipients.length === 0) return answer('')
    const judgement = judgePackage(given, this.#limits)
    if (judgement.accepted.length === 0 || judgement.refusal !== undefined) {
      return answer(encodeReplies(judgement, judgement.refusal ?? notQueued))
    }
    const id = givenId(given) ?? makeTransactionId(this.#world.clock.now(), this.#world.random.bytes(10))
    const key = idKey(id, given.sender, judgement.accepted)
    if (this.#parts.ids.has(key)) {
      this.#record('repeated', id, given.sender, judgement.accepted)
      return answer(encodeReplies(judgement, this.#queued(id)))
    }
    if (this.#refusing !== undefined) {
      return answer(encodeReplies(judgement, { letter: 'Z', text: `${this.#refusing} (#4.3.0)` }))
    }
    this.#commit(given, judgement, id, key, peer, answer)
  }

  /** Takes a message made here (a bounce on the bounce host) exactly as one that came in. */
  acceptLocal(
    message: {
      readonly id: string
      readonly sender: ByteString
      readonly recipient: ByteString
      readonly text: Buffer
    },
    done: (error: Error | undefined) => void,
  ): void {
    const key = idKey(message.id, message.sender, [message.recipient])
    if (this.#parts.ids.has(key)) return done(undefined)
    const waiting = this.#joinCommit(key, done)
    if (waiting === undefined) return
    this.#append(message.id, key, 'crlf', message.sender, [message.recipient], [message.text], (error) =>
      this.#settleCommit(key, waiting, error),
    )
  }

  #commit(given: QmtpPackage, judgement: Judgement, id: string, key: IdKey, peer: string, answer: Answer): void {
    const done: Committed = (error) => {
      answer(encodeReplies(judgement, error === undefined ? this.#queued(id) : this.#notQueued(error)))
    }
    const waiting = this.#joinCommit(key, done)
    if (waiting === undefined) return
    const received = receivedLine(
      {
        helo: '',
        address: peer,
        by: this.#parts.cluster,
        protocol: 'QMTP',
        id,
        date: this.#mailDate(),
      },
      given.form,
    )
    const body = [Buffer.from(received, 'latin1'), ...given.body]
    this.#append(id, key, given.form, given.sender, judgement.accepted, body, (error) =>
      this.#settleCommit(key, waiting, error),
    )
  }

  /** Those who wait for this commit, where it is the first of its key; undefined where it waits for another one. */
  #joinCommit(key: IdKey, done: Committed): readonly Committed[] | undefined {
    const name = nameOfKey(key)
    const others = this.#committing.get(name)
    if (others !== undefined) {
      others.push(done)
      return undefined
    }
    const waiting = [done]
    this.#committing.set(name, waiting)
    return waiting
  }

  #settleCommit(key: IdKey, waiting: readonly Committed[], error: Error | undefined): void {
    this.#committing.delete(nameOfKey(key))
    for (const each of waiting) each(error)
  }

  #append(
    id: string,
    key: IdKey,
    form: 'lf' | 'crlf',
    sender: ByteString,
    recipients: readonly ByteString[],
    body: readonly Buffer[],
    done: Committed,
  ): void {
    const { store, ids } = this.#parts
    const birthAt = this.#world.clock.now()
    let bytes = 0
    for (const chunk of body) bytes += chunk.length
    const number = store.journal.takeNumber()
    const record = { type: 'message', number, id, birthAt, form, sender, recipients } as const
    store.append(record, body, bytes, (error, message) => {
      if (error !== undefined || message === undefined) return done(error ?? new Error('the message was not kept'))
      ids.add(key, birthAt)
      this.acceptedMessages++
      store.bodies.keep(message, body)
      this.#record('accepted', id, sender, recipients, bytes)
      done(undefined)
      this.#parts.onAccepted(message)
    })
  }

  #record(
    event: 'accepted' | 'repeated',
    id: string,
    sender: ByteString,
    recipients: readonly ByteString[],
    bytes?: number,
  ): void {
    const at = this.#world.clock.now()
    const line = { id, tier: 'queue', instance: this.#parts.instance, event, at, sender, recipients } as const
    this.#parts.ledger.record(bytes === undefined ? line : { ...line, bytes })
  }

  #queued(id: string): PackageReply {
    return { letter: 'K', text: `ok ${Math.floor(this.#world.clock.now() / 1000)} qp ${id}` }
  }

  #notQueued(error: Error): PackageReply {
    this.#world.log.warn('package not queued', { instance: this.#parts.instance, error: error.message })
    return isOutOfSpace(error) ? diskFull : notQueued
  }

  #mailDate(): ByteString {
    const now = this.#world.clock.now()
    const second = Math.floor(now / 1000)
    if (second !== this.#dateSecond) {
      this.#dateSecond = second
      this.#date = mailDate(now)
    }
    return this.#date
  }
}

const diskFull: PackageReply = { letter: 'Z', text: 'qq write error or disk full (#4.3.0)' }
const notQueued: PackageReply = { letter: 'Z', text: 'qq temporary problem (#4.3.0)' }

function encodeReplies(judgement: Judgement, common: PackageReply): ByteString {
  let replies = ''
  let encoded = ''
  for (const refusal of judgement.refusals) {
    if (refusal !== undefined) replies += encodeQmtpReply(refusal.letter, refusal.text)
    else {
      if (encoded === '') encoded = encodeQmtpReply(common.letter, common.text)
      replies += encoded
    }
  }
  return replies
}
