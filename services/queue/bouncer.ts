/**
 * What becomes of a message whose last recipient is settled and some of them failed: one bounce, handed to the bounce pool.
 *
 * The bounce is durable on the bounce host (or, there and where the layout has none, in this very journal) before the
 * message is marked as reported (promise 7). Its id is derived from the message's, so that handing it over again after a crash
 * makes no second one. A bounce host that cannot be reached is tried again for ever: nothing is given up here. Paused, it begins nothing
 * and lets go of what it has not handed over; its owner reports all of that again when it goes on.
 */

import type { BouncePolicy, FailedMessage, FailedRecipient } from '../contract/bounce.ts'
import type { Body, Destination, Outcome, Transport } from '../contract/delivery.ts'
import type { Ledger } from '../contract/ledger.ts'
import { bounceId } from '../contract/transaction-id.ts'
import type { ByteString } from '../protocol/byte-string.ts'
import { errorText, temporary } from '../protocol/failure.ts'
import type { Clock, Log, Timer } from '../runtime/world.ts'
import type { JournalStore } from './journal/store.ts'
import { type LiveMessage, originOf } from './live-messages.ts'

export interface BouncerParts {
  readonly instance: string
  readonly store: JournalStore
  /** Of the layout in force. */
  readonly policy: () => BouncePolicy
  readonly transport: Transport
  readonly ledger: Ledger
  /** The bounce pool's instances; undefined: bounces are queued here. */
  readonly bounceHosts: () => (Destination & { readonly kind: 'qmtp' }) | undefined
  readonly acceptLocal: (
    message: {
      readonly id: string
      readonly sender: ByteString
      readonly recipient: ByteString
      readonly text: Buffer
    },
    done: (error: Error | undefined) => void,
  ) => void
}

/** `short`: the failed message is not quoted, because it cannot be read, or is refused with it. */
type BounceText = 'quoted' | 'short'

const nothing: Body = { form: 'crlf', bytes: 0, slice: () => Buffer.alloc(0) }
const againMinMs = 1_000
const againMaxMs = 600_000

export class Bouncer {
  readonly #world: { readonly clock: Clock; readonly log: Log }
  readonly #parts: BouncerParts
  /** Messages being reported, by number. */
  readonly #busy = new Set<number>()
  /** Those that wait for another try. */
  readonly #pausing = new Map<LiveMessage, Timer>()
  #stopped = false
  #isPaused = false

  constructor(world: { readonly clock: Clock; readonly log: Log }, parts: BouncerParts) {
    this.#world = world
    this.#parts = parts
  }

  report(message: LiveMessage): void {
    if (this.#stopped || this.#isPaused || this.#busy.has(message.number)) return
    this.#busy.add(message.number)
    this.#tryOnce(message, 0, 'quoted')
  }

  stop(): void {
    this.#stopped = true
  }

  pause(): void {
    this.#isPaused = true
    for (const [message, timer] of this.#pausing) {
      timer.cancel()
      this.#busy.delete(message.number)
    }
    this.#pausing.clear()
  }

  resume(): void {
    this.#isPaused = false
  }

  /** A bounce of it may be on its way. */
  isBusy(message: LiveMessage): boolean {
    return this.#busy.has(message.number)
  }

  #tryOnce(message: LiveMessage, tries: number, text: BounceText): void {
    if (this.#stopped || this.#letsGo(message)) return
    const failed = this.#failedMessage(message, text)
    const decision = this.#parts.policy().decide(failed)
    if (decision.kind === 'discard') return this.#over(message, true, decision.why)
    const id = this.#bounceIdOf(message)
    this.#compose(failed, decision, id).then(
      (bytes) => this.#handOver(message, tries, text, { id, ...decision, text: bytes }),
      (error: unknown) => this.#again(message, tries, 'short', errorText(error)),
    )
  }

