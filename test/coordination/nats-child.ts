/** A client in a process of its own, to be killed: serves `who` on the nats-server whose address is its argument. */

import process from 'node:process'
import { keepAwake } from '../../services/runtime/keep-awake.ts'
import { NatsCoordination } from '../../services/runtime/nats-coordination.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'
import { SystemRandom } from '../../services/runtime/system-random.ts'

const [address = ''] = process.argv.slice(2)
const coordination = new NatsCoordination({
  clock: new SystemClock(),
  random: new SystemRandom(),
  servers: [address],
  authentication: async () => ({ kind: 'none' }),
  client: 'child',
  makesBuckets: true,
})
keepAwake()
coordination.serve('who', async () => 'child')
await coordination.now()
process.stdout.write('ready\n')
