/**
 * The tiers as their `main.ts` files put them together, inside a simulated process: the same classes, the same parts,
 * with limits small enough that a short run fills segments and windows.
 */

import { bounceOptionsOf, QmailBouncePolicy } from '../../services/bounce/bounce-policy.ts'
import type { Layout } from '../../services/contract/layout.ts'
import type { Ledger } from '../../services/contract/ledger.ts'
import { Edge } from '../../services/edge/edge.ts'
import { MaildirTransport } from '../../services/mailbox/maildir-transport.ts'
import { QmtpTransport } from '../../services/queue/delivery/qmtp-transport.ts'
import { SmtpTransport } from '../../services/queue/delivery/smtp-transport.ts'
import { QueueInstance } from '../../services/queue/instance.ts'
import { defaultStoreLimits } from '../../services/queue/journal/store.ts'
import type { World } from '../../services/runtime/world.ts'
import type { ProcessParts } from './process-parts.ts'
import { type Deafness, simulatedDoors } from './simulated-handover.ts'
import type { Truth } from './truth.ts'

export const stateDirectory = '/state'

const storeLimits = {
  ...defaultStoreLimits,
  segmentBytes: 40_000,
  batchBytesMax: 16_000,
  segmentsPerSnapshot: 2,
  segmentsKept: 2,
  sparesMax: 2,
  cachedBodyBytesMax: 8_000,
}

/** The judge does not believe the ledger; it is only counted, to see what a run has exercised. */
function countingLedger(truth: Truth): Ledger {
  return { record: ({ tier, event }) => truth.count(`${tier} ${event}`) }
}

export async function beginEdge(
  world: World,
  layout: Layout,
  id: string,
  parts: ProcessParts,
  truth: Truth,
): Promise<Edge> {
  const tls = { certificate: Buffer.from('certificate'), key: Buffer.from('key') }
  const edge = new Edge(parts.edgeWorld(world), layout, id, { ledger: countingLedger(truth), tls })
  await edge.start()
  return edge
}

export async function beginQueue(
  bareWorld: World,
  layout: Layout,
  id: string,
  parts: ProcessParts,
  around: { readonly truth: Truth; readonly deafness: Deafness },
  die: (why: string) => void,
): Promise<QueueInstance> {
  const world = parts.queueWorld(bareWorld)
  const { cluster } = layout
  const instance = new QueueInstance(world, {
    layout,
    id,
    state: stateDirectory,
    ledger: countingLedger(around.truth),
    transports: {
      smtp: parts.transport(new SmtpTransport(world, { helloName: cluster }), world),
      qmtp: parts.transport(new QmtpTransport(world, { cluster, instance: id }), world),
      maildir: parts.transport(
        new MaildirTransport(world, { root: `${stateDirectory}/mailboxes`, hostName: id }),
        world,
      ),
    },
    bouncePolicyOf: (name, own) => new QmailBouncePolicy(bounceOptionsOf(name, own)),
    onFatal: die,
    handoverDoors: async () => parts.doors(simulatedDoors(world, around.deafness)),
    limits: { store: storeLimits },
  })
  await instance.start()
  return instance
}
