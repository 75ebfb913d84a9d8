/** The judge itself: every kind of fault, planted, is found. */

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { hashOf, OutsideLedger, readArrival } from './outside-ledger.ts'
import { holds, judge, markWindowMs, readLagMs } from './verdict.ts'

function ledgerWith(context: TestContext): OutsideLedger {
  const ledger = new OutsideLedger(join(temporaryDirectory(context), 'ledger'))
  ledger.sent({ token: 't1', recipients: ['a@x', 'b@x'], hash: 'h', sentAt: 0 })
  ledger.acked('t1', 10)
  ledger.sent({ token: 't2', recipients: ['a@x'], hash: 'h', sentAt: 0 })
  ledger.arrived({ token: 't1', recipient: 'a@x', hash: 'h', at: 100 })
  ledger.arrived({ token: 't1', recipient: 'b@x', hash: 'h', at: 100 })
  return ledger
}

test('everything acknowledged arrived: the verdict holds, whatever became of the rest', (context) => {
  const verdict = judge(ledgerWith(context))
  assert.ok(holds(verdict))
  assert.equal(verdict.acked, 1)
})

test('one recipient of an acknowledged message missing is a loss', (context) => {
  const ledger = ledgerWith(context)
  ledger.acked('t2', 20)
  const verdict = judge(ledger)
  assert.deepEqual(verdict.lost, ['t2 a@x'])
  assert.ok(!holds(verdict))
})

test('other bytes are damage, an unknown token is a stray', (context) => {
  const ledger = ledgerWith(context)
  ledger.arrived({ token: 't2', recipient: 'a@x', hash: 'other', at: 100 })
  ledger.arrived({ token: 't3', recipient: 'a@x', hash: 'h', at: 100 })
  const verdict = judge(ledger)
  assert.deepEqual(verdict.damaged, ['t2 a@x'])
  assert.deepEqual(verdict.stray, ['t3 a@x'])
})

test('a second copy is explained only by a queue process that died in the window', (context) => {
  const unexplained = (target: string, at: number): number => {
    const ledger = ledgerWith(context)
    ledger.incident({ kind: 'kill', target, at })
    ledger.arrived({ token: 't1', recipient: 'a@x', hash: 'h', at: 100_000 })
    const verdict = judge(ledger)
    assert.equal(verdict.duplicates, 1)
    return verdict.unexplained.length
  }
  assert.equal(unexplained('01', 150), 0)
  assert.equal(unexplained('all', 150), 0)
  assert.equal(unexplained('e1', 150), 1, 'an edge')
  assert.equal(unexplained('up', 150), 1, 'the parent')
  assert.equal(unexplained('c1', 150), 1, 'control')
  assert.equal(unexplained('01', 100 - readLagMs), 0, 'what it had written was read a little later')
  assert.equal(unexplained('01', 100 - readLagMs - 1), 1, 'before the first copy')
  assert.equal(unexplained('01', 100 + markWindowMs + 1), 1, 'long after the first copy')
})

test('an arrival is read alike in both line forms', () => {
  const text = 'Received: x\r\nX-Token: t9\r\n\r\nline\r\n.dot\r\n'
  const expected = { token: 't9', hash: hashOf('line\r\n.dot\r\n') }
  assert.deepEqual(readArrival(Buffer.from(text)), expected)
  assert.deepEqual(readArrival(Buffer.from(text.replaceAll('\r\n', '\n'))), expected)
  assert.equal(readArrival(Buffer.from('Subject: x\r\n\r\nX-Token: t9\r\n')), undefined)
})
