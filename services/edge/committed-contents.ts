/**
 * What was committed of transactions that got 451 (promise 6), as far as the shared state reaches.
 *
 * The usual message asks nobody and is not hashed: edges tell one another the hints of what they remember, and only a message
 * with such a hint waits for an answer. Hints are fetched about once a second; a client that comes back to another edge sooner makes a
 * second copy, as it does while the server is gone. Then this edge goes by what it remembers itself.
 *
 * A content is taken from the server before it counts, and one that another edge has taken does not count here any more: what is
 * skipped was committed for this very try. What was used while the server was gone is taken from it when it is back.
 */

import { hintsMax, hintsPerCallMax, type SharedState } from '../contract/shared-state.ts'
import type { ByteString } from '../protocol/byte-string.ts'
import { ExpiringTable } from '../runtime/expiring-table.ts'
import { hintName } from '../runtime/shared-state-key.ts'
import { CommittedMemory, type CommittedMemoryLimits, type Content } from './committed-memory.ts'
import type { Contents } from './content.ts'

/** By recipient. */
export type Committed = ReadonlyMap<ByteString, Content>

const nothing: Committed = new Map()

export class CommittedContents {
  readonly #state: SharedState
  readonly #memory: CommittedMemory
  #limits: CommittedMemoryLimits
  /** Names of hints that any edge has noted. */
  readonly #hints = new ExpiringTable<true>(hintsMax)
  #mark = 0
  #asking = false
  /** Ids of contents that the server still has, though they have been used. */
  readonly #owed = new Set<string>()

  constructor(state: SharedState, limits: CommittedMemoryLimits) {
    this.#state = state
    this.#limits = limits
    this.#memory = new CommittedMemory(limits)
  }

  set limits(limits: CommittedMemoryLimits) {
    this.#limits = limits
    this.#memory.limits = limits
  }

  /** Which of the recipients have their copy. Answers within the call unless the server must be asked. */
  find(contents: Contents, addresses: readonly ByteString[], now: number, found: (committed: Committed) => void): void {
    if (this.#memory.size === 0 && this.#hints.size === 0) return found(nothing)
    const candidates = new Map<ByteString, Content>()
    for (const address of addresses) {
      if (this.#mayHave(contents.hintOf(address), now)) candidates.set(address, contents.of(address))
    }
    if (candidates.size === 0) return found(nothing)
    const own = () => filtered(candidates, (content) => this.#memory.has(content, now))
    if (this.#state.reach === 'process') return found(own())
    const ids = [...candidates.values()].map(({ id }) => id)
    this.#state.takeContents(ids, (answer) => {
      if (answer.kind === 'gone') return found(own())
      for (const content of candidates.values()) {
        if (!answer.value.has(content.id) && this.#memory.sharedOf(content) === 'yes') this.#memory.forget(content)
        this.#memory.share(content, undefined)
      }
      found(filtered(candidates, (content) => answer.value.has(content.id) || this.#memory.has(content, now)))
    })
  }

  /** For the client's next try, at this edge or another. */
  remember(contents: readonly Content[], now: number): void {
    for (const content of contents) {
      this.#memory.remember(content, now)
      this.#owed.delete(content.id)
    }
    const ttlMs = this.#limits.rememberedContentMs
    if (this.#state.reach === 'process' || contents.length === 0 || ttlMs === 0) return
    for (const content of contents) this.#memory.share(content, 'maybe')
    this.#state.keepContents(
      contents.map(({ id }) => id),
      ttlMs,
      (answer) => {
        if (answer.kind === 'known') for (const content of contents) this.#memory.share(content, 'yes')
      },
    )
    this.#state.noteHints([...new Set(contents.map(({ hint }) => hint))], ttlMs, () => {})
  }

  /** The try that skipped them has ended in 250 or 5xx: the same message sent anew is a new message. */
  used(contents: Iterable<Content>): void {
    for (const content of contents) {
      if (this.#memory.sharedOf(content) !== undefined && this.#owed.size < this.#limits.rememberedContentMax) {
        this.#owed.add(content.id)
      }
      this.#memory.forget(content)
    }
  }

  /** About once a second. */
  check(now: number): void {
    this.#memory.expire(now)
    if (this.#state.reach === 'process') return
    this.#takeOwed()
    if (!this.#asking) this.#fetchHints(now)
  }

  #mayHave(hint: string, now: number): boolean {
    return this.#memory.mayHave(hint) || (this.#hints.size > 0 && this.#hints.get(hintName(hint), now) === true)
  }

  #fetchHints(now: number): void {
    this.#asking = true
    this.#state.hintsSince(this.#mark, (answer) => {
      this.#asking = false
      if (answer.kind === 'gone') return
      const { names, mark } = answer.value
      for (const name of names) this.#hints.set(name, true, now, this.#limits.rememberedContentMs)
      this.#mark = mark
      if (names.length === hintsPerCallMax) this.#fetchHints(now)
    })
  }

  #takeOwed(): void {
    if (this.#owed.size === 0) return
    const ids = [...this.#owed]
    this.#owed.clear()
    this.#state.takeContents(ids, (answer) => {
      if (answer.kind === 'gone') for (const id of ids) this.#owed.add(id)
    })
  }
}

function filtered(contents: Committed, holds: (content: Content) => boolean): Committed {
  return new Map([...contents].filter(([, content]) => holds(content)))
}
