/**
 * A child with an IPC channel to its parent's hub that runs the contract suite there, so that every call of it crosses a real
 * process boundary. Exits with the runner's result.
 */

import { EmbeddedCoordination } from '../../services/runtime/embedded-coordination.ts'
import { parentChannel } from '../../services/runtime/embedded-ipc.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'

const coordination = new EmbeddedCoordination({ clock: new SystemClock(), dial: parentChannel })
coordination.serve('child.double', async (value) => Number(value) * 2)
coordination.serve('child.put', async (value) => {
  const result = await coordination.put('from/child', value)
  return result.kind
})
coordination.serve('child.seen', async () => seen)
const seen: string[] = []
coordination.watch('from/parent', (change) => seen.push(String(change.entry?.value ?? 'gone')))
await coordination.put('state/child', 'ready')