  async #compose(
    failed: FailedMessage,
    decision: { readonly kind: 'send'; readonly sender: ByteString; readonly recipient: ByteString },
    id: string,
  ): Promise<Buffer> {
    return this.#parts.policy().compose(failed, decision, id, this.#world.clock.now())
  }

  /** Of the place it was accepted at: a bounce in doubt at the instance it left is the same bounce here. */
  #bounceIdOf(message: LiveMessage): string {
    const { instance, number } = originOf(message, this.#parts.instance)
    return bounceId(message.id, instance, number)
  }

  #failedMessage(message: LiveMessage, text: BounceText): FailedMessage {
    const failed: FailedRecipient[] = []
    for (const recipient of message.recipients) {
      if (recipient.status !== 'failed') continue
      const failure = recipient.failure ?? temporary('self', '4.0.0', 'unknown')
      failed.push({ address: recipient.address, failure, remote: recipient.remote, at: recipient.at })
    }
    failed.sort((a, b) => a.at - b.at)
    const { bodies } = this.#parts.store
    const body: Body = {
      form: message.form,
      bytes: message.location.bytes,
      slice: (position, length) => bodies.slice(message, position, length),
    }
    const { id, sender, birthAt } = message
    return { id, sender, birthAt, failed, body: text === 'quoted' ? body : nothing }
  }

  #handOver(
    message: LiveMessage,
    tries: number,
    form: BounceText,
    bounce: { readonly id: string; readonly sender: ByteString; readonly recipient: ByteString; readonly text: Buffer },
  ): void {
    if (this.#stopped || this.#letsGo(message)) return
    const hosts = this.#parts.bounceHosts()
    if (hosts === undefined) {
      return this.#parts.acceptLocal(bounce, (error) => {
        if (error === undefined) this.#over(message, false, bounce.id)
        else this.#again(message, tries, form, error.message)
      })
    }
    const { text } = bounce
    const attempt = {
      id: bounce.id,
      sender: bounce.sender,
      recipients: [bounce.recipient],
      body: {
        form: 'crlf' as const,
        bytes: text.length,
        slice: (position: number, length: number) => text.subarray(position, position + length),
      },
      destination: hosts,
      birthAt: this.#world.clock.now(),
    }
    this.#parts.transport.attempt(attempt, (outcomes) => {
      const outcome = outcomes[0]
      if (outcome?.kind === 'delivered') return this.#over(message, false, bounce.id)
      // Too big for the bounce host, most likely: the next one quotes nothing.
      const refused = outcome?.failure.class === 'permanent'
      this.#again(message, tries, refused ? 'short' : form, whyNot(outcome))
    })
  }

  #letsGo(message: LiveMessage): boolean {
    if (this.#isPaused) this.#busy.delete(message.number)
    return this.#isPaused
  }

  #again(message: LiveMessage, tries: number, text: BounceText, why: string): void {
    if (this.#letsGo(message)) return
    const delayMs = Math.min(againMaxMs, againMinMs * 2 ** Math.min(tries, 20))
    this.#world.log.warn('bounce not handed over yet', { id: message.id, why, againInMs: delayMs })
    const timer = this.#world.clock.after(delayMs, () => {
      this.#pausing.delete(message)
      this.#tryOnce(message, tries + 1, text)
    })
    this.#pausing.set(message, timer)
  }

  /** `reference` is the bounce's id, or the rule that discards. */
  #over(message: LiveMessage, discarded: boolean, reference: string): void {
    const at = this.#world.clock.now()
    const count = message.recipients.filter((recipient) => recipient.status === 'failed').length
    const record = { type: 'bounced', number: message.number, at, discarded, count, bounce: reference } as const
    message.appending++
    this.#parts.store.append(record, [], 0, (error) => {
      message.appending--
      if (error !== undefined) {
        if (this.#parts.store.journal.failure === undefined) {
          this.#world.clock.after(againMinMs, () => this.#over(message, discarded, reference))
        }
        return
      }
      this.#busy.delete(message.number)
      this.#note(message, discarded, reference)
    })
  }

  #note(message: LiveMessage, discarded: boolean, reference: string): void {
    const base = { id: message.id, tier: 'queue', instance: this.#parts.instance, at: this.#world.clock.now() } as const
    if (discarded) {
      this.#world.log.warn('double bounce discarded', { id: message.id, why: reference })
      this.#parts.ledger.record({ ...base, event: 'discarded', text: reference })
    } else this.#parts.ledger.record({ ...base, event: 'bounced', bounce: reference })
    this.#parts.ledger.record({ ...base, event: 'ended' })
  }
}

function whyNot(outcome: Outcome | undefined): string {
  return outcome?.kind === 'failed' ? outcome.failure.text : 'the bounce host gave no outcome'
}
