/**
 * What simulated processes are given besides the world: the place where a planted fault goes in.
 *
 * A plant changes the world or the transports of a tier from outside; the tiers themselves know nothing of it.
 */

import type { Transport } from '../../services/contract/delivery.ts'
import type { HandoverDoors } from '../../services/queue/handover/handover.ts'
import type { World } from '../../services/runtime/world.ts'

export interface ProcessParts {
  readonly queueWorld: (world: World) => World
  readonly edgeWorld: (world: World) => World
  readonly transport: (transport: Transport, world: World) => Transport
  readonly doors: (doors: HandoverDoors) => HandoverDoors
}

const same = <Thing>(thing: Thing): Thing => thing

export const honestParts: ProcessParts = { queueWorld: same, edgeWorld: same, transport: same, doors: same }
