/** The short form of `npm run scale`: one cycle of growing and shrinking under load, with kills at its steps. */

import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { run } from '../support/child.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { scaleInCycles } from './cycles.ts'
import { wasNothingCut } from './scale-verdict.ts'
import { receiptFiles } from './scale-world.ts'

const program = new URL('../../services/cli/qmq.js', import.meta.url).pathname

const kills = 6
/** To stand on a wire takes root. */
const cuts = process.getuid?.() === 0 ? 8 : 0

test('a pool that grows and shrinks under load, while processes die, loses nothing', {
  timeout: 400_000,
}, async (t) => {
  const directory = temporaryDirectory(t, 'qmq-scale')
  const note = (text: string) => t.diagnostic(text)
  const options = { directory, seed: 7, instances: 2, unclearRetry: '1s', cuts: cuts > 0, netsplit: false, note }
  const plan = { runs: 1, kills, cuts, splits: 0, queued: 300, wide: 4, clients: 3, pauseMs: 20, spreadMs: 2000 }
  const whileItRan: boolean[] = []
  const { verdict, ...report } = await scaleInCycles(options, plan, ({ held }) => whileItRan.push(held))
  const { sent, acked, explained, queued, deferralsKept, receipts } = verdict
  const told = { sent, acked, explained, queued, deferralsKept, receipts, cuts: verdict.cuts, kills: report.kills }
  t.diagnostic(JSON.stringify(told))
  assert.deepEqual(verdict.lost, [], 'lost')
  assert.deepEqual(verdict.damaged, [], 'damaged')
  assert.deepEqual(verdict.stray, [], 'stray')
  assert.deepEqual(verdict.unexplained, [], 'duplicates outside the window')
  assert.deepEqual(verdict.settledUnanswered, [], 'settled without an answer')
  assert.deepEqual(verdict.queuedTwice, [], 'queued twice')
  assert.deepEqual(verdict.changed, [], 'deferrals that changed')
  assert.deepEqual(verdict.receiptProblems, [], 'receipts')
  assert.ok(verdict.balanced, `audit: ${JSON.stringify(report.audit)}`)
  assert.ok(receipts >= plan.wide - options.instances, `${receipts} receipts`)
  assert.ok(deferralsKept > 100, `only ${deferralsKept} deferred recipients were compared`)
  assert.deepEqual(whileItRan, [true])
  assert.ok(cuts === 0 || !wasNothingCut(verdict.cuts), 'no answer was lost')
  await receiptsCanFail(directory)
  assert.ok(report.kills.length > 0 && acked > plan.queued, 'there was no load to speak of')
})

/** One other byte in a receipt or in a manifest beside it, and the check says no. */
async function receiptsCanFail(directory: string): Promise<void> {
  const [receipt = ''] = receiptFiles(join(directory, 'state'))
  const manifests = readdirSync(dirname(receipt)).filter((name) => name.endsWith('.manifest'))
  assert.ok(manifests.length > 0, 'no manifest beside the receipt')
  const where = ['--conf', join(directory, 'conf-qmq'), '--state', join(directory, 'state')]
  const verify = async () => (await run(process.execPath, [program, 'audit', 'verify', receipt, ...where])).code
  assert.equal(await verify(), 0)
  for (const file of [receipt, ...manifests.map((name) => join(dirname(receipt), name))]) {
    const whole = readFileSync(file)
    if (whole.length === 0) continue
    const changed = Buffer.from(whole)
    const at = changed.findLastIndex((byte) => byte >= 0x30 && byte <= 0x38)
    changed[at] = (changed[at] ?? 0) + 1
    writeFileSync(file, changed)
    assert.equal(await verify(), 1, file)
    writeFileSync(file, whole)
  }
  assert.equal(await verify(), 0)
}
