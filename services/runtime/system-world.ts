/** The operating system's world: one door per service of it, put together for a process's `main.ts`. */

import { SystemClock } from './system-clock.ts'
import { SystemDisk } from './system-disk.ts'
import { SystemNetwork } from './system-network.ts'
import { SystemRandom } from './system-random.ts'
import { SystemResolver } from './system-resolver.ts'
import type { Log, World } from './world.ts'

export function systemWorld(log: Log): World {
  const random = new SystemRandom()
  return {
    clock: new SystemClock(),
    random,
    disk: new SystemDisk(),
    network: new SystemNetwork(log),
    resolver: new SystemResolver(random),
    log,
  }
}
