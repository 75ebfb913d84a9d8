/**
 * The keeper of shares, in the control process that leads: answers the instances that ask (`contract/share.ts`).
 *
 * `start` when a term of the lease begins, `stop` when it ends. Each ask is judged by the layout as it stands after the ask came, and answered
 * only while the lease is held. A keeper remembers nothing of the one before: it gives nothing for the life of a grant, during which
 * the instances' own grants end and their destinations wait. While there is no leader or no coordination, instances go by their floors.
 */

import {
  type Coordination,
  type Json,
  layoutKey,
  operationSubject,
  type Subscription,
} from '../../contract/coordination.ts'
import type { Layout } from '../../contract/layout.ts'
import { ceilingsOf, readShareAsk, shareKeeperName, sharersOf, shareTerms } from '../../contract/share.ts'
import type { Clock } from '../../runtime/world.ts'
import { readLayout } from '../../settings/layout-record.ts'
import { ShareBook } from './shares.ts'

export interface ShareKeeperParts {
  readonly coordination: Coordination
  readonly clock: Clock
  /** Our number while we lead (`Lease.fence`). */
  readonly fence: () => number | undefined
}

export class ShareKeeper {
  readonly #parts: ShareKeeperParts
  #served: Subscription | undefined
  #book: ShareBook | undefined
  #layout: { readonly revision: number; readonly layout: Layout } | undefined

  constructor(parts: ShareKeeperParts) {
    this.#parts = parts
  }

  /** A term begins; `fence` is its number. */
  start(fence: number): void {
    this.stop()
    const { coordination, clock } = this.#parts
    this.#book = new ShareBook(shareTerms, String(fence), clock.monotonic() + shareTerms.lifeMs)
    this.#served = coordination.serve(operationSubject(shareKeeperName, 'ask'), (value) => this.#answer(value))
  }

  stop(): void {
    this.#served?.stop()
    this.#served = undefined
    this.#book = undefined
  }

  /** A rejection tells the instance why it gets nothing. */
  async #answer(value: Json): Promise<Json> {
    const ask = readShareAsk(value)
    if (ask === undefined) throw new Error('this is no ask for shares')
    const layout = await this.#layoutNow()
    const book = this.#book
    if (book === undefined || this.#parts.fence() === undefined) throw new Error('this control process does not lead')
    const grant = book.answer(ask, ceilingsOf(layout), sharersOf(layout), this.#parts.clock.monotonic())
    if (grant === undefined) throw new Error('no shares are given yet, or none to this instance')
    return { grant: grant.grant, shares: { ...grant.shares } }
  }

  /** From the store each time: an instance may be in it that was not when we looked last. */
  async #layoutNow(): Promise<Layout> {
    const entry = await this.#parts.coordination.get(layoutKey)
    if (entry === undefined) throw new Error('there is no layout')
    if (this.#layout?.revision === entry.revision) return this.#layout.layout
    const reading = readLayout(entry.value)
    if (!reading.ok) throw new Error(reading.why)
    this.#layout = { revision: entry.revision, layout: reading.layout }
    return reading.layout
  }
}
