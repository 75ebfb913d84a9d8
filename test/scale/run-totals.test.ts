/** The sums over runs: what failed is named with its seed and place, and what never came about is no success. */

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { OutsideLedger } from '../crash/outside-ledger.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import type { RunReport } from './cycles.ts'
import { type CutTallies, newFuses, talliesOf } from './fuse.ts'
import { RunTotals } from './run-totals.ts'
import { judgeScale } from './scale-verdict.ts'

const nothing = talliesOf(newFuses())

function report(context: TestContext, changed: Partial<RunReport>, cuts: CutTallies = nothing): RunReport {
  const ledger = new OutsideLedger(join(temporaryDirectory(context), 'ledger'))
  const evidence = { ledger, tokens: new Map(), queued: [], deferrals: [], endedAt: 0, receipts: [], left: [] }
  const verdict = judgeScale({ ...evidence, balanced: true, cuts })
  const phases = { grow: 1, fill: 1, shrink: 1, settle: 1, judge: 1 }
  const rest = { audit: {}, kills: [], splits: [], orders: [], complaints: [] }
  return { run: 1, seconds: 5, phases, held: true, verdict, ...rest, ...changed }
}

function totals(): { readonly totals: RunTotals; readonly said: readonly string[] } {
  const said: string[] = []
  const made = new RunTotals((text) => said.push(text))
  made.begin(7, '/kept')
  return { totals: made, said }
}

test('figures are each run’s own, though the verdict is on all of a cluster’s', (context) => {
  const { totals: sums, said } = totals()
  const first = report(context, {})
  sums.heard({
    ...first,
    verdict: { ...first.verdict, acked: 100, receipts: 2, duplicates: 1, explained: ['t1: why'] },
  })
  const explained = ['t0: why', 't1: why']
  sums.heard({ ...first, verdict: { ...first.verdict, acked: 150, receipts: 4, duplicates: 2, explained } })
  sums.begin(8, '/other')
  sums.heard({ ...first, verdict: { ...first.verdict, acked: 30, receipts: 2 } })
  const total = sums.end()
  assert.ok(total.held)
  assert.deepEqual([total.runs, total.sums['acked'], total.sums['receipts']], [3, 180, 6])
  assert.deepEqual(total.duplicates, ['t1: why', 't0: why'])
  assert.match(said[2] ?? '', /^run 2 \(seed 7\): acked 50,/)
})

test('a run that failed is named once, and one that broke off', (context) => {
  const { totals: sums, said } = totals()
  const failed = report(context, { held: false })
  sums.heard(failed)
  assert.ok(sums.hasFailedHere)
  sums.stopped(failed)
  sums.begin(8, '/other')
  assert.ok(!sums.hasFailedHere)
  sums.broken('not scaled')
  const { held, failures } = sums.end()
  assert.ok(!held)
  const named = failures.map(({ run, seed, directory }) => [run, seed, directory])
  assert.deepEqual(named, [
    [1, 7, '/kept'],
    [2, 8, '/other'],
  ])
  assert.ok(said.includes('run 1 FAILED, seed 7, kept for a look: /kept'))
})

test('a fault that only the disks show is a failure', (context) => {
  const { totals: sums } = totals()
  sums.heard(report(context, {}))
  sums.stopped(report(context, { held: false }))
  assert.ok(!sums.end().held)
})

test('a link that nothing was cut on, and splits that moved no lead', (context) => {
  const { totals: cut } = totals()
  cut.heard(report(context, {}, { ...nothing, client: { armed: 1, lost: 1 }, handover: { armed: 1, lost: 0 } }))
  assert.deepEqual([cut.end().held, cut.end().missing], [false, ['no answer was lost on the link handover']])
  const split = (cutHost: string, after: string) => ({ step: 'moving' as const, cut: cutHost, ms: 1, after })
  const { totals: splits } = totals()
  splits.heard(report(context, { splits: [split('c1', 'c1')] }))
  assert.deepEqual([splits.end().held, splits.end().missing], [false, ['no split moved the lead']])
  splits.heard(report(context, { splits: [split('c1', 'c2')] }))
  assert.ok(splits.end().held)
})
