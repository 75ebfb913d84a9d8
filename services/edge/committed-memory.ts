/**
 * What was committed of transactions that got 451, by content id, so that the client's next try sends only the rest.
 *
 * Bounded in number and age; the oldest go first. Forgetting costs a duplicate at most, never a message. An id is forgotten
 * when a try that used it ends in 250 or 5xx: the same message sent anew is a new message.
 */

export interface CommittedMemoryLimits {
  readonly rememberedContentMax: number
  readonly rememberedContentMs: number
}

export class CommittedMemory {
  #limits: CommittedMemoryLimits
  /** In order of expiry; values are the times of it. */
  readonly #until = new Map<string, number>()

  constructor(limits: CommittedMemoryLimits) {
    this.#limits = limits
  }

  set limits(limits: CommittedMemoryLimits) {
    this.#limits = limits
  }

  get size(): number {
    return this.#until.size
  }

  has(content: string, now: number): boolean {
    const until = this.#until.get(content)
    return until !== undefined && until > now
  }

  remember(content: string, now: number): void {
    this.#until.delete(content)
    this.#until.set(content, now + this.#limits.rememberedContentMs)
    for (const [oldest, until] of this.#until) {
      if (until > now && this.#until.size <= this.#limits.rememberedContentMax) break
      this.#until.delete(oldest)
    }
  }

  forget(content: string): void {
    this.#until.delete(content)
  }

  /** Drops what has grown old; between calls the old only takes room. */
  expire(now: number): void {
    for (const [oldest, until] of this.#until) {
      if (until > now) break
      this.#until.delete(oldest)
    }
  }
}
