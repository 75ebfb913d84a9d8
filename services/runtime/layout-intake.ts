/**
 * What a place does with layout records it hears of: judges each (`signed-layout.ts`), hands on what is to be acted on, and reports what
 * it refuses, once: an error in the log, and `layoutRefused` in its state until the record that was wrong is right again. A
 * refused record changes nothing else.
 */

import type { Json } from '../contract/coordination.ts'
import type { Layout } from '../contract/layout.ts'
import type { Trouble } from '../contract/operations.ts'
import { errorText } from '../protocol/failure.ts'
import type { Verifier } from './signature.ts'
import { judgeLayout, layoutKeys } from './signed-layout.ts'
import type { World } from './world.ts'

export interface LayoutIntakeParts {
  readonly world: Pick<World, 'clock' | 'disk' | 'log'>
  readonly state: string
  readonly home: string
}

export class LayoutIntake {
  readonly #parts: LayoutIntakeParts
  /** By where the record was heard. */
  readonly #refused = new Map<object, Trouble>()

  constructor(parts: LayoutIntakeParts) {
    this.#parts = parts
  }

  get refused(): Trouble | undefined {
    const [first] = this.#refused.values()
    return first
  }

  /** The layout to act on; undefined where there is nothing to do. `source` is where it was heard. Never rejects. */
  async judge(value: Json, inForce: Layout, source: object): Promise<Layout | undefined> {
    const judgement = judgeLayout(value, inForce, await this.#keys())
    if (judgement.kind === 'refused') {
      this.#report(judgement.why, source)
      return undefined
    }
    this.#refused.delete(source)
    return judgement.kind === 'newer' ? judgement.layout : undefined
  }

  async #keys(): Promise<readonly Verifier[]> {
    const { world, state, home } = this.#parts
    const complain = (why: string) => world.log.error('key passed over', { why })
    try {
      return await layoutKeys(world.disk, state, home, complain)
    } catch (error) {
      complain(errorText(error))
      return []
    }
  }

  #report(why: string, source: object): void {
    if (this.#refused.get(source)?.why === why) return
    this.#refused.set(source, { why, at: this.#parts.world.clock.now() })
    this.#parts.world.log.error('layout refused', { why })
  }
}
