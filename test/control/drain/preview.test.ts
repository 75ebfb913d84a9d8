/** What an order would do: sums, the estimate with its source, mail that would be late, disks that are too small. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { InstanceLoad, InstanceState } from '../../../services/contract/operations.ts'
import { previewOf } from '../../../services/control/drain/preview.ts'
import { scale } from '../../../services/control/layout/scale.ts'
import { begun, frame, layoutOfFour, pool, stateOf } from './plan-views.ts'

function loaded(loads: Readonly<Record<string, Partial<InstanceLoad>>>): ReadonlyMap<string, InstanceState> {
  const of = (id: string, load: Partial<InstanceLoad>) => {
    const state = stateOf(id, 1, 0)
    return [id, { ...state, load: { ...state.load, ...load } }] as const
  }
  return new Map(Object.entries(loads).map(([id, load]) => of(id, load)))
}

const move = { before: layoutOfFour(), next: begun() }

test('it counts what leaves, and says that the rate is assumed', () => {
  const states = loaded({
    '01': { queued: 9, queuedBytes: 9 },
    '03': { queued: 6000, queuedBytes: 60_000, oldestAgeMs: 5000 },
    '04': { queued: 4000, queuedBytes: 40_000, oldestAgeMs: 9000 },
  })
  const preview = previewOf(move.before, move.next, states)
  const { leaving, targets, messages, bytes, oldestAgeMs, seconds, rate, notes } = preview
  assert.deepEqual(
    [leaving, targets],
    [
      ['03', '04'],
      ['01', '02'],
    ],
  )
  assert.deepEqual([messages, bytes, oldestAgeMs, seconds, notes], [10_000, 100_000, 9000, 5, []])
  assert.match(rate, /^assumed/)
})

test('mail that is in time now and would not be then is the risk; what is late already is not', () => {
  // The pool's service level is 60 s; the move takes 20 s.
  const of = (oldestAgeMs: number) =>
    previewOf(move.before, move.next, loaded({ '03': { queued: 40_000, oldestAgeMs }, '04': {} })).slaRisk
  assert.equal(of(30_000), 0)
  assert.equal(of(50_000), 8000)
  assert.equal(of(80_000), 10_000)
  assert.equal(of(0), 0)
})

test('an instance that does not report and a disk that is too small are said', () => {
  const states = loaded({ '01': { freeBytes: 1100 }, '02': { freeBytes: 5000 }, '04': { queuedBytes: 1000 } })
  const [silent, tight] = previewOf(move.before, move.next, states).notes
  assert.match(silent ?? '', /^03 does not report/)
  assert.match(tight ?? '', /1100 bytes free/)
})

test('growing moves nothing and names who comes', () => {
  const ordered = scale(layoutOfFour(), pool, 6, frame)
  assert.ok(ordered.kind === 'changed')
  const { added, messages, seconds, leaving } = previewOf(layoutOfFour(), ordered.layout, new Map())
  assert.deepEqual([added, messages, seconds, leaving], [['05', '06'], 0, 0, []])
})
