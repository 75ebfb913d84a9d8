/**
 * What is in the queue: every live message, and the totals mail is conserved by. Pure; records in, state out.
 *
 * Records are applied in journal order, only once durable, and by the same code whether they were just written or are
 * being replayed; nothing else changes the state. A recipient goes pending -> delivered, or pending -> failed -> (bounced or
 * discarded with its message), and never back; or, pending or failed, to another instance with its message.
 *
 * A result for a message this journal no longer knows still counts: after a replay that begins at an old segment the
 * message itself may be gone with an older one, while that segment's header had it among the accepted.
 */

import type { ByteString } from '../protocol/byte-string.ts'
import type { RecipientState } from './journal/meta.ts'
import type {
  BouncedRecord,
  CarriedRecord,
  DeferralRecord,
  JournalRecord,
  MessageRecord,
  MovedRecord,
  OfferMade,
  Origin,
  ResultRecord,
  TakenRecord,
} from './journal/record.ts'

/** Where a message's body stands. */
export interface Location {
  readonly segment: number
  readonly offset: number
  readonly bytes: number
  readonly crc: number
}

/** Counts of recipients since the journal began. */
export interface Totals {
  accepted: number
  delivered: number
  bounced: number
  discarded: number
  /** Came from, and went to, another instance while they were not settled. */
  takenOver: number
  handedOver: number
}

/** Conservation of mail: whatever came in was settled, went to another instance, or is still here. */
export function isConserved(totals: Totals, queued: number): boolean {
  const { accepted, delivered, bounced, discarded, takenOver, handedOver } = totals
  return accepted + takenOver === delivered + bounced + discarded + handedOver + queued
}

export interface LiveMessage {
  readonly number: number
  readonly id: string
  readonly birthAt: number
  readonly form: 'lf' | 'crlf'
  readonly sender: ByteString
  readonly recipients: RecipientState[]
  location: Location
  /** Recipients still pending. */
  pending: number
  held: string | undefined
  /** Where it was accepted, for one that was taken over; the ids of its bounces and forwards are made of it. */
  readonly origin: Origin | undefined
  /** The offer whose outcome is not known. Such a message is delivered by nobody. */
  offered: OfferMade | undefined
  /** Records about it on their way to the disk; it is not carried meanwhile. */
  appending: number
  /** Deliveries of it under way. */
  attempting: number
  /** The body as it was received, while it is kept in memory. */
  cached: readonly Buffer[] | undefined
  /** Its body has been checked against its CRC in this life of the process. */
  verified: boolean
}

export class LiveMessages {
  readonly totals: Totals = { accepted: 0, delivered: 0, bounced: 0, discarded: 0, takenOver: 0, handedOver: 0 }
  readonly #byNumber = new Map<number, LiveMessage>()
  readonly #bySegment = new Map<number, Set<LiveMessage>>()
  #bytes = 0
  #bodyBytes = 0

  get size(): number {
    return this.#byNumber.size
  }

  /** What all live messages take in the journal, with their envelopes. */
  get bytes(): number {
    return this.#bytes
  }

  /** Of the messages themselves: header and text. */
  get bodyBytes(): number {
    return this.#bodyBytes
  }

  get(number: number): LiveMessage | undefined {
    return this.#byNumber.get(number)
  }

  all(): IterableIterator<LiveMessage> {
    return this.#byNumber.values()
  }

  inSegment(segment: number): ReadonlySet<LiveMessage> {
    return this.#bySegment.get(segment) ?? noMessages
  }

  /** Recipients not yet delivered, bounced or discarded, counted one by one. */
  countQueued(): number {
    let queued = 0
    for (const message of this.#byNumber.values()) queued += countOpen(message.recipients)
    return queued
  }

  /** The message the record is about, alive or just ended; undefined where this journal does not know it. */
  apply(record: JournalRecord, location: Location): LiveMessage | undefined {
    switch (record.type) {
      case 'message':
        return this.#accept(record, location)
      case 'carried':
        return this.#carry(record, location)
      case 'taken':
        return this.#take(record, location)
      case 'result':
        return this.#settle(record)
      case 'deferral':
        return this.#defer(record)
      case 'bounced':
        return this.#end(record)
      case 'hold': {
        const message = this.#byNumber.get(record.number)
        if (message !== undefined) message.held = record.held ? record.why : undefined
        return message
      }
      case 'offered': {
        const message = this.#byNumber.get(record.number)
        const { target, plan, at } = record
        if (message !== undefined) message.offered = target === '' ? undefined : { target, plan, at }
        return message
      }
      case 'moved':
        return this.#move(record)
    }
  }

  /** Puts a message back as a snapshot has it. */
  restore(record: CarriedRecord, location: Location, held = record.held): LiveMessage {
    const message = this.#add(record, [...record.recipients], location, false)
    message.held = held
    message.offered = record.offered
    return message
  }

  #accept(record: MessageRecord, location: Location): LiveMessage {
    const message = this.#add(record, record.recipients.map(freshRecipient(record)), location, true)
    this.totals.accepted += message.recipients.length
    return message
  }

