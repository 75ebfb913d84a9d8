/** A small simulated world for tests of the simulators themselves. */

import { SeededRandom } from './seeded-random.ts'
import { LogRing, SimulatedHost, type Surroundings } from './simulated-host.ts'
import { SimulatedNetworkFabric } from './simulated-network.ts'
import { SimulatedDns } from './simulated-resolver.ts'
import { VirtualTime } from './virtual-time.ts'

export function surroundings(seed: number, logLinesMax = 200, print?: (line: string) => void): Surroundings {
  const time = new VirtualTime()
  const random = new SeededRandom(seed)
  return {
    time,
    random,
    fabric: new SimulatedNetworkFabric(time, random.fork('network')),
    dns: new SimulatedDns(time, random.fork('dns')),
    log: new LogRing(time, logLinesMax, print),
  }
}

export function host(around: Surroundings, name: string): SimulatedHost {
  return new SimulatedHost(around, name, [], () => {})
}

/** Runs the world until `promise` has settled. */
export async function until<Value>(around: Surroundings, promise: Promise<Value>): Promise<Value> {
  let isSettled = false
  const settled = promise.finally(() => {
    isSettled = true
  })
  settled.catch(() => {})
  await around.time.run(Number.POSITIVE_INFINITY, () => isSettled)
  if (!isSettled) throw new Error('nothing is left to happen, and the promise has not settled')
  return settled
}
