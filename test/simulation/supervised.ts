/**
 * A process that is started again whenever it dies, as `qmq up` or a host's own supervisor does it.
 *
 * `begin` builds the tier inside the new process's world. A rejection of it, or `die`, ends the process; so does the
 * host's power.
 */

import type { SeededRandom } from './seeded-random.ts'
import type { SimulatedHost, SimulatedProcess } from './simulated-host.ts'
import type { VirtualTime } from './virtual-time.ts'

export interface Parts {
  readonly time: VirtualTime
  readonly random: SeededRandom
  readonly host: SimulatedHost
  readonly name: string
  /** The process died by itself or was killed; a power cut is the host's to tell. */
  readonly onDeath: () => void
}

export class Supervised<Tier> {
  readonly host: SimulatedHost
  readonly name: string
  /** The tier, once its start has completed. */
  tier: Tier | undefined
  /** False: it does not belong to the cluster now, and stays down. */
  isWanted = true
  #process: SimulatedProcess | undefined
  readonly #parts: Parts
  readonly #begin: (process: SimulatedProcess, die: (why: string) => void) => Promise<Tier>
  #starts = 0

  constructor(parts: Parts, begin: (process: SimulatedProcess, die: (why: string) => void) => Promise<Tier>) {
    this.#parts = parts
    this.host = parts.host
    this.name = parts.name
    this.#begin = begin
  }

  get starts(): number {
    return this.#starts
  }

  start(): void {
    if (!this.isWanted || !this.host.isUp || this.#process?.isAlive() === true) return
    this.#starts++
    const process = this.host.start(this.name)
    this.#process = process
    const die = (why: string): void => {
      if (!process.isAlive()) return
      process.world.log.error('exits', { why })
      this.#kill(process)
    }
    this.#begin(process, die).then(
      (tier) => {
        if (process.isAlive()) this.tier = tier
      },
      (error: unknown) => die(error instanceof Error ? (error.stack ?? error.message) : String(error)),
    )
  }

  /** SIGKILL. It comes back by itself. */
  kill(): void {
    if (this.#process?.isAlive() === true) this.#kill(this.#process)
  }

  /** It has left the cluster. */
  retire(): void {
    this.isWanted = false
    this.#process?.kill()
    this.tier = undefined
  }

  /** The host has lost power. It comes back with it. */
  lostPower(): void {
    this.tier = undefined
  }

  #kill(process: SimulatedProcess): void {
    process.kill()
    this.tier = undefined
    this.#parts.onDeath()
    this.#parts.time.schedule(this.#parts.random.between(50, 3000), () => this.start())
  }
}
