/**
 * The target's side of a hand-over: offers in, durable messages and answers out.
 *
 * A message is answered `taken` only after it is durable in the journal with its key, and its line in the manifest. A key that is known,
 * or whose taking is under way, is never taken twice, whatever it is offered by. Where nothing more is taken (the disk is nearly full,
 * the plan is being cancelled, this instance leaves itself), known messages are still answered for, so that what is unclear at
 * a source can be settled. What goes wrong here leaves the message with its source.
 */

import type { HandoverAnswer, HandoverHello, HandoverOffer, HandoverTaker } from '../../contract/handover.ts'
import { instanceOf, type Layout } from '../../contract/layout.ts'
import type { Ledger } from '../../contract/ledger.ts'
import { errorText } from '../../protocol/failure.ts'
import { crc32, sha256 } from '../../runtime/digest.ts'
import type { Clock, Log } from '../../runtime/world.ts'
import { type IdIndex, type IdKey, type KeySet, keysOfTaken, nameOfKey, transferKey } from '../id-index.ts'
import { isRefusable } from '../journal/journal.ts'
import type { TakenRecord } from '../journal/record.ts'
import type { JournalStore } from '../journal/store.ts'
import type { LiveMessage } from '../live-messages.ts'
import { type Envelope, entryOf, envelopeHash, envelopeTaken, readEnvelope } from './envelope.ts'
import { refuseHello } from './hello.ts'
import type { Manifests } from './manifests.ts'

export interface TakerParts {
  readonly instance: string
  readonly layout: () => Layout
  readonly store: JournalStore
  readonly ids: IdIndex
  readonly manifests: Manifests
  readonly ledger: Ledger
  /** In words why no mail is taken at all now. */
  readonly refusing: () => string | undefined
  /** A message is durable here and wants what its recipients want. */
  readonly onTaken: (message: LiveMessage) => void
}

type Answered = (answer: HandoverAnswer) => void

interface Asked {
  readonly hello: HandoverHello
  readonly offer: HandoverOffer
  readonly answered: Answered
}

interface Taking extends Asked {
  readonly envelope: Envelope
  readonly key: IdKey
}

/** What the manifest of a plan named when this process first heard of the plan, and all it has named since. */
interface Known {
  keys: KeySet | undefined
  /** Offers that came before the file was read. */
  waiting: Asked[]
}

export class Taker implements HandoverTaker {
  readonly #world: { readonly clock: Clock; readonly log: Log }
  readonly #parts: TakerParts
  /** The link of each source that is listened to: the last that said hello. */
  readonly #links = new Map<string, HandoverHello>()
  readonly #known = new Map<string, Known>()
  /** Messages on their way to the disk, by key. */
  readonly #taking = new Map<string, Answered[]>()
  #isClosed = false

  constructor(world: { readonly clock: Clock; readonly log: Log }, parts: TakerParts) {
    this.#world = world
    this.#parts = parts
  }

  refuse(hello: HandoverHello): string | undefined {
    const { instance, layout } = this.#parts
    const why = this.#isClosed ? 'this queue is stopping' : refuseHello(layout(), instance, hello)
    if (why !== undefined) {
      this.#world.log.warn('hand-over refused', { source: hello.source, plan: hello.plan, why })
      return why
    }
    this.#links.set(hello.source, hello)
    if (!this.#known.has(hello.plan)) this.#load(hello.plan)
    return undefined
  }

  take(hello: HandoverHello, offer: HandoverOffer, answered: Answered): void {
    if (this.#isClosed || this.#links.get(hello.source) !== hello) {
      return answered({ kind: 'unclear', why: 'this link is not listened to any more' })
    }
    const known = this.#known.get(hello.plan)
    if (known === undefined) return answered({ kind: 'unclear', why: `nothing is known of plan ${hello.plan}` })
    if (known.keys === undefined) known.waiting.push({ hello, offer, answered })
    else this.#judge(known.keys, { hello, offer, answered })
  }

  /** Plans that are over are forgotten; their sources have nothing left to ask. */
  apply(layout: Layout): void {
    const plans = new Set(layout.plans.map(({ id }) => id))
    for (const plan of this.#known.keys()) if (!plans.has(plan)) this.#known.delete(plan)
    for (const [source, { plan }] of this.#links) if (!plans.has(plan)) this.#links.delete(source)
  }

  close(): void {
    this.#isClosed = true
  }

  #load(plan: string): void {
    const known: Known = { keys: undefined, waiting: [] }
    this.#known.set(plan, known)
    this.#parts.manifests.keys(plan).then(
      (keys) => {
        known.keys = keys
        for (const asked of known.waiting.splice(0)) this.#judge(keys, asked)
      },
      (error: unknown) => {
        this.#known.delete(plan)
        this.#world.log.error('manifest cannot be read', { plan, error: errorText(error) })
        for (const { answered } of known.waiting.splice(0)) {
          answered({ kind: 'unclear', why: 'the manifest of the plan cannot be read' })
        }
      },
    )
  }

  #judge(keys: KeySet, asked: Asked): void {
    const { hello, offer, answered } = asked
    const envelope = readEnvelope(offer.envelope)
    if (envelope === undefined || !isWhole(offer, envelope)) {
      return answered({ kind: 'refused', why: `message ${offer.number} did not come whole` })
    }
    const key = transferKey({ instance: hello.source, number: offer.number }, envelope.record.id)
    const taking = { ...asked, envelope, key }
    const others = this.#taking.get(nameOfKey(key))
    if (others !== undefined) {
      others.push(answered)
      return
    }
    if (keys.has(key)) return answered(answerOf(taking, recordOf(taking, 0, 0)))
    if (this.#parts.ids.has(key)) return this.#note(keys, taking, recordOf(taking, 0, 0), this.#begin(taking))
    const why = this.#unwilling(hello)
    if (why !== undefined) return answered({ kind: 'absent', why })
    this.#append(keys, taking, this.#begin(taking))
  }

  /** Why a message that is not here is not taken. */
  #unwilling(hello: HandoverHello): string | undefined {
    const { instance, layout, refusing } = this.#parts
    const plan = layout().plans.find(({ id }) => id === hello.plan)
    if (plan?.state !== 'running') return `plan ${hello.plan} is being cancelled`
    const standing = instanceOf(layout(), instance)?.standing
    return standing === 'active' ? refusing() : `instance ${instance} is ${standing ?? 'gone'}`
  }

