/**
 * One watch over a store that tells changes unreliably and endings not at all: what was heard and what is read every now and
 * then, put together so that the watcher is told each newest value once, in order of its revision.
 *
 * A store whose power was cut may come back as it was minutes ago and give the same revisions again, to other values. So nothing is
 * known of revisions on a new link (`begin`): each value is told again, even one from before, and whoever watches judges what it hears.
 * On a link that lasts, readings find it out: another value under the revision that is known counts at once, an older revision at the
 * second reading that brings it, because a server that leads no more and has not noticed answers so too, once.
 *
 * Pure of network: `read` brings everything that is there now, or rejects.
 */

import { isDeepStrictEqual } from 'node:util'
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
  /** Undefined where it is there no more. */
  readonly entry: Entry | undefined
  /** Number of the reading that was under way, or the next one. */
  readonly reading: number
  /** The last reading brought it as it was earlier. */
  readonly wasOlder: boolean
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

  /** From now on it is heard on a new link: what is there may be an earlier or another store. */
  begin(): void {
    for (const [key, known] of this.#known) this.#known.set(key, { ...known, revision: 0 })
  }

  /** A change the store has made. */
  hear(key: string, entry: Entry | undefined, revision: number): void {
    if (this.#isStopped) return
    const known = this.#known.get(key)
    if (known !== undefined && known.revision >= revision) return
    this.#learn(key, entry, revision)
    if (entry !== undefined || known?.entry !== undefined) this.#parts.changed({ key, entry })
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
    for (const entry of entries) {
      if (this.#hasGoneBack(entry, reading)) this.#known.delete(entry.key)
      this.hear(entry.key, entry, entry.revision)
    }
  }

  #learn(key: string, entry: Entry | undefined, revision: number): void {
    this.#known.set(key, { revision, entry, reading: this.#reading, wasOlder: false })
  }

  /** What was heard since the reading began is newer than the reading. */
  #hasGoneBack(read: Entry, reading: number): boolean {
    const known = this.#known.get(read.key)
    if (known === undefined || known.reading >= reading || read.revision > known.revision) return false
    const isOlder = read.revision < known.revision || known.entry === undefined
    this.#known.set(read.key, { ...known, wasOlder: isOlder })
    return isOlder ? known.wasOlder : !isDeepStrictEqual(read, known.entry)
  }

  /** What was known before the reading began and is not in it. What was heard meanwhile is newer than the reading. */
  #tellGone(present: ReadonlySet<string>, reading: number): void {
    for (const [key, known] of [...this.#known]) {
      if (present.has(key) || known.reading >= reading) continue
      if (known.entry !== undefined) {
        this.#learn(key, undefined, known.revision)
        this.#parts.changed({ key, entry: undefined })
      } else this.#known.delete(key)
    }
  }
}
