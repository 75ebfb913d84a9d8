/**
 * Shared state as calls of the scripts in `redis-scripts.ts`: which keys and words go in, how the reply is read.
 *
 * Whoever extends it carries one call to a server and back. Keys and holders are digests: nothing that peers send is in them.
 */

import {
  type Answered,
  type GreylistTerms,
  type GreylistVerdict,
  hintsPerCallMax,
  known,
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
import { textsDigest } from './digest.ts'
import * as scripts from './redis-scripts.ts'
import { type EntryKind, entryKey, hintName, keyPrefix } from './shared-state-key.ts'
import {
  checkGreylist,
  checkRate,
  checkReputation,
  checkSlot,
  checkTtl,
  memoryHalfLives,
} from './shared-state-terms.ts'

export type ScriptWords = readonly (string | number)[]
export type ReplyReader<Value> = (reply: unknown) => Value | undefined

export abstract class ScriptedSharedState implements SharedState {
  abstract readonly reach: 'cluster' | 'process'
  readonly #prefix: string

  constructor(cluster: string) {
    this.#prefix = keyPrefix(cluster)
  }

  abstract close(): void

  /** `words` are those of the call: keys first, their number before them where the script does not know it. */
  protected abstract ask<Value>(
    script: scripts.ScriptName,
    words: ScriptWords,
    read: ReplyReader<Value>,
    answered: Answered<Value>,
  ): void

  /** A key for a first call, which nobody reads. */
  protected get probeKey(): string {
    return `${this.#prefix}probe`
  }

  takeRate(terms: RateTerms, subject: ByteString, cost: number, answered: Answered<RateVerdict>): void {
    checkRate(terms, cost)
    const key = this.#key('rate', terms.name, [subject])
    this.ask('qmqRate', [key, terms.events, terms.perMs, cost], scripts.readRate, answered)
  }

  takeSlot(terms: SlotTerms, subject: ByteString, holder: string, answered: Answered<SlotVerdict>): void {
    this.#hold(terms, subject, holder, terms.slotsMax, answered)
  }

  keepSlot(terms: SlotTerms, subject: ByteString, holder: string, answered: Answered<SlotVerdict>): void {
    this.#hold(terms, subject, holder, Number.MAX_SAFE_INTEGER, answered)
  }

  freeSlot(terms: SlotTerms, subject: ByteString, holder: string): void {
    checkSlot(terms)
    const words = [this.#key('slot', terms.name, [subject]), textsDigest([holder])]
    this.ask('qmqFree', words, scripts.readFreed, nobodyAsks)
  }

  greylist(terms: GreylistTerms, triplet: Triplet, answered: Answered<GreylistVerdict>): void {
    checkGreylist(terms)
    const key = this.#key('grey', 'triplet', [triplet.network, triplet.sender, triplet.recipient])
    this.ask('qmqGreylist', [key, terms.delayMs, terms.retryMs, terms.keepMs], scripts.readGreylist, answered)
  }

  addReputation(terms: ReputationTerms, subject: ByteString, more: Reputation, answered: Answered<Reputation>): void {
    checkReputation(terms, more)
    const key = this.#key('reputation', terms.name, [subject])
    const words = [key, more.good, more.bad, terms.halfLifeMs, terms.halfLifeMs * memoryHalfLives]
    this.ask('qmqReputation', words, scripts.readReputation, answered)
  }

  keepContents(contents: readonly string[], ttlMs: number, answered: Answered<true>): void {
    checkTtl(ttlMs)
    const parts = new Parts<true, true>(this.#contentKeys(contents), answered, () => true)
    parts.ask((keys, part) => this.ask('qmqKeep', [keys.length, ...keys, ttlMs], scripts.readKept, part))
  }

  takeContents(contents: readonly string[], answered: Answered<ReadonlySet<string>>): void {
    const unique = [...new Set(contents)]
    const parts = new Parts<readonly boolean[], ReadonlySet<string>>(this.#contentKeys(unique), answered, (flags) => {
      const taken = flags.flat()
      return new Set(unique.filter((_content, index) => taken[index] === true))
    })
    parts.ask((keys, part) =>
      this.ask('qmqTake', [keys.length, ...keys], (reply) => scripts.readTaken(reply, keys.length), part),
    )
  }

  noteHints(hints: readonly string[], ttlMs: number, answered: Answered<true>): void {
    checkTtl(ttlMs)
    const parts = new Parts<true, true>(hints.map(hintName), answered, () => true, hintsPerCallMax)
    parts.ask((names, part) => this.ask('qmqNote', [this.#hintsKey, ttlMs, ...names], scripts.readKept, part))
  }

  hintsSince(mark: number, answered: Answered<NotedHints>): void {
    this.ask('qmqHints', [this.#hintsKey, mark], scripts.readHints, answered)
  }

  get #hintsKey(): string {
    return this.#key('hints', 'all', [])
  }

  #key(kind: EntryKind, name: string, subject: readonly string[]): string {
    return this.#prefix + entryKey(kind, name, subject)
  }

  #contentKeys(contents: readonly string[]): readonly string[] {
    return contents.map((content) => this.#key('content', 'id', [content]))
  }

  #hold(
    terms: SlotTerms,
    subject: ByteString,
    holder: string,
    slotsMax: number,
    answered: Answered<SlotVerdict>,
  ): void {
    checkSlot(terms)
    const key = this.#key('slot', terms.name, [subject])
    this.ask('qmqSlot', [key, textsDigest([holder]), terms.ttlMs, slotsMax], scripts.readSlot, answered)
  }
}

/** Many keys as calls of bounded size, and their answers as one; gone where any of them is. */
class Parts<Part, Value> {
  readonly #keys: readonly string[]
  readonly #answered: Answered<Value>
  readonly #together: (parts: readonly Part[]) => Value
  readonly #perCallMax: number

  constructor(
    keys: readonly string[],
    answered: Answered<Value>,
    together: (parts: readonly Part[]) => Value,
    perCallMax = scripts.keysPerCallMax,
  ) {
    this.#keys = keys
    this.#answered = answered
    this.#together = together
    this.#perCallMax = perCallMax
  }

  ask(askOne: (keys: readonly string[], answered: Answered<Part>) => void): void {
    const parts: Part[] = []
    const step = this.#perCallMax
    let lacking = Math.ceil(this.#keys.length / step)
    if (lacking === 0) return this.#answered(known(this.#together(parts)))
    let lost: { readonly kind: 'gone'; readonly why: string } | undefined
    for (let index = 0, from = 0; from < this.#keys.length; index++, from += step) {
      askOne(this.#keys.slice(from, from + step), (answer) => {
        if (answer.kind === 'known') parts[index] = answer.value
        else lost = answer
        if (--lacking === 0) this.#answered(lost ?? known(this.#together(parts)))
      })
    }
  }
}

function nobodyAsks(): void {}
