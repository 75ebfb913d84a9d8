/**
 * What `qmq up` does about the layout where NATS coordinates: it puts its own there by compare-and-set where it is newer, follows the
 * one in force where that is newer, and never waits for either.
 *
 * The store is not the truth: it may be empty, from last week, or written by somebody who should not. Ours is put in place of a
 * record that no process of ours wrote (unsigned, damaged) or that was overtaken, and of one that is gone. A record by another key, of
 * another cluster or version is left alone, and reported once: there a person must say which of the two is right.
 */

import {
  type Coordination,
  type Entry,
  type Json,
  layoutKey,
  type Subscription,
  type WriteResult,
} from '../contract/coordination.ts'
import type { Layout } from '../contract/layout.ts'
import { errorText } from '../protocol/failure.ts'
import type { LayoutFault, LayoutJudgement } from '../runtime/signed-layout.ts'

export interface LayoutRelayParts {
  readonly shared: Coordination
  readonly inForce: () => Layout
  /** Undefined where this host cannot sign: it follows, and publishes nothing. */
  readonly sign: ((layout: Layout) => Json) | undefined
  readonly judge: (value: Json) => Promise<LayoutJudgement>
  /** A layout that is newer than ours, verified. */
  readonly follow: (layout: Layout, record: Json) => Promise<void>
  readonly complain: (text: string) => void
}

/** Faults of a record that ours may replace. */
const replaced: ReadonlySet<LayoutFault> = new Set<LayoutFault>(['unsigned', 'damaged', 'older'])

export class LayoutRelay {
  readonly #parts: LayoutRelayParts
  #turn: Promise<void> = Promise.resolve()
  #watch: Subscription | undefined
  #told = ''

  constructor(parts: LayoutRelayParts) {
    this.#parts = parts
  }

  /** From now on. A watch tells nothing of a store that is empty: that is looked at here, and by `settle` when it comes back. */
  start(): void {
    this.#watch ??= this.#parts.shared.watch(layoutKey, ({ key, entry }) => {
      if (key === layoutKey) this.#settleSoon(entry)
    })
    this.#settleSoon()
  }

  stop(): void {
    this.#watch?.stop()
  }

  /** Looks at the record and does what is due. `told`: what a watch has just heard. Never rejects; with the store out of reach nothing is done. */
  settle(told?: Entry): Promise<void> {
    this.#turn = this.#turn.then(() => this.#settleNow(told)).catch((error: unknown) => this.#tell(errorText(error)))
    return this.#turn
  }

  /** Puts a layout in force that follows ours. `conflict`: another is in force by now. */
  async offer(next: Layout): Promise<WriteResult> {
    const { shared, sign } = this.#parts
    if (sign === undefined) return { kind: 'conflict' }
    try {
      const entry = await shared.get(layoutKey)
      if (entry === undefined) return await shared.create(layoutKey, sign(next))
      const judgement = await this.#parts.judge(entry.value)
      if (judgement.kind === 'newer') return { kind: 'conflict' }
      if (judgement.kind === 'refused' && !replaced.has(judgement.fault)) return { kind: 'conflict' }
      return await shared.update(layoutKey, sign(next), entry.revision)
    } catch {
      return { kind: 'unreachable' }
    }
  }

  #settleSoon(told?: Entry): void {
    this.settle(told).catch((error: unknown) => this.#tell(errorText(error)))
  }

  async #settleNow(told: Entry | undefined): Promise<void> {
    const { shared, judge, follow } = this.#parts
    const read = await shared.get(layoutKey).catch(() => null)
    if (read === null) return
    // A server that leads no more and has not noticed may answer, without what the watch was told.
    const entry = (told?.revision ?? 0) > (read?.revision ?? 0) ? told : read
    if (entry === undefined) return await this.#publish(undefined)
    const judgement = await judge(entry.value)
    if (judgement.kind === 'same') this.#told = ''
    else if (judgement.kind === 'newer') await follow(judgement.layout, entry.value)
    else {
      if (judgement.fault !== 'older') this.#tell(`the layout in NATS is refused: ${judgement.why}`)
      if (replaced.has(judgement.fault)) await this.#publish(entry.revision)
    }
  }

  async #publish(revision: number | undefined): Promise<void> {
    const { shared, sign, inForce } = this.#parts
    if (sign === undefined)
      return this.#tell('this host has no key to sign the layout with: it is not put into NATS from here')
    const record = sign(inForce())
    const result =
      revision === undefined ? await shared.create(layoutKey, record) : await shared.update(layoutKey, record, revision)
    // Of a conflict the watch tells by itself, of a store out of reach the link.
    if (result.kind === 'written') this.#told = ''
  }

  #tell(text: string): void {
    if (text === this.#told) return
    this.#told = text
    this.#parts.complain(text)
  }
}
