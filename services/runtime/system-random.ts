/** Chance from the system's cryptographic source, drawn in blocks because one draw is a system call. */

import { randomFillSync } from 'node:crypto'
import type { Random } from './world.ts'

const blockBytes = 4096

export class SystemRandom implements Random {
  #block = Buffer.alloc(blockBytes)
  #used = blockBytes

  bytes(count: number): Buffer {
    if (count > blockBytes) return randomFillSync(Buffer.alloc(count))
    if (this.#used + count > blockBytes) {
      this.#block = randomFillSync(Buffer.alloc(blockBytes))
      this.#used = 0
    }
    this.#used += count
    return this.#block.subarray(this.#used - count, this.#used)
  }

  below(limit: number): number {
    return Math.floor((this.bytes(6).readUIntBE(0, 6) / 2 ** 48) * limit)
  }
}
