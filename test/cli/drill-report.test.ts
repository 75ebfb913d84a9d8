/** The judge of a drill: a fault that cost nothing holds, and each promise that was broken is named. */

import assert from 'node:assert/strict'
import { it } from 'node:test'
import { type DrillFindings, drillText, type Probe, reportOf } from '../../services/cli/drill/drill-report.ts'

const accepted = (phase: Probe['phase'], id: string): Probe => ({ phase, outcome: { kind: 'accepted', id } })
const whole: DrillFindings = {
  drill: 'nats-down',
  isKill: false,
  probes: [accepted('before', 'A'), accepted('during', 'B'), accepted('during', 'C'), accepted('after', 'D')],
  missing: [],
  unfelt: undefined,
  absent: [],
  backMs: 120,
  unbalanced: [],
}

function problemsOf(changed: Partial<DrillFindings>): readonly string[] {
  const report = reportOf({ ...whole, ...changed })
  assert.equal(report.held, report.problems.length === 0)
  return report.problems
}

it('a drill that cost nothing held, and says so with its counts', () => {
  const report = reportOf(whole)
  assert.deepEqual(report.problems, [])
  assert.equal(report.arrived, 4)
  assert.deepEqual(
    report.phases.map(({ sent, accepted }) => [sent, accepted]),
    [
      [1, 1],
      [2, 2],
      [1, 1],
    ],
  )
  assert.match(drillText(report), /^NATS-DOWN +SENT +ACCEPTED[\s\S]*\narrived +4 of 4 accepted\n[\s\S]*\nheld +yes$/)
})

it('a probe that is made to wait breaks the promise, but for the time of a kill', () => {
  const waiting: Probe = { phase: 'during', outcome: { kind: 'temporary', text: '451 later' } }
  const cut: Probe = { phase: 'during', outcome: { kind: 'unanswered', text: 'connection lost' } }
  const probes = [...whole.probes, waiting, cut]
  assert.deepEqual(problemsOf({ probes }), [
    '2 of 4 probes were not accepted during the fault',
    'the first of them, during: 451 later',
  ])
  assert.deepEqual(problemsOf({ probes, isKill: true }), [])
  const late: Probe = { ...waiting, phase: 'after' }
  assert.equal(problemsOf({ probes: [...whole.probes, late], isKill: true }).length, 1)
})

it('a refusal for good is never right', () => {
  const refused: Probe = { phase: 'during', outcome: { kind: 'permanent', text: '554 no' } }
  for (const isKill of [true, false]) {
    assert.deepEqual(problemsOf({ probes: [...whole.probes, refused], isKill }), [
      '1 probes were refused for good during the fault',
      'the first of them, during: 554 no',
    ])
  }
})

it('a message that did not arrive, a fault that was none, who is not back, mail that does not add up, no probe at all', () => {
  assert.deepEqual(problemsOf({ missing: [{ id: 'B', why: 'last accepted by 00' }] }), [
    '1 accepted probes did not arrive',
  ])
  assert.deepEqual(problemsOf({ unfelt: '00 went on' }), ['the fault was none: 00 went on'])
  assert.deepEqual(problemsOf({ absent: ['e1 (starting)'] }), ['not back: e1 (starting)'])
  assert.deepEqual(problemsOf({ unbalanced: ['00'] }), ['not balanced: 00'])
  const probes = whole.probes.filter(({ phase }) => phase !== 'during')
  assert.deepEqual(problemsOf({ probes }), ['no probe was sent during the fault'])
})
