/**
 * What was committed of transactions that got 451, by content id, so that the client's next try sends only the rest.
 *
 * Bounded in number and age; the oldest go first. Forgetting costs a duplicate at most, never a message. An id is forgotten
 * when a try that used it ends in 250 or 5xx: the same message sent anew is a new message.
 *
 * A content id is a hash of the whole text. Its hint is made of the envelope and the size, and tells of nearly all other
 * mail that it need not be hashed.
 */

export interface CommittedMemoryLimits {
  readonly rememberedContentMax: number
  readonly rememberedContentMs: number
}

export interface Content {
  readonly id: string
  /** Equal for equal contents, and cheap to make. */
  readonly hint: string
}

/** Whether the edges' shared state has it too. */
export type Sharing = 'maybe' | 'yes' | undefined

interface Remembered {
  readonly hint: string
  readonly until: number
  shared: Sharing
}

export class CommittedMemory {
  #limits: CommittedMemoryLimits
  /** By id, in order of expiry. */
  readonly #remembered = new Map<string, Remembered>()
  /** How many remembered contents have a hint. */
  readonly #hints = new Map<string, number>()

  constructor(limits: CommittedMemoryLimits) {
    this.#limits = limits
  }

  set limits(limits: CommittedMemoryLimits) {
    this.#limits = limits
  }

  get size(): number {
    return this.#remembered.size
  }

  /** False: no content with this hint is remembered. */
  mayHave(hint: string): boolean {
    return this.#hints.has(hint)
  }

  has(content: Content, now: number): boolean {
    const known = this.#remembered.get(content.id)
    return known !== undefined && known.until > now
  }

  remember(content: Content, now: number): void {
    const { id, hint } = content
    this.forget(content)
    this.#remembered.set(id, { hint, until: now + this.#limits.rememberedContentMs, shared: undefined })
    this.#hints.set(hint, (this.#hints.get(hint) ?? 0) + 1)
    for (const [oldest, known] of this.#remembered) {
      if (known.until > now && this.#remembered.size <= this.#limits.rememberedContentMax) break
      this.forget({ id: oldest, hint: known.hint })
    }
  }

  share({ id }: Content, shared: Sharing): void {
    const known = this.#remembered.get(id)
    if (known !== undefined) known.shared = shared
  }

  sharedOf({ id }: Content): Sharing {
    return this.#remembered.get(id)?.shared
  }

  forget({ id, hint }: Content): void {
    if (!this.#remembered.delete(id)) return
    const left = (this.#hints.get(hint) ?? 1) - 1
    if (left === 0) this.#hints.delete(hint)
    else this.#hints.set(hint, left)
  }

  /** Drops what has grown old; between calls the old only takes room. */
  expire(now: number): void {
    for (const [oldest, known] of this.#remembered) {
      if (known.until > now) break
      this.forget({ id: oldest, hint: known.hint })
    }
  }
}
