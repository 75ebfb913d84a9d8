/** The judge of a scaling run: every kind of fault, planted, is found. */

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { QueuedMessage } from '../../services/contract/operations.ts'
import { OutsideLedger } from '../crash/outside-ledger.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { Fuse, newFuses, talliesOf } from './fuse.ts'
import { holdsScale, judgeScale, type ScaleEvidence, type ScaleVerdict } from './scale-verdict.ts'

function queuedMessage(id: string, instance: string, address: string, attempts: number, dueAt: number): QueuedMessage {
  const recipient = { address, status: 'pending' as const, attempts, dueAt, destination: '', lastText: '' }
  return { id, instance, sender: 's@x', bytes: 1, birthAt: 0, recipients: [recipient] }
}

/** t1 arrived, t2 is deferred at 01 as it was before, t3 was never acknowledged; 04 left with a receipt. */
function sound(context: TestContext): ScaleEvidence & { readonly ledger: OutsideLedger } {
  const ledger = new OutsideLedger(join(temporaryDirectory(context), 'ledger'))
  for (const token of ['t1', 't2', 't3']) ledger.sent({ token, recipients: ['a@x'], hash: 'h', sentAt: 0 })
  ledger.acked('t1', 10)
  ledger.acked('t2', 10)
  ledger.arrived({ token: 't1', recipient: 'a@x', hash: 'h', at: 100 })
  return {
    ledger,
    tokens: new Map([
      ['ID1', 't1'],
      ['ID2', 't2'],
    ]),
    queued: [queuedMessage('ID2', '01', 'a@x', 1, 400_000)],
    deferrals: [{ id: 'ID2', address: 'a@x', attempts: 1, dueAt: 400_000 }],
    endedAt: 50_000,
    receipts: [{ plan: 'P', instance: '04', messages: 1, digest: 'd', verified: true }],
    left: ['P 04'],
    balanced: true,
    cuts: talliesOf(newFuses()),
  }
}

function faulty(context: TestContext, changed: Partial<ScaleEvidence>): ScaleVerdict {
  const verdict = judgeScale({ ...sound(context), ...changed })
  assert.ok(!holdsScale(verdict))
  return verdict
}

test('arrived, or queued as it was: the verdict holds', (context) => {
  const verdict = judgeScale(sound(context))
  assert.ok(holdsScale(verdict), JSON.stringify(verdict))
  const { sent, acked, queued, deferralsKept, receipts } = verdict
  assert.deepEqual(
    { sent, acked, queued, deferralsKept, receipts },
    { sent: 3, acked: 2, queued: 1, deferralsKept: 1, receipts: 1 },
  )
})

test('neither arrived nor queued is a loss', (context) => {
  assert.deepEqual(faulty(context, { queued: [] }).lost, ['t2 a@x'])
  const delivered = queuedMessage('ID2', '01', 'a@x', 1, 400_000)
  const settled = {
    ...delivered,
    recipients: delivered.recipients.map((one) => ({ ...one, status: 'delivered' as const })),
  }
  assert.deepEqual(faulty(context, { queued: [settled] }).lost, ['t2 a@x'])
})

test('queued at two instances is nobody’s right', (context) => {
  const both = ['01', '04'].map((instance) => queuedMessage('ID2', instance, 'a@x', 1, 400_000))
  assert.deepEqual(faulty(context, { queued: both }).queuedTwice, ['t2 a@x 01,04'])
})

test('a second copy without a death in the window, other bytes, a stranger', (context) => {
  const evidence = sound(context)
  evidence.ledger.arrived({ token: 't1', recipient: 'a@x', hash: 'h', at: 5000 })
  evidence.ledger.incident({ kind: 'kill', target: 'c1', at: 150 })
  assert.deepEqual(judgeScale(evidence).unexplained, ['t1 a@x'])
  evidence.ledger.incident({ kind: 'kill', target: '04', at: 150 })
  assert.ok(holdsScale(judgeScale(evidence)))
  evidence.ledger.arrived({ token: 't3', recipient: 'a@x', hash: 'other', at: 100 })
  evidence.ledger.arrived({ token: 't9', recipient: 'a@x', hash: 'h', at: 100 })
  const { damaged, stray } = judgeScale(evidence)
  assert.deepEqual([damaged, stray], [['t3 a@x'], ['t9 a@x']])
})

