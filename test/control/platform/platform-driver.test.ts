/** What a platform starts and stops by a layout: all that should run, and never what is parked. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { placesToRun, platformChange } from '../../../services/control/platform/platform-driver.ts'
import { layoutOfFour, standing } from '../drain/plan-views.ts'

const ids = (places: readonly { readonly id: string }[]) => places.map(({ id }) => id).join(' ')

test('every place runs, queues before edges, but the parked ones', () => {
  assert.equal(ids(placesToRun(layoutOfFour())), '00 01 02 03 04 80 90 99 e1 c1')
  const layout = standing(layoutOfFour(), { '01': 'cordoned', '02': 'draining', '03': 'sealed', '04': 'parked' })
  assert.equal(ids(placesToRun(layout)), '00 01 02 03 80 90 99 e1 c1')
})

test('what is new is started and what is gone is stopped; what is there is left alone', () => {
  const before = placesToRun(layoutOfFour())
  const layout = standing(layoutOfFour(), { '04': 'parked' })
  const without = { ...layout, instances: layout.instances.filter(({ id }) => id !== '03') }
  const shrunk = platformChange(without, before)
  assert.deepEqual([ids(shrunk.start), ids(shrunk.stop)], ['', '03 04'])
  const grown = platformChange(layoutOfFour(), placesToRun(without))
  assert.deepEqual([ids(grown.start), ids(grown.stop)], ['03 04', ''])
  assert.deepEqual(platformChange(layoutOfFour(), before), { start: [], stop: [] })
})
