/**
 * The layout in force as coordination has it, and the only way to another one: compare-and-set, under a fence that is not lower than
 * the one it was written under. A record that cannot be read is nobody's order: nothing is done by it, and it is said.
 */

import { type Coordination, layoutKey, type WriteResult } from '../contract/coordination.ts'
import type { Layout } from '../contract/layout.ts'
import { asJson } from '../runtime/tier-process.ts'
import { readLayout } from '../settings/layout-record.ts'

export interface LayoutInForce {
  readonly layout: Layout
  readonly revision: number
}

export class LayoutRegister {
  readonly #coordination: Coordination

  constructor(coordination: Coordination) {
    this.#coordination = coordination
  }

  /** In words, where there is none that can be followed. Rejects where the store cannot be reached. */
  async read(): Promise<LayoutInForce | string> {
    const entry = await this.#coordination.get(layoutKey)
    if (entry === undefined) return 'there is no layout in coordination yet'
    const reading = readLayout(entry.value)
    return reading.ok ? { layout: reading.layout, revision: entry.revision } : reading.why
  }

  /** `conflict` also where the writer has been overtaken and does not know it yet. */
  async write(next: Layout, { layout, revision }: LayoutInForce, fence: number): Promise<WriteResult> {
    if (layout.fence > fence) return { kind: 'conflict' }
    if (next.epoch <= layout.epoch || next.fence < layout.fence) throw new Error('a layout only goes forward')
    return await this.#coordination.update(layoutKey, asJson(next), revision)
  }
}
