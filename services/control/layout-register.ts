/**
 * The layout in force as coordination has it, and the only way to another one: compare-and-set, under a fence that is not lower than
 * the one it was written under. A record that cannot be believed, or that is older than what this process has seen, as after a store that
 * came back from a copy, is nobody's order: nothing is done by it, and it is said. In the place of an older one whoever leads puts the
 * newest back: nobody else may have it, where `qmq up` had not heard of it before the store was lost.
 */

import { type Coordination, layoutKey, type WriteResult } from '../contract/coordination.ts'
import type { Layout } from '../contract/layout.ts'
import type { Signer, Verifier } from '../runtime/signature.ts'
import { judgeLayout, signLayout } from '../runtime/signed-layout.ts'

export interface LayoutInForce {
  readonly layout: Layout
  readonly revision: number
}

export interface LayoutRegisterParts {
  readonly coordination: Coordination
  readonly signer: Signer
  /** Those that may have signed the layout in force. Read anew each time: a key may change while we run. */
  readonly keys: () => Promise<readonly Verifier[]>
  /** The last layout that this process has taken, and keeps on its disk. */
  readonly inForce: () => Layout
  readonly leads: () => boolean
}

export class LayoutRegister {
  readonly #parts: LayoutRegisterParts
  /** The newest that was read here. */
  #newest: Layout

  constructor(parts: LayoutRegisterParts) {
    this.#parts = parts
    this.#newest = parts.inForce()
  }

  /** In words, where there is none that can be followed; it may be put right by then. Rejects where the store cannot be reached. */
  async read(): Promise<LayoutInForce | string> {
    const entry = await this.#parts.coordination.get(layoutKey)
    if (entry === undefined) return 'there is no layout in coordination yet'
    const { keys, inForce, leads } = this.#parts
    if (inForce().epoch > this.#newest.epoch) this.#newest = inForce()
    const judgement = judgeLayout(entry.value, this.#newest, await keys())
    if (judgement.kind === 'refused' && judgement.fault === 'older' && leads()) await this.#putBack(entry.revision)
    if (judgement.kind === 'refused') return `the layout in coordination is refused: ${judgement.why}`
    if (judgement.kind === 'newer' && judgement.layout.epoch > this.#newest.epoch) this.#newest = judgement.layout
    return { layout: judgement.kind === 'newer' ? judgement.layout : this.#newest, revision: entry.revision }
  }

  /** `conflict` also where the writer has been overtaken and does not know it yet. */
  async write(next: Layout, { layout, revision }: LayoutInForce, fence: number): Promise<WriteResult> {
    if (layout.fence > fence) return { kind: 'conflict' }
    if (next.epoch <= layout.epoch || next.fence < layout.fence) throw new Error('a layout only goes forward')
    const { coordination, signer } = this.#parts
    return await coordination.update(layoutKey, signLayout(signer, next), revision)
  }

  /** Whatever comes of it is found at the next reading. */
  async #putBack(revision: number): Promise<void> {
    const { coordination, signer } = this.#parts
    await coordination.update(layoutKey, signLayout(signer, this.#newest), revision)
  }
}
