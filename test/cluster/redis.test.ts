/** Edges and a real redis-server whose power fails, and which one of them reaches no more; `node test/cluster/main.ts --redis` does it for longer. */

import assert from 'node:assert/strict'
import { it } from 'node:test'
import { haveTools } from '../support/tools.ts'
import { runRedisDeeds } from './redis-run.ts'

it('mail is carried through a power cut of the server that edges share through, and while one edge is cut off', async (t) => {
  if (!(await haveTools(t, ['ip', 'mkfs.ext4', 'redis-server']))) return
  const names = ['power-cut-always', 'partition-one']
  const { lost, wrong, balanced, accepted, duplicates } = await runRedisDeeds(t, names, (text) => t.diagnostic(text))
  assert.deepEqual({ lost, wrong, balanced, duplicates }, { lost: [], wrong: [], balanced: true, duplicates: 0 })
  assert.ok(accepted >= 200)
})
