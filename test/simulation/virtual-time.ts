/**
 * Virtual time: a heap of events and the loop that fires them one after another.
 *
 * Every completion in a simulated world is an event here. After each one the loop lets Node turn once (`setImmediate`),
 * so that every promise reaction the event caused has run before the next event: a microtask queue is always drained
 * before the next macrotask. Events of one instant fire in the order they were made, so a run is a function of its seed.
 */

import type { Timer } from '../../services/runtime/world.ts'

interface Event {
  readonly at: number
  readonly order: number
  task: (() => void) | undefined
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

export class VirtualTime {
  /** Milliseconds since the world began; fractions count. */
  elapsedMs = 0
  /** Events fired so far. */
  fired = 0
  /** FNV-1a over the instants fired and whatever `note` was told: equal runs have equal traces. */
  trace = 0x811c9dc5
  readonly #heap: Event[] = []
  #made = 0

  schedule(delayMs: number, task: () => void): Timer {
    const event: Event = { at: this.elapsedMs + Math.max(0, delayMs), order: this.#made++, task }
    this.#push(event)
    return {
      cancel: () => {
        event.task = undefined
      },
    }
  }

  /** Adds something that happened to the trace. */
  note(what: string): void {
    for (let index = 0; index < what.length; index++) this.#mix(what.charCodeAt(index))
  }

  /** Fires events until `done` says so, `untilMs` is reached, or none is left. True where `done` said so. */
  async run(untilMs: number, done: () => boolean = () => false): Promise<boolean> {
    await turn()
    while (!done()) {
      const event = this.#heap[0]
      if (event === undefined || event.at > untilMs) {
        this.elapsedMs = Math.max(this.elapsedMs, Math.min(untilMs, Number.MAX_SAFE_INTEGER))
        return false
      }
      this.#pop()
      const task = event.task
      if (task === undefined) continue
      this.elapsedMs = event.at
      this.fired++
      this.#mix(Math.round(event.at * 1000))
      task()
      await turn()
    }
    return true
  }

  #mix(value: number): void {
    this.trace = Math.imul(this.trace ^ (value & 0xffffffff), 0x01000193) >>> 0
  }

  #push(event: Event): void {
    const heap = this.#heap
    let index = heap.length
    while (index > 0) {
      const parent = (index - 1) >> 1
      const above = heap[parent] as Event
      if (!isBefore(event, above)) break
      heap[index] = above
      index = parent
    }
    heap[index] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) child++
      const below = heap[child] as Event
      if (!isBefore(below, last)) break
      heap[index] = below
      index = child
    }
    heap[index] = last
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}
