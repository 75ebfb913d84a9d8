/**
 * The layout in force as coordination has it, and the only way to another one: compare-and-set, under a fence that is not lower than
 * the one it was written under. A record that cannot be read is nobody's order: nothing is done by it, and it is said.
 */

import { type Coordination, layoutKey, type WriteResult } from '../contract/coordination.ts'
import type { Layout } from '../contract/layout.ts'
import type { Signer, Verifier } from '../runtime/signature.ts'
import { openLayout, signLayout } from '../runtime/signed-layout.ts'

export interface LayoutInForce {
  readonly layout: Layout
  readonly revision: number
}

export interface LayoutRegisterParts {
  readonly coordination: Coordination
  readonly signer: Signer
  /** Those that may have signed the layout in force. Read anew each time: a key may change while we run. */
  readonly keys: () => Promise<readonly Verifier[]>
}

export class LayoutRegister {
  readonly #parts: LayoutRegisterParts

  constructor(parts: LayoutRegisterParts) {
    this.#parts = parts
  }

  /** In words, where there is none that can be followed. Rejects where the store cannot be reached. */
  async read(): Promise<LayoutInForce | string> {
    const entry = await this.#parts.coordination.get(layoutKey)
    if (entry === undefined) return 'there is no layout in coordination yet'
    const reading = openLayout(entry.value, await this.#parts.keys())
    return reading.ok ? { layout: reading.layout, revision: entry.revision } : reading.why
  }

  /** `conflict` also where the writer has been overtaken and does not know it yet. */
  async write(next: Layout, { layout, revision }: LayoutInForce, fence: number): Promise<WriteResult> {
    if (layout.fence > fence) return { kind: 'conflict' }
    if (next.epoch <= layout.epoch || next.fence < layout.fence) throw new Error('a layout only goes forward')
    const { coordination, signer } = this.#parts
    return await coordination.update(layoutKey, signLayout(signer, next), revision)
  }
}
