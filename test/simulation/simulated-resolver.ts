/**
 * DNS from a table, with the two ways it is gone: no answer in time, and a server that says it failed.
 */

import type { MailExchanger, Resolver } from '../../services/runtime/world.ts'
import type { SeededRandom } from './seeded-random.ts'
import { systemError } from './system-error.ts'
import type { VirtualTime } from './virtual-time.ts'

export class SimulatedDns {
  readonly exchangers = new Map<string, MailExchanger[]>()
  readonly addresses = new Map<string, string[]>()
  isDown = false
  readonly #time: VirtualTime
  readonly #random: SeededRandom

  constructor(time: VirtualTime, random: SeededRandom) {
    this.#time = time
    this.#random = random
  }

  attach(isAlive: () => boolean): Resolver {
    return {
      mailExchangers: (domain) => this.#answer(isAlive, domain, this.exchangers),
      addresses: (host) => this.#answer(isAlive, host, this.addresses),
    }
  }

  #answer<Value>(isAlive: () => boolean, name: string, table: ReadonlyMap<string, Value[]>): Promise<Value[]> {
    const isSlow = this.isDown && this.#random.chance(0.5)
    return new Promise((resolve, reject) => {
      this.#time.schedule(isSlow ? 5000 : this.#random.between(0.2, 3), () => {
        if (!isAlive()) return
        const value = table.get(name)
        if (this.isDown) reject(systemError(isSlow ? 'ETIMEOUT' : 'ESERVFAIL', name))
        else if (value !== undefined) resolve([...value])
        else reject(systemError(this.#isKnown(name) ? 'ENODATA' : 'ENOTFOUND', name))
      })
    })
  }

  #isKnown(name: string): boolean {
    return this.exchangers.has(name) || this.addresses.has(name)
  }
}
