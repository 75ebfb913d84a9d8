/**
 * A process that can die at any of its actions: the n-th write to coordination, question to an instance or change of a disk.
 *
 * `before`: it dies with the action unsent. `after`: the action happens and nobody hears of it. `late`: it does not die, but this action
 * arrives long after, when others have gone on, and so does everything else it says meanwhile.
 */

import type { Coordination } from '../../../services/contract/coordination.ts'
import type { Disk } from '../../../services/runtime/world.ts'
import type { VirtualTime } from '../../simulation/virtual-time.ts'

export type Fate = 'before' | 'after' | 'late'

const actions = new Set(['create', 'update', 'put', 'delete', 'request', 'rename', 'syncDirectory'])
export const lateMs = 40_000

export class Mortality {
  /** Actions so far. */
  count = 0
  isDead = false
  readonly #time: VirtualTime
  readonly #at: number
  readonly #fate: Fate
  #lateUntilMs = 0

  /** `at`: which action meets its fate; 0 for none. */
  constructor(time: VirtualTime, at: number, fate: Fate) {
    this.#time = time
    this.#at = at
    this.#fate = fate
  }

  wrap<Thing extends Coordination | Disk>(thing: Thing): Thing {
    return new Proxy(thing, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name)
        if (typeof value !== 'function') return value
        return (...given: unknown[]) => this.#call(String(name), () => Reflect.apply(value, target, given))
      },
    })
  }

  #call(name: string, call: () => unknown): unknown {
    if (this.isDead) return name === 'watch' || name === 'serve' ? { stop() {} } : new Promise(() => {})
    const isDue = actions.has(name) && ++this.count === this.#at
    if (isDue && this.#fate === 'late') this.#lateUntilMs = this.#time.elapsedMs + lateMs
    if (isDue && this.#fate !== 'late') {
      this.isDead = true
      if (this.#fate === 'after') call()
      return new Promise(() => {})
    }
    const waitMs = this.#lateUntilMs - this.#time.elapsedMs
    const isTalk = name !== 'watch' && name !== 'serve' && name !== 'close'
    if (waitMs <= 0 || !isTalk) return call()
    return new Promise((resolve, reject) => {
      this.#time.schedule(waitMs, () => Promise.resolve(call()).then(resolve, reject))
    })
  }
}
