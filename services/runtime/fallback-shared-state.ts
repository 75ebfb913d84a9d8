/**
 * Shared state that is always there: a server's while it answers, this process's own when it does not.
 *
 * By itself a process allows its part: of what the cluster allows, one in as many as there are edges, at least one. What is then
 * answered, by kind of entry, is what the contract says under "gone". Slots and reputations are also noted here while the server
 * answers, so that the process knows its own when it is alone. Without a server (`use(undefined)`) the limits are whole:
 * each process for itself is what was asked for.
 */

import {
  type Answered,
  type GreylistTerms,
  type GreylistVerdict,
  known,
  type NotedHints,
  type RateTerms,
  type RateVerdict,
  type Reputation,
  type ReputationTerms,
  type SharedAnswer,
  type SharedState,
  type SlotTerms,
  type SlotVerdict,
  type Triplet,
} from '../contract/shared-state.ts'
import type { ByteString } from '../protocol/byte-string.ts'

export class FallbackSharedState implements SharedState {
  readonly #local: SharedState
  #server: SharedState | undefined
  #edges = 1

  constructor(local: SharedState) {
    this.#local = local
  }

  /** `edges`: how many share the server. Whoever made the one before closes it. */
  use(server: SharedState | undefined, edges: number): void {
    this.#server = server
    this.#edges = Math.max(1, edges)
  }

  get reach(): 'cluster' | 'process' {
    return this.#server?.reach ?? 'process'
  }

  takeRate(terms: RateTerms, subject: ByteString, cost: number, answered: Answered<RateVerdict>): void {
    this.#ask<RateVerdict>(
      (server, answer) => server.takeRate(terms, subject, cost, answer),
      (alone) => alone.takeRate({ ...terms, events: this.#part(terms.events) }, subject, cost, answered),
      answered,
    )
  }

  takeSlot(terms: SlotTerms, subject: ByteString, holder: string, answered: Answered<SlotVerdict>): void {
    this.#ask<SlotVerdict>(
      (server, answer) => server.takeSlot(terms, subject, holder, answer),
      (alone) => alone.takeSlot({ ...terms, slotsMax: this.#part(terms.slotsMax) }, subject, holder, answered),
      (answer) => {
        if (answer.kind === 'known' && answer.value.taken) this.#local.keepSlot(terms, subject, holder, ignore)
        answered(answer)
      },
    )
  }

  keepSlot(terms: SlotTerms, subject: ByteString, holder: string, answered: Answered<SlotVerdict>): void {
    this.#local.keepSlot(terms, subject, holder, (own) => {
      this.#ask<SlotVerdict>(
        (server, answer) => server.keepSlot(terms, subject, holder, answer),
        () => answered(own),
        answered,
      )
    })
  }

  freeSlot(terms: SlotTerms, subject: ByteString, holder: string): void {
    this.#local.freeSlot(terms, subject, holder)
    this.#server?.freeSlot(terms, subject, holder)
  }

  greylist(terms: GreylistTerms, triplet: Triplet, answered: Answered<GreylistVerdict>): void {
    this.#ask<GreylistVerdict>(
      (server, answer) => server.greylist(terms, triplet, answer),
      (alone) => {
        if (this.#server === undefined) alone.greylist(terms, triplet, answered)
        else answered(known({ stage: 'passed', waitMs: 0 }))
      },
      answered,
    )
  }

  addReputation(terms: ReputationTerms, subject: ByteString, more: Reputation, answered: Answered<Reputation>): void {
    this.#local.addReputation(terms, subject, more, (own) => {
      this.#ask<Reputation>(
        (server, answer) => server.addReputation(terms, subject, more, answer),
        () => answered(own),
        answered,
      )
    })
  }

  /** Gone is passed on: who asks has its own memory of what it committed. */
  keepContents(contents: readonly string[], ttlMs: number, answered: Answered<true>): void {
    const state = this.#server ?? this.#local
    state.keepContents(contents, ttlMs, answered)
  }

  takeContents(contents: readonly string[], answered: Answered<ReadonlySet<string>>): void {
    const state = this.#server ?? this.#local
    state.takeContents(contents, answered)
  }

  /** As with contents. */
  noteHints(hints: readonly string[], ttlMs: number, answered: Answered<true>): void {
    const state = this.#server ?? this.#local
    state.noteHints(hints, ttlMs, answered)
  }

  hintsSince(mark: number, answered: Answered<NotedHints>): void {
    const state = this.#server ?? this.#local
    state.hintsSince(mark, answered)
  }

  close(): void {
    this.#server?.close()
    this.#local.close()
  }

  #part(whole: number): number {
    return this.#server === undefined ? whole : Math.max(1, Math.floor(whole / this.#edges))
  }

  #ask<Value>(
    ask: (server: SharedState, answered: Answered<Value>) => void,
    alone: (local: SharedState) => void,
    answered: Answered<Value>,
  ): void {
    const server = this.#server
    if (server === undefined || server.reach === 'process') return alone(this.#local)
    ask(server, (answer: SharedAnswer<Value>) => {
      if (answer.kind === 'known') answered(answer)
      else alone(this.#local)
    })
  }
}

function ignore(): void {}
