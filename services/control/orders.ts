/**
 * Carrying out an order: read the layout in force, let the order make the next one, write it by compare-and-set under our fence; again
 * where somebody was first. Only the leader does; others say who leads.
 *
 * A write without an answer may have been done: what is in force afterwards tells, and an order given again is done once. So what was
 * `unavailable` may always be given again.
 */

import type { Layout } from '../contract/layout.ts'
import { makeTransactionId } from '../contract/transaction-id.ts'
import { errorText } from '../protocol/failure.ts'
import type { Random } from '../runtime/world.ts'
import type { OrderOutcome } from './control-plane.ts'
import type { Ordered, OrderFrame } from './layout/order.ts'
import type { LayoutRegister } from './layout-register.ts'

export type OrderWords = Pick<OrderFrame, 'by' | 'reason' | 'force'>

export interface OrdersParts {
  readonly register: LayoutRegister
  readonly random: Random
  readonly fence: () => number | undefined
  /** The store's clock. Rejects where it cannot be reached. */
  readonly now: () => Promise<number>
  readonly lost: (layout: Layout) => Promise<ReadonlySet<string>>
  /** Who leads, for those who do not. */
  readonly leader: () => Promise<string | undefined>
}

type Step = (layout: Layout, frame: OrderFrame) => Ordered

/** Compare-and-sets that others won before an order gives up. */
const attemptsMax = 8

export class Orders {
  readonly #parts: OrdersParts

  constructor(parts: OrdersParts) {
    this.#parts = parts
  }

  /** Never rejects. */
  async give(order: Step, words: OrderWords): Promise<OrderOutcome> {
    try {
      return await this.#give(order, words)
    } catch (error) {
      return { kind: 'unavailable', why: errorText(error) }
    }
  }

  /** What the order would do now; nothing is written, and no leader is needed. Rejects where the store cannot be reached. */
  async draw(order: Step, words: OrderWords): Promise<{ readonly before: Layout; readonly ordered: Ordered } | string> {
    const current = await this.#parts.register.read()
    if (typeof current === 'string') return current
    const frame = await this.#frame(current.layout, words, current.layout.fence)
    return { before: current.layout, ordered: order(current.layout, frame) }
  }

  async #give(order: Step, words: OrderWords): Promise<OrderOutcome> {
    const { register, fence: fenceOf, leader } = this.#parts
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const current = await register.read()
      if (typeof current === 'string') return { kind: 'unavailable', why: current }
      const fence = fenceOf()
      if (fence === undefined || current.layout.fence > fence) return { kind: 'not-leader', leader: await leader() }
      const frame = await this.#frame(current.layout, words, fence)
      const ordered = order(current.layout, frame)
      if (ordered.kind === 'unchanged') return { ...ordered, epoch: current.layout.epoch }
      if (ordered.kind !== 'changed') return ordered
      // The term may have ended while we asked for the time.
      if (fenceOf() !== fence) return { kind: 'not-leader', leader: undefined }
      const result = await register.write(ordered.layout, current, fence)
      if (result.kind === 'unreachable') return { kind: 'unavailable', why: 'coordination did not answer' }
      if (result.kind === 'written') {
        const began = ordered.layout.plans.some(({ id }) => id === frame.plan)
        return { kind: 'done', epoch: ordered.layout.epoch, plan: began ? frame.plan : undefined }
      }
    }
    return { kind: 'unavailable', why: `the layout was changed by others ${attemptsMax} times meanwhile` }
  }

  async #frame(layout: Layout, words: OrderWords, fence: number): Promise<OrderFrame> {
    const { now, random, lost } = this.#parts
    const at = await now()
    return { ...words, fence, at, plan: makeTransactionId(at, random.bytes(10)), lost: await lost(layout) }
  }
}