  /** Answers all who ask for the same message meanwhile. */
  #begin({ key, answered }: Taking): Answered {
    const name = nameOfKey(key)
    const waiting = [answered]
    this.#taking.set(name, waiting)
    return (answer) => {
      this.#taking.delete(name)
      for (const each of waiting) each(answer)
    }
  }

  #append(keys: KeySet, taking: Taking, done: Answered): void {
    const { store, ids, onTaken } = this.#parts
    const { offer, envelope } = taking
    const record = recordOf(taking, store.journal.takeNumber(), this.#world.clock.now())
    store.append(
      record,
      offer.body,
      offer.bodyBytes,
      (error, message) => {
        if (error !== undefined || message === undefined) return done(notTaken(error))
        for (const each of keysOfTaken(record)) ids.add(each, record.at)
        store.bodies.keep(message, offer.body)
        this.#report(record, offer.bodyBytes)
        this.#note(keys, taking, record, done)
        onTaken(message)
      },
      envelope.bodyCrc,
    )
  }

  /** The line in the manifest, then the answer. */
  #note(keys: KeySet, taking: Taking, record: TakenRecord, done: Answered): void {
    const { hello, offer, key } = taking
    const answer = answerOf(taking, record)
    const place = { source: hello.source, number: offer.number, target: this.#parts.instance }
    const entry = entryOf(place, record, { envelope: answer.envelope, body: answer.body, bytes: offer.bodyBytes })
    this.#parts.manifests.append(hello.plan, entry, (error) => {
      if (error !== undefined) return done({ kind: 'unclear', why: 'it is here, and not in the manifest yet' })
      keys.add(key)
      done(answer)
    })
  }

  #report(record: TakenRecord, bytes: number): void {
    const { id, sender, source, at, plan } = record
    const recipients = record.recipients.filter(({ status }) => status === 'pending' || status === 'failed')
    const addresses = recipients.map(({ address }) => address)
    const base = { id, tier: 'queue', instance: this.#parts.instance, event: 'taken-over', at } as const
    this.#parts.ledger.record({ ...base, sender, recipients: addresses, bytes, to: source.instance, text: plan })
  }
}

function isWhole(offer: HandoverOffer, envelope: Envelope): boolean {
  let bytes = 0
  for (const chunk of offer.body) bytes += chunk.length
  if (bytes !== offer.bodyBytes || bytes !== envelope.bodyBytes) return false
  return bytes === 0 || crc32(offer.body) === envelope.bodyCrc
}

function recordOf({ hello, offer, envelope }: Taking, number: number, at: number): TakenRecord {
  const { id, birthAt, form, sender, recipients, held } = envelope.record
  const source = { instance: hello.source, number: offer.number }
  const content = { id, birthAt, form, sender, recipients, held, origin: envelope.origin }
  return { type: 'taken', number, at, plan: hello.plan, source, ...content }
}

/** Hashes of what is in the journal here, not of what was sent. */
function answerOf({ offer, envelope }: Taking, record: TakenRecord): HandoverAnswer & { readonly kind: 'taken' } {
  const written = envelopeTaken(record, offer.bodyBytes, envelope.bodyCrc)
  return { kind: 'taken', envelope: envelopeHash(written), body: sha256(offer.body) }
}

/** Without space nothing was written; after any other failure nobody knows what a restart will find. */
function notTaken(error: Error | undefined): HandoverAnswer {
  const why = error?.message ?? 'the message was not kept'
  return { kind: error !== undefined && isRefusable(error) ? 'absent' : 'unclear', why }
}
