/**
 * How long to wait before starting again what ended: doubling from `firstMs` to `lastMs`, and from the beginning once it has
 * lived for `healthyMs`. Pure: time comes in as the length of the last life.
 */

export interface BackOffLimits {
  readonly firstMs: number
  readonly lastMs: number
  readonly healthyMs: number
}

export const defaultBackOff: BackOffLimits = { firstMs: 100, lastMs: 30_000, healthyMs: 30_000 }

export class BackOff {
  readonly #limits: BackOffLimits
  #nextMs: number

  constructor(limits: BackOffLimits = defaultBackOff) {
    this.#limits = limits
    this.#nextMs = limits.firstMs
  }

  /** The wait after a life of `livedMs`. */
  next(livedMs: number): number {
    if (livedMs >= this.#limits.healthyMs) this.#nextMs = this.#limits.firstMs
    const wait = this.#nextMs
    this.#nextMs = Math.min(this.#limits.lastMs, wait * 2)
    return wait
  }
}
