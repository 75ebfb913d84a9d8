/** The judge itself: every kind of fault, planted, is found. */

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { hashOf, type Incident, OutsideLedger, readArrival } from './outside-ledger.ts'
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

test('a second copy after an answer that was lost: only of that message, that copy, and as often as it was sent again', (context) => {
  const judged = (incidents: readonly Incident[], copies: readonly number[]) => {
    const ledger = ledgerWith(context)
    for (const incident of incidents) ledger.incident(incident)
    for (const at of copies) ledger.arrived({ token: 't1', recipient: 'a@x', hash: 'h', at })
    const { explained, unexplained, duplicates } = judge(ledger)
    assert.equal(duplicates, copies.length)
    return [explained, unexplained]
  }
  const unanswered = (target: string, at: number): Incident => ({ kind: 'unanswered', target, at })
  const again: Incident = { kind: 'sent-again', target: 't1', at: 200 }
  const [hop, client] = [
    'the next hop’s answer to the copy before was lost',
    'the client’s answer was lost, and it sent the message again',
  ]
  assert.deepEqual(judged([unanswered('t1', 100)], [9000]), [[`t1 a@x: ${hop}`], []])
  assert.deepEqual(judged([unanswered('t1', 101)], [9000]), [[], ['t1 a@x']], 'another copy')
  assert.deepEqual(judged([unanswered('t2', 100)], [9000]), [[], ['t1 a@x']], 'another message')
  assert.deepEqual(judged([unanswered('t1', 100)], [9000, 9500]), [[`t1 a@x: ${hop}`], ['t1 a@x']], 'one copy more')
  assert.deepEqual(judged([again], [9000, 9500]), [[`t1 a@x: ${client}`], ['t1 a@x']])
  assert.deepEqual(judged([again], [150]), [[], ['t1 a@x']], 'it came before')
  assert.deepEqual(judged([{ ...again, target: 't2' }], [9000]), [[], ['t1 a@x']], 'another message')
  const killed: Incident = { kind: 'kill', target: '01', at: 150 }
  const window = 'the copy before was there (RFC 1047)'
  assert.deepEqual(judged([killed], [9000]), [[`t1 a@x: 01 died 50 ms after ${window}`], []])
  const orphan: Incident = { kind: 'orphan', target: '01', at: 90 }
  assert.deepEqual(judged([orphan], [9000]), [[`t1 a@x: 01 had ended with its parent 10 ms before ${window}`], []])
})

test('an arrival is read alike in both line forms', () => {
  const text = 'Received: x\r\nX-Token: t9\r\n\r\nline\r\n.dot\r\n'
  const expected = { token: 't9', hash: hashOf('line\r\n.dot\r\n') }
  assert.deepEqual(readArrival(Buffer.from(text)), expected)
  assert.deepEqual(readArrival(Buffer.from(text.replaceAll('\r\n', '\n'))), expected)
  assert.equal(readArrival(Buffer.from('Subject: x\r\n\r\nX-Token: t9\r\n')), undefined)
})
