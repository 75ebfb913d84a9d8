/**
 * Asks the keeper of shares for this instance's part of the cluster's limits, as long as there are any (`contract/share.ts`).
 *
 * One ask at a time. Without an answer what was granted ends by itself, and the floor follows: mail for limited destinations waits
 * meanwhile, all other mail goes as ever.
 */

import { type Coordination, type Json, operationSubject } from '../contract/coordination.ts'
import { readShareGrant, type ShareAsk, type ShareWant, shareKeeperName, shareTerms } from '../contract/share.ts'
import type { Clock, Timer } from '../runtime/world.ts'
import type { HeldShares } from './held-shares.ts'

export interface ShareAskerParts {
  readonly coordination: Coordination
  readonly clock: Clock
  readonly instance: string
  readonly shares: HeldShares
  /** Empty: there is nothing to ask for. */
  readonly wants: () => readonly ShareWant[]
  /** What is allowed may have changed. */
  readonly onTold: () => void
}

export class ShareAsker {
  readonly #parts: ShareAskerParts
  #timer: Timer | undefined
  #stopped = false

  constructor(parts: ShareAskerParts) {
    this.#parts = parts
  }

  start(): void {
    const wanted = this.#parts.wants()
    if (wanted.length === 0) return this.#again()
    this.#ask(wanted).then(
      () => this.#told(),
      () => this.#told(),
    )
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  #told(): void {
    if (this.#stopped) return
    this.#parts.onTold()
    this.#again()
  }

  #again(): void {
    if (this.#stopped) return
    this.#timer = this.#parts.clock.after(shareTerms.askMs, () => this.start())
  }

  async #ask(wanted: readonly ShareWant[]): Promise<void> {
    const { coordination, clock, instance, shares } = this.#parts
    const { last } = shares
    const ask: ShareAsk = { instance, ...(last === undefined ? {} : { last }), wants: wanted }
    const askedAt = clock.monotonic()
    const subject = operationSubject(shareKeeperName, 'ask')
    const result = await coordination.request(subject, ask as unknown as Json, shareTerms.askMs)
    const grant = result.kind === 'reply' ? readShareGrant(result.value) : undefined
    if (grant !== undefined) shares.take(grant, askedAt, clock.monotonic())
  }
}
