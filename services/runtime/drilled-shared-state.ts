/**
 * Shared state that can play gone: stands between the edges' server and what falls back where it does not answer. During a drill every call
 * is answered `gone`, also one that was asked before and is answered meanwhile.
 */

import {
  type Answered,
  type GreylistTerms,
  type GreylistVerdict,
  gone,
  type NotedHints,
  type RateTerms,
  type RateVerdict,
  type Reputation,
  type ReputationTerms,
  type SharedState,
  type SlotTerms,
  type SlotVerdict,
  type Triplet,
} from '../contract/shared-state.ts'
import type { ByteString } from '../protocol/byte-string.ts'
import type { Drills } from './drills.ts'

export class DrilledSharedState implements SharedState {
  readonly #real: SharedState
  readonly #drills: Drills

  constructor(real: SharedState, drills: Drills) {
    this.#real = real
    this.#drills = drills
    drills.play('shared-state')
  }

  get reach(): 'cluster' | 'process' {
    return this.#isGone ? 'process' : this.#real.reach
  }

  takeRate(terms: RateTerms, subject: ByteString, cost: number, answered: Answered<RateVerdict>): void {
    this.#ask<RateVerdict>((answer) => this.#real.takeRate(terms, subject, cost, answer), answered)
  }

  takeSlot(terms: SlotTerms, subject: ByteString, holder: string, answered: Answered<SlotVerdict>): void {
    this.#ask<SlotVerdict>((answer) => this.#real.takeSlot(terms, subject, holder, answer), answered)
  }

  keepSlot(terms: SlotTerms, subject: ByteString, holder: string, answered: Answered<SlotVerdict>): void {
    this.#ask<SlotVerdict>((answer) => this.#real.keepSlot(terms, subject, holder, answer), answered)
  }

  freeSlot(terms: SlotTerms, subject: ByteString, holder: string): void {
    if (!this.#isGone) this.#real.freeSlot(terms, subject, holder)
  }

  greylist(terms: GreylistTerms, triplet: Triplet, answered: Answered<GreylistVerdict>): void {
    this.#ask<GreylistVerdict>((answer) => this.#real.greylist(terms, triplet, answer), answered)
  }

  addReputation(terms: ReputationTerms, subject: ByteString, more: Reputation, answered: Answered<Reputation>): void {
    this.#ask<Reputation>((answer) => this.#real.addReputation(terms, subject, more, answer), answered)
  }

  keepContents(contents: readonly string[], ttlMs: number, answered: Answered<true>): void {
    this.#ask<true>((answer) => this.#real.keepContents(contents, ttlMs, answer), answered)
  }

  takeContents(contents: readonly string[], answered: Answered<ReadonlySet<string>>): void {
    this.#ask<ReadonlySet<string>>((answer) => this.#real.takeContents(contents, answer), answered)
  }

  noteHints(hints: readonly string[], ttlMs: number, answered: Answered<true>): void {
    this.#ask<true>((answer) => this.#real.noteHints(hints, ttlMs, answer), answered)
  }

  hintsSince(mark: number, answered: Answered<NotedHints>): void {
    this.#ask<NotedHints>((answer) => this.#real.hintsSince(mark, answer), answered)
  }

  close(): void {
    this.#real.close()
  }

  get #isGone(): boolean {
    return this.#drills.isGone('shared-state')
  }

  #ask<Value>(ask: (answered: Answered<Value>) => void, answered: Answered<Value>): void {
    const none = () => answered(gone('a drill is running'))
    if (this.#isGone) return none()
    ask((answer) => {
      if (this.#isGone) none()
      else answered(answer)
    })
  }
}
