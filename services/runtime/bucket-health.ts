/**
 * Whether a bucket of NATS may yet recover by itself, judged by whoever makes buckets, from two things: what looks at it find, and
 * whether what is written to it is answered. After a power cut of all its servers a bucket can be without a leader, or be led by a server
 * that takes no writes, each for good. While a server is away that has a reason. A replica that lags behind counts for nothing: it may be on
 * a slow machine, and reads do not ask it. Pure; times are on the monotonic clock, milliseconds.
 */

import type { BucketLook } from './nats-link.ts'

export class BucketHealth {
  readonly #patienceMs: number
  #ailingSince: number | undefined
  #unanswered: { readonly since: number; readonly lastAt: number } | undefined

  /** `patienceMs`: how long it may ail until it is given up. */
  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs
  }

  /** Answers whether there is hope. Where there is none, it is made anew, and judged from the beginning. */
  looked(look: BucketLook, now: number): boolean {
    if (look === 'incomplete') this.forget()
    else if (look === 'well') this.#ailingSince = undefined
    else this.#ailingSince ??= now
    const ailed = this.#ailingSince === undefined ? 0 : now - this.#ailingSince
    const unanswered = this.#unanswered === undefined ? 0 : this.#unanswered.lastAt - this.#unanswered.since
    if (Math.max(ailed, unanswered) < this.#patienceMs) return true
    this.forget()
    return false
  }

  /** A write was taken or refused: the leader is at work. */
  answered(): void {
    this.#unanswered = undefined
  }

  /** A write had no answer. */
  unanswered(now: number): void {
    this.#unanswered = { since: this.#unanswered?.since ?? now, lastAt: now }
  }

  forget(): void {
    this.#ailingSince = undefined
    this.#unanswered = undefined
  }
}
