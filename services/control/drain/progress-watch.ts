/**
 * How long each leaving instance has made no progress, as far as one leader has seen. A hint and no more: it decides only when a plan
 * with force gives up waiting, and the next leader counts from the moment it begins.
 */

import type { DrainPlan, Layout } from '../../contract/layout.ts'
import { instanceOf } from '../../contract/layout.ts'
import type { InstanceState } from '../../contract/operations.ts'

export class ProgressWatch {
  readonly #seen = new Map<string, { readonly what: string; readonly sinceMs: number }>()

  /** `nowMs` on the monotonic clock. Forgets what belongs to no plan. */
  look(layout: Layout, states: ReadonlyMap<string, InstanceState>, nowMs: number): void {
    const present = new Set<string>()
    for (const plan of layout.plans) {
      for (const id of plan.leaving) {
        const key = keyOf(plan, id)
        present.add(key)
        const drain = states.get(id)?.drain
        const what = [instanceOf(layout, id)?.standing, drain?.phase, drain?.moved, drain?.offered].join(' ')
        if (this.#seen.get(key)?.what !== what) this.#seen.set(key, { what, sinceMs: nowMs })
      }
    }
    for (const key of this.#seen.keys()) if (!present.has(key)) this.#seen.delete(key)
  }

  quietMs(plan: DrainPlan, nowMs: number): ReadonlyMap<string, number> {
    const of = (id: string) => nowMs - (this.#seen.get(keyOf(plan, id))?.sinceMs ?? nowMs)
    return new Map(plan.leaving.map((id) => [id, of(id)]))
  }

  clear(): void {
    this.#seen.clear()
  }
}

function keyOf(plan: DrainPlan, id: string): string {
  return `${plan.id} ${id}`
}
