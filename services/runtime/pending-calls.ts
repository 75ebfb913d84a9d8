/**
 * Calls to a server that may be slow, gone or mad: each is answered exactly once, by its reply or by its deadline.
 *
 * A reply that is no answer, an error and a missed deadline are misses; so many in a row and the connection is given up. Calls past
 * `openMax` are not sent, so that a server that stands still costs a bounded amount of memory.
 */

import { type Answered, gone, known, type SharedAnswer } from '../contract/shared-state.ts'
import { errorText } from '../protocol/failure.ts'
import type { Clock } from './world.ts'

export interface CallLimits {
  readonly deadlineMs: number
  /** Sent and without a reply, answered to their callers or not. */
  readonly openMax: number
  readonly missesMax: number
}

export class PendingCalls {
  readonly #clock: Clock
  readonly #limits: CallLimits
  readonly #giveUp: (why: string) => void
  #open = 0
  #missesInRow = 0

  /** `giveUp` is called at every miss from `missesMax` in a row on. */
  constructor(clock: Clock, limits: CallLimits, giveUp: (why: string) => void) {
    this.#clock = clock
    this.#limits = limits
    this.#giveUp = giveUp
  }

  call<Value>(
    send: () => Promise<unknown>,
    read: (reply: unknown) => Value | undefined,
    answered: Answered<Value>,
  ): void {
    if (this.#open >= this.#limits.openMax) return answered(gone('too many calls wait for a reply'))
    this.#open++
    let settled = false
    const settle = (answer: SharedAnswer<Value>): void => {
      if (settled) return
      settled = true
      deadline.cancel()
      this.#count(answer)
      answered(answer)
    }
    const late = gone(`no reply within ${this.#limits.deadlineMs} ms`)
    // A reply may lie in the socket while this process was busy elsewhere: it is looked at first.
    const deadline = this.#clock.after(this.#limits.deadlineMs, () => this.#clock.soon(() => settle(late)))
    send().then(
      (reply) => {
        this.#open--
        const value = read(reply)
        settle(value === undefined ? gone('a reply that is no answer') : known(value))
      },
      (error: unknown) => {
        this.#open--
        settle(gone(errorText(error)))
      },
    )
  }

  #count(answer: SharedAnswer<unknown>): void {
    this.#missesInRow = answer.kind === 'known' ? 0 : this.#missesInRow + 1
    if (answer.kind === 'gone' && this.#missesInRow >= this.#limits.missesMax) this.#giveUp(answer.why)
  }
}
