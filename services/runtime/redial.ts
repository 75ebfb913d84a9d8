/**
 * When to connect again to a server that edges can do without: later and later, never at the same moment as the others.
 *
 * A server that comes back meets its clients spread over half of the pause, not all at once.
 */

import { BackOff, type BackOffLimits } from './back-off.ts'
import type { Clock, Random, Timer } from './world.ts'

export class Redial {
  readonly #clock: Clock
  readonly #random: Random
  readonly #backOff: BackOff
  readonly #dial: () => void
  #openedAt: number | undefined
  #timer: Timer | undefined
  #stopped = false

  constructor(world: { readonly clock: Clock; readonly random: Random }, limits: BackOffLimits, dial: () => void) {
    this.#clock = world.clock
    this.#random = world.random
    this.#backOff = new BackOff(limits)
    this.#dial = dial
  }

  opened(): void {
    this.#openedAt = this.#clock.monotonic()
  }

  /** The connection, or the attempt to make one, has ended. Once for each. */
  lost(): void {
    if (this.#stopped) return
    const livedMs = this.#openedAt === undefined ? 0 : this.#clock.monotonic() - this.#openedAt
    this.#openedAt = undefined
    const pauseMs = this.#backOff.next(livedMs)
    this.#timer = this.#clock.after(pauseMs / 2 + this.#random.below(Math.ceil(pauseMs / 2)), this.#dial)
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }
}
