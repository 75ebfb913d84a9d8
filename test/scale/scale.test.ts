/** The short form of `npm run scale`: one cycle of growing and shrinking under load, with kills at its steps. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { scaleInCycles } from './cycles.ts'

const kills = 6

test('a pool that grows and shrinks under load, while processes die, loses nothing', {
  timeout: 400_000,
}, async (t) => {
  const directory = temporaryDirectory(t, 'qmq-scale')
  const options = { directory, seed: 7, instances: 2, unclearRetry: '1s', note: (text: string) => t.diagnostic(text) }
  const plan = { runs: 1, kills, queued: 300, wide: 4, clients: 3, pauseMs: 20, spreadMs: 2000 }
  const { verdict, ...report } = await scaleInCycles(options, plan)
  const { sent, acked, duplicates, queued, deferralsKept, receipts } = verdict
  t.diagnostic(JSON.stringify({ sent, acked, duplicates, queued, deferralsKept, receipts, kills: report.kills }))
  assert.deepEqual(verdict.lost, [], 'lost')
  assert.deepEqual(verdict.damaged, [], 'damaged')
  assert.deepEqual(verdict.stray, [], 'stray')
  assert.deepEqual(verdict.unexplained, [], 'duplicates outside the window')
  assert.deepEqual(verdict.queuedTwice, [], 'queued twice')
  assert.deepEqual(verdict.changed, [], 'deferrals that changed')
  assert.deepEqual(verdict.receiptProblems, [], 'receipts')
  assert.ok(verdict.balanced, `audit: ${JSON.stringify(report.audit)}`)
  assert.ok(receipts >= plan.wide - options.instances, `${receipts} receipts`)
  assert.ok(deferralsKept > 100, `only ${deferralsKept} deferred recipients were compared`)
  assert.ok(report.kills.length > 0 && acked > plan.queued, 'there was no load to speak of')
})
