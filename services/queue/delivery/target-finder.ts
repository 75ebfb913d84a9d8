/**
 * Asks the DNS once for many attempts: targets of a domain are kept for a short while, and attempts that ask at the
 * same time share one question. Failures are never kept. Answers late or never become temporary failures after the
 * limit.
 */

import type { ByteString } from '../../protocol/byte-string.ts'
import { temporary } from '../../protocol/failure.ts'
import type { World } from '../../runtime/world.ts'
import type { ExchangerPolicy, TargetsResult } from './mail-exchangers.ts'
import { findTargets } from './mail-exchangers.ts'

export interface TargetFinderLimits {
  readonly resolveTimeoutMs: number
  readonly targetsKeptMs: number
  readonly targetsKeptMax: number
}

const tooLate: TargetsResult = {
  kind: 'failed',
  failure: temporary('peer', '4.4.3', 'DNS did not answer about the mail exchangers in time'),
}

export class TargetFinder {
  readonly #world: World
  readonly #policy: ExchangerPolicy
  readonly #limits: TargetFinderLimits
  readonly #kept = new Map<ByteString, { readonly result: TargetsResult; readonly until: number }>()
  readonly #asked = new Map<ByteString, ((result: TargetsResult) => void)[]>()

  constructor(world: World, policy: ExchangerPolicy, limits: TargetFinderLimits) {
    this.#world = world
    this.#policy = policy
    this.#limits = limits
  }

  /** The kept answer, at once. */
  known(domain: ByteString): TargetsResult | undefined {
    const kept = this.#kept.get(domain)
    if (kept === undefined) return undefined
    if (kept.until > this.#world.clock.monotonic()) return kept.result
    this.#kept.delete(domain)
    return undefined
  }

  /** Answers later, exactly once. */
  ask(domain: ByteString, answer: (result: TargetsResult) => void): void {
    const waiting = this.#asked.get(domain)
    if (waiting !== undefined) {
      waiting.push(answer)
      return
    }
    const askers = [answer]
    this.#asked.set(domain, askers)
    const timer = this.#world.clock.after(this.#limits.resolveTimeoutMs, () => this.#answer(domain, askers, tooLate))
    findTargets(this.#world.resolver, this.#world.random, this.#policy, domain).then(
      (result) => {
        timer.cancel()
        this.#answer(domain, askers, result)
      },
      () => {
        timer.cancel()
        this.#answer(domain, askers, tooLate)
      },
    )
  }

  #answer(domain: ByteString, askers: ((result: TargetsResult) => void)[], result: TargetsResult): void {
    if (this.#asked.get(domain) !== askers) return
    this.#asked.delete(domain)
    if (result.kind === 'targets') this.#keep(domain, result)
    for (const answer of askers) answer(result)
  }

  #keep(domain: ByteString, result: TargetsResult): void {
    const oldest = this.#kept.keys().next()
    if (this.#kept.size >= this.#limits.targetsKeptMax && oldest.done !== true) this.#kept.delete(oldest.value)
    this.#kept.set(domain, { result, until: this.#world.clock.monotonic() + this.#limits.targetsKeptMs })
  }
}