test('another due time, fewer attempts, an attempt before its time', (context) => {
  for (const [attempts, dueAt] of [
    [1, 400_001],
    [0, 400_000],
    [2, 900_000],
  ] as const) {
    const { changed } = faulty(context, { queued: [queuedMessage('ID2', '01', 'a@x', attempts, dueAt)] })
    assert.deepEqual(changed, [`ID2 a@x: 1 attempts, due 400000, now ${attempts} attempts, due ${dueAt}`])
  }
  const later = { queued: [queuedMessage('ID2', '01', 'a@x', 2, 900_000)], endedAt: 400_000 }
  assert.ok(holdsScale(judgeScale({ ...sound(context), ...later })), 'it was due')
})

test('a receipt that does not verify, is missing, or has a twin that disagrees; an audit that is not balanced', (context) => {
  const [receipt] = sound(context).receipts as [ScaleEvidence['receipts'][0]]
  const problems = (receipts: ScaleEvidence['receipts']) => faulty(context, { receipts }).receiptProblems
  assert.deepEqual(problems([{ ...receipt, verified: false }]), ['P 04: does not verify'])
  assert.deepEqual(problems([]), ['P 04: left without a receipt'])
  assert.deepEqual(problems([receipt, { ...receipt, digest: 'other' }]), ['P 04: two receipts that disagree'])
  assert.equal(faulty(context, { balanced: false }).balanced, false)
  assert.ok(holdsScale(judgeScale({ ...sound(context), receipts: [receipt, receipt] })), 'the same twice')
})

test('a copy whose answer was lost stays queued or comes again', (context) => {
  const evidence = sound(context)
  evidence.ledger.incident({ kind: 'unanswered', target: 't1', at: 100 })
  const verdict = judgeScale(evidence)
  assert.deepEqual(verdict.settledUnanswered, ['t1 a@x'])
  assert.ok(!holdsScale(verdict))
  const still = [...evidence.queued, queuedMessage('ID1', '01', 'a@x', 1, 400_000)]
  assert.ok(holdsScale(judgeScale({ ...evidence, queued: still })), 'it is to be delivered again')
  evidence.ledger.arrived({ token: 't1', recipient: 'a@x', hash: 'h', at: 9000 })
  const again = judgeScale(evidence)
  assert.ok(holdsScale(again))
  assert.deepEqual(again.explained, ['t1 a@x: the next hop’s answer to the copy before was lost'])
})

test('what a client sent again waits twice, under two ids', (context) => {
  const queued = ['ID2', 'ID3'].map((id) => queuedMessage(id, '01', 'a@x', 1, 400_000))
  const tokens = new Map([...sound(context).tokens, ['ID3', 't2']])
  assert.ok(holdsScale(judgeScale({ ...sound(context), queued, tokens })))
})

test('answers that were to be lost, and none was', (context) => {
  const fuses = newFuses()
  fuses.intake.arm(1)
  assert.equal(fuses.intake.blows(2), false)
  faulty(context, { cuts: talliesOf(fuses) })
  assert.equal(fuses.intake.blows(0), false, 'no answer')
  assert.equal(fuses.intake.blows(2), true)
  const verdict = judgeScale({ ...sound(context), cuts: talliesOf(fuses) })
  assert.ok(holdsScale(verdict))
  assert.deepEqual(verdict.cuts.intake, { armed: 1, lost: 2 })
  const fuse = new Fuse()
  fuse.arm(0)
  fuse.disarm()
  assert.equal(fuse.blows(1), false)
})
