/** No instant at which the instances together may use more than the ceiling, whatever fails; nearly all of it used where nothing does. */

import assert from 'node:assert/strict'
import { it } from 'node:test'
import { ShareCluster, type ShareFaults } from './share-cluster.ts'

const seeds = 150
const durationMs = 180_000

function seedOver(faults: ShareFaults): number | undefined {
  for (let seed = 1; seed <= seeds; seed++) {
    if (new ShareCluster(seed, faults).run(durationMs).overMax > 0) return seed
  }
  return undefined
}

it('shares never pass the ceiling under partitions, pauses, restarts, new leaders and scaling', () => {
  assert.equal(seedOver({ hasFaults: true }), undefined)
})

it('nine tenths of the ceiling are of use while nothing fails, wherever the mail is', (test) => {
  let least = 1
  for (let seed = 1; seed <= seeds; seed++) {
    const { overMax, usedPart } = new ShareCluster(seed, { hasFaults: false }).run(durationMs)
    assert.ok(overMax <= 0, `seed ${seed}`)
    assert.ok(usedPart >= 0.9, `seed ${seed}: ${usedPart}`)
    least = Math.min(least, usedPart)
  }
  test.diagnostic(`least of ${seeds} seeds: ${Math.round(least * 1000) / 10} %`)
})

/** The same run with a rule broken: a check that cannot fail proves nothing. */
for (const planted of ['keeperForgets', 'countsFromReceipt', 'startsAtFloor'] as const) {
  it(`is found out: ${planted}`, () => {
    assert.notEqual(seedOver({ hasFaults: true, [planted]: true }), undefined)
  })
}
