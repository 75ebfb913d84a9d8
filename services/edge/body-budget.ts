/**
 * The message bytes one edge process holds, and who waits while they are too many.
 *
 * Past the limit a client is read no further until bytes are released; a client that waits too long loses its
 * text and gets 451, so that clients that hold half a message each cannot stop one another for ever.
 */

export interface BudgetWaiter {
  /** There is room again. */
  roomAgain(): void
  /** There was none for `patienceMs`. */
  roomDenied(): void
}

/** How long a client may wait in the middle of a message. */
const patienceMs = 5000

export class BodyBudget {
  #bytesMax: number
  #bytes = 0
  readonly #waiting = new Map<BudgetWaiter, number>()

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  set bytesMax(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  get exceeded(): boolean {
    return this.#bytes >= this.#bytesMax
  }

  take(bytes: number): void {
    this.#bytes += bytes
  }

  release(bytes: number): void {
    this.#bytes -= bytes
    if (this.exceeded || this.#waiting.size === 0) return
    const waiters = [...this.#waiting.keys()]
    this.#waiting.clear()
    for (const waiter of waiters) waiter.roomAgain()
  }

  wait(waiter: BudgetWaiter, now: number): void {
    this.#waiting.set(waiter, now)
  }

  leave(waiter: BudgetWaiter): void {
    this.#waiting.delete(waiter)
  }

  check(now: number): void {
    for (const [waiter, since] of this.#waiting) {
      if (now - since < patienceMs) continue
      this.#waiting.delete(waiter)
      waiter.roomDenied()
    }
  }
}