  #take(record: TakenRecord, location: Location): LiveMessage {
    const message = this.#add(record, [...record.recipients], location, true)
    message.held = record.held
    this.totals.takenOver += countOpen(message.recipients)
    return message
  }

  #move(record: MovedRecord): LiveMessage | undefined {
    const message = this.#byNumber.get(record.number)
    this.totals.handedOver += record.count
    if (message !== undefined) this.#remove(message)
    return message
  }

  #add(
    record: MessageRecord | CarriedRecord | TakenRecord,
    recipients: RecipientState[],
    location: Location,
    isNew: boolean,
  ): LiveMessage {
    const known = this.#byNumber.get(record.number)
    if (known !== undefined) throw new Error(`message number ${record.number} was written twice`)
    const message: LiveMessage = {
      number: record.number,
      id: record.id,
      birthAt: record.birthAt,
      form: record.form,
      sender: record.sender,
      recipients,
      location,
      pending: recipients.reduce((count, recipient) => count + (recipient.status === 'pending' ? 1 : 0), 0),
      held: undefined,
      origin: record.type === 'message' ? undefined : record.origin,
      offered: undefined,
      appending: 0,
      attempting: 0,
      cached: undefined,
      verified: isNew,
    }
    this.#byNumber.set(record.number, message)
    this.#place(message)
    this.#bytes += sizeOf(message)
    this.#bodyBytes += location.bytes
    return message
  }

  #carry(record: CarriedRecord, location: Location): LiveMessage {
    const message = this.#byNumber.get(record.number)
    if (message === undefined) return this.restore(record, location)
    this.#unplace(message)
    message.location = location
    this.#place(message)
    return message
  }

  #settle(record: ResultRecord): LiveMessage | undefined {
    const message = this.#byNumber.get(record.number)
    if (message === undefined) {
      for (const result of record.results) if (result.status === 'delivered') this.totals.delivered++
      return undefined
    }
    for (const result of record.results) {
      const recipient = message.recipients[result.index]
      if (recipient === undefined || recipient.status !== 'pending') continue
      message.recipients[result.index] = {
        ...recipient,
        status: result.status,
        attempts: recipient.attempts + 1,
        failure: result.failure,
        remote: result.remote,
        at: record.at,
      }
      message.pending--
      if (result.status === 'delivered') this.totals.delivered++
    }
    if (message.pending === 0 && !hasFailed(message)) this.#remove(message)
    return message
  }

  #defer(record: DeferralRecord): LiveMessage | undefined {
    const message = this.#byNumber.get(record.number)
    if (message === undefined) return undefined
    for (const deferral of record.deferrals) {
      const recipient = message.recipients[deferral.index]
      if (recipient === undefined || recipient.status !== 'pending') continue
      message.recipients[deferral.index] = {
        ...recipient,
        attempts: recipient.attempts + 1,
        dueAt: record.dueAt,
        failure: deferral.failure,
        remote: deferral.remote,
        at: record.at,
      }
    }
    return message
  }

  #end(record: BouncedRecord): LiveMessage | undefined {
    const message = this.#byNumber.get(record.number)
    if (record.discarded) this.totals.discarded += record.count
    else this.totals.bounced += record.count
    if (message !== undefined) this.#remove(message)
    return message
  }

  #remove(message: LiveMessage): void {
    this.#byNumber.delete(message.number)
    this.#unplace(message)
    this.#bytes -= sizeOf(message)
    this.#bodyBytes -= message.location.bytes
    message.cached = undefined
  }

  #place(message: LiveMessage): void {
    const set = this.#bySegment.get(message.location.segment)
    if (set === undefined) this.#bySegment.set(message.location.segment, new Set([message]))
    else set.add(message)
  }

  #unplace(message: LiveMessage): void {
    const set = this.#bySegment.get(message.location.segment)
    set?.delete(message)
    if (set?.size === 0) this.#bySegment.delete(message.location.segment)
  }
}

/** Why a message is held whose stored body does not match its checksum. */
export const damagedBody = 'its body is damaged on disk'

const noMessages: ReadonlySet<LiveMessage> = new Set()

/** About: texts of failures come and go, addresses and bodies do not. */
function sizeOf(message: LiveMessage): number {
  let bytes = 128 + message.sender.length + message.location.bytes
  for (const recipient of message.recipients) bytes += 64 + recipient.address.length
  return bytes
}

/** Where a message in the queue of `instance` was accepted first. */
export function originOf(message: LiveMessage, instance: string): Origin {
  return message.origin ?? { instance, number: message.number }
}

/** Recipients that are neither delivered nor reported: what mail is conserved by. */
export function countOpen(recipients: readonly RecipientState[]): number {
  let open = 0
  for (const { status } of recipients) if (status === 'pending' || status === 'failed') open++
  return open
}

export function hasFailed(message: LiveMessage): boolean {
  return message.recipients.some((recipient) => recipient.status === 'failed')
}

/** The message as a record that holds all its state. */
export function carriedRecord(message: LiveMessage): CarriedRecord {
  return {
    type: 'carried',
    number: message.number,
    id: message.id,
    birthAt: message.birthAt,
    form: message.form,
    sender: message.sender,
    recipients: message.recipients,
    origin: message.origin,
    held: message.held,
    offered: message.offered,
  }
}

function freshRecipient(record: MessageRecord): (address: ByteString) => RecipientState {
  return (address) => ({
    address,
    status: 'pending',
    attempts: 0,
    dueAt: record.birthAt,
    failure: undefined,
    remote: '',
    at: record.birthAt,
  })
}
