/**
 * One watch over a store that tells changes unreliably and endings not at all: what was heard and what is read every now and
 * then, put together so that the watcher is told each newest value once, in order of its revision.
 *
 * Pure of network: `read` brings everything that is there now, or rejects.
 */

import type { Change, Entry } from '../contract/coordination.ts'
import type { Clock, Timer } from './world.ts'

export interface NatsWatchParts {
  readonly clock: Clock
  readonly read: () => Promise<readonly Entry[]>
  readonly changed: (change: Change) => void
  /** Between two readings, milliseconds. */
  readonly pollMs: number
}

interface Known {
  readonly revision: number
  readonly isThere: boolean
  /** Number of the reading that was under way, or the next one. */
  readonly reading: number
}

export class NatsWatch {
  readonly #parts: NatsWatchParts
  readonly #known = new Map<string, Known>()
  #reading = 0
  #underWay: Promise<void> | undefined
  #again = false
  #timer: Timer | undefined
  #isStopped = false

  constructor(parts: NatsWatchParts) {
    this.#parts = parts
  }

  /** A change the store has made. */
  hear(key: string, entry: Entry | undefined, revision: number): void {
    if (this.#isStopped) return
    const known = this.#known.get(key)
    if (known !== undefined && known.revision >= revision) return
    this.#known.set(key, { revision, isThere: entry !== undefined, reading: this.#reading })
    if (entry !== undefined || known?.isThere === true) this.#parts.changed({ key, entry })
  }

  /** Reads now, and from now on every `pollMs`. Never rejects. */
  poll(): Promise<void> {
    if (this.#isStopped) return Promise.resolve()
    if (this.#underWay !== undefined) {
      this.#again = true
      return this.#underWay
    }
    this.#timer?.cancel()
    this.#underWay = this.#readOnce().finally(() => {
      this.#underWay = undefined
      if (this.#isStopped) return
      const again = this.#again
      this.#again = false
      this.#timer = this.#parts.clock.after(again ? 0 : this.#parts.pollMs, () => {
        this.poll().catch(() => {})
      })
    })
    return this.#underWay
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  async #readOnce(): Promise<void> {
    const reading = ++this.#reading
    let entries: readonly Entry[]
    try {
      entries = await this.#parts.read()
    } catch {
      return
    }
    if (this.#isStopped) return
    this.#tellGone(new Set(entries.map(({ key }) => key)), reading)
    for (const entry of entries) this.hear(entry.key, entry, entry.revision)
  }

  /** What was known before the reading began and is not in it. What was heard meanwhile is newer than the reading. */
  #tellGone(present: ReadonlySet<string>, reading: number): void {
    for (const [key, known] of [...this.#known]) {
      if (present.has(key) || known.reading >= reading) continue
      if (known.isThere) {
        this.#known.set(key, { ...known, isThere: false, reading })
        this.#parts.changed({ key, entry: undefined })
      } else this.#known.delete(key)
    }
  }
}
