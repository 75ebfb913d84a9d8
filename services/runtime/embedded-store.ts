/**
 * The records of embedded coordination: keys, JSON values, revisions and watchers, in memory.
 *
 * Revisions rise by every change of the whole store, from `firstRevision` on: fencing numbers are made of them, and must go on rising
 * over a restart. Nothing else is kept: layouts live on disk, heartbeats and services come back with the clients. States and leases vanish when nobody renews them. Values are frozen by convention: nobody changes
 * what was handed over.
 */

import {
  type Change,
  type Entry,
  isBelow,
  type Json,
  type KeyLifetimes,
  keyKindOf,
  type WriteResult,
} from '../contract/coordination.ts'
import type { Clock, Timer } from './world.ts'

export interface EmbeddedStoreLimits {
  readonly entriesMax: number
  readonly lifetimes: KeyLifetimes
  /** No revision was ever as high; 0 for a store that nobody had before. */
  readonly firstRevision?: number
}

export class EmbeddedStore {
  readonly #entries = new Map<string, Entry>()
  readonly #watchers = new Set<{ readonly prefix: string; readonly changed: (change: Change) => void }>()
  readonly #ends = new Map<string, Timer>()
  readonly #clock: Clock
  readonly #limits: EmbeddedStoreLimits
  #revision = 0

  constructor(clock: Clock, limits: EmbeddedStoreLimits) {
    this.#clock = clock
    this.#limits = limits
    this.#revision = limits.firstRevision ?? 0
  }

  get(key: string): Entry | undefined {
    return this.#entries.get(key)
  }

  /** By key. */
  list(prefix: string): readonly Entry[] {
    const found = [...this.#entries.values()].filter((entry) => isBelow(prefix, entry.key))
    return found.sort((one, other) => (one.key < other.key ? -1 : 1))
  }

  create(key: string, value: Json): WriteResult {
    return this.#entries.has(key) ? { kind: 'conflict' } : this.put(key, value)
  }

  update(key: string, value: Json, revision: number): WriteResult {
    return this.#entries.get(key)?.revision === revision ? this.put(key, value) : { kind: 'conflict' }
  }

  /** A store that is full refuses new keys as a conflict; its owners are few and known. */
  put(key: string, value: Json): WriteResult {
    if (!this.#entries.has(key) && this.#entries.size >= this.#limits.entriesMax) return { kind: 'conflict' }
    const entry: Entry = { key, value, revision: ++this.#revision }
    this.#entries.set(key, entry)
    this.#live(key)
    this.#tell({ key, entry })
    return { kind: 'written', revision: entry.revision }
  }

  delete(key: string): WriteResult {
    this.#ends.get(key)?.cancel()
    this.#ends.delete(key)
    if (this.#entries.delete(key)) {
      this.#revision++
      this.#tell({ key, entry: undefined })
    }
    return { kind: 'written', revision: this.#revision }
  }

  /** Changes from now on. Answers how to stop. */
  watch(prefix: string, changed: (change: Change) => void): () => void {
    const watcher = { prefix, changed }
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  #live(key: string): void {
    const kind = keyKindOf(key)
    if (kind === 'record') return
    const { leaseMs, stateMs } = this.#limits.lifetimes
    this.#ends.get(key)?.cancel()
    this.#ends.set(
      key,
      this.#clock.after(kind === 'lease' ? leaseMs : stateMs, () => this.delete(key)),
    )
  }

  #tell(change: Change): void {
    for (const watcher of [...this.#watchers]) {
      if (isBelow(watcher.prefix, change.key)) watcher.changed(change)
    }
  }
}
