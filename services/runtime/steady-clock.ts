/**
 * Wall time that does not jump: the clock as it stood when this was made, and monotonic time since.
 *
 * Queues age mail by it, so that an operator or a time server who sets the clock neither expires a message nor puts it off
 * for hours. A process started later begins with the clock as it stands then.
 */

import type { Clock, Timer } from './world.ts'

export class SteadyClock implements Clock {
  readonly #clock: Clock
  readonly #offset: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#offset = clock.now() - clock.monotonic()
  }

  /** Unix milliseconds, whole. */
  now(): number {
    return Math.round(this.#offset + this.#clock.monotonic())
  }

  monotonic(): number {
    return this.#clock.monotonic()
  }

  after(delayMs: number, task: () => void): Timer {
    return this.#clock.after(delayMs, task)
  }

  soon(task: () => void): void {
    this.#clock.soon(task)
  }
}
