/** Orders to the cluster as steps from layout to layout: what each changes, what it refuses and in which words, and that twice is once. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  instanceOf,
  instancesOfPool,
  type Layout,
  type Standing,
  takersOfPool,
} from '../../../services/contract/layout.ts'
import { cancel, cordon, drain, resume, uncordon } from '../../../services/control/layout/instance-orders.ts'
import type { Ordered, OrderFrame } from '../../../services/control/layout/order.ts'
import { scale, wantedCount } from '../../../services/control/layout/scale.ts'
import { readLayout } from '../../../services/settings/layout-record.ts'
import { layoutOf, shippedConf } from '../../support/shipped-layout.ts'

const pool = 'CUSTOMER_1'
const plan = '01ARZ3NDEKTSV4RRFFQ69G5FAV'
/** Of the orders below: those that name what is not there. */
const names = ['unknown pool', 'drain to nowhere', 'drain nobody', 'cancel nothing']
const frame: OrderFrame = { fence: 7, plan, at: 1000, by: 'admin', reason: 'night', force: false, lost: new Set() }

function counted(count: number, epoch = 1): Layout {
  return layoutOf(shippedConf.replace('count: 2', `count: ${count}`), epoch)
}

/** Lawful to every tier, one epoch on. */
function layoutOfOrder(ordered: Ordered, before: Layout): Layout {
  assert.equal(ordered.kind, 'changed', ordered.kind === 'changed' ? '' : ordered.why)
  const { layout } = ordered as Ordered & { kind: 'changed' }
  const reading = readLayout(JSON.parse(JSON.stringify(layout)))
  assert.ok(reading.ok, reading.ok ? '' : reading.why)
  assert.equal(layout.epoch, before.epoch + 1)
  assert.ok(layout.fence >= frame.fence)
  return layout
}

function standings(layout: Layout): string {
  return instancesOfPool(layout, pool)
    .map(({ id, standing }) => `${id} ${standing}`)
    .join(', ')
}

function withStandingOf(layout: Layout, id: string, standing: Standing): Layout {
  const instances = layout.instances.map((instance) => (instance.id === id ? { ...instance, standing } : instance))
  return { ...layout, instances }
}

test('growing by order gives what the compiler makes of the larger count', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 8 }), (from, more) => {
      const to = Math.min(9, from + more)
      fc.pre(to > from)
      const grown = layoutOfOrder(scale(counted(from), pool, to, frame), counted(from))
      const scaled = [{ pool, count: to, fileCount: from }]
      assert.deepEqual(grown, { ...counted(to, 2), fence: 7, scaled })
    }),
  )
})

test('growing takes the first ids that are free', () => {
  const gap = counted(4)
  const before = { ...gap, instances: gap.instances.filter(({ id }) => id !== '02') }
  assert.equal(
    standings(layoutOfOrder(scale(before, pool, 5, frame), before)),
    [1, 2, 3, 4, 5].map((n) => `0${n} active`).join(', '),
  )
})

test('shrinking cordons the last ids and names who takes their mail', () => {
  const before = counted(4, 5)
  const layout = layoutOfOrder(scale(before, pool, 2, frame), before)
  assert.equal(standings(layout), '01 active, 02 active, 03 cordoned, 04 cordoned')
  assert.deepEqual(layout.plans, [
    {
      ...{ id: plan, pool, from: 4, to: 2, leaving: ['03', '04'], targets: ['01', '02'], state: 'running' },
      ...{ force: false, keep: false, by: 'admin', reason: 'night', startedAt: 1000, cordonEpoch: 6 },
    },
  ])
  assert.deepEqual(layout.scaled, [{ pool, count: 2, fileCount: 4 }])
  assert.equal(wantedCount(layout, pool), 2)
})

test('what is ordered twice is done once', () => {
  const before = counted(4)
  const once = layoutOfOrder(scale(before, pool, 2, frame), before)
  assert.equal(scale(once, pool, 2, frame).kind, 'unchanged')
  assert.equal(scale(before, pool, 4, frame).kind, 'unchanged')
  const cordoned = layoutOfOrder(cordon(before, '03', frame), before)
  assert.equal(cordon(cordoned, '03', frame).kind, 'unchanged')
  assert.equal(uncordon(before, '03', frame).kind, 'unchanged')
  const drained = layoutOfOrder(drain(before, '03', undefined, frame), before)
  assert.equal(drain(drained, '03', undefined, frame).kind, 'unchanged')
  const cancelled = layoutOfOrder(cancel(once, plan, frame), once)
  assert.equal(cancel(cancelled, plan, frame).kind, 'unchanged')
  const forced = layoutOfOrder(resume(once, plan, { ...frame, force: true }), once)
  assert.equal(forced.plans[0]?.force, true)
  assert.equal(resume(forced, plan, { ...frame, force: true }).kind, 'unchanged')
  assert.deepEqual(resume(once, plan, frame), { kind: 'unchanged', why: `plan ${plan} is under way`, plan })
})

test('what cannot be done is refused in words, and nothing is changed', () => {
  const four = counted(4)
  const running = layoutOfOrder(scale(four, pool, 2, frame), four)
  const cancelling = layoutOfOrder(cancel(running, plan, frame), running)
  const lost = { ...frame, lost: new Set(['01']) }
  const parked = withStandingOf(four, '03', 'parked')
  const only = withStandingOf(counted(2), '02', 'cordoned')
  const rows: [string, Ordered, RegExp][] = [
    ['unknown pool', scale(four, 'NOWHERE', 2, frame), /no pool NOWHERE; the pools are INTERNAL, CUSTOMER_1/],
    ['more than ids', scale(four, pool, 10, frame), /has 9 ids: it cannot have 10/],
    ['ids of parked ones', scale(parked, pool, 9, frame), /has 9 ids, 1 of them for parked instances/],
    ['to nothing', scale(four, pool, 0, frame), /cannot go to 0/],
    ['half an instance', scale(four, pool, 1.5, frame), /whole number/],
    ['another plan', scale(running, pool, 3, frame), new RegExp(`plan ${plan} of pool CUSTOMER_1 is under way`)],
    ['a plan that is cancelled', scale(cancelling, pool, 2, frame), /is being cancelled/],
    ['target lost', scale(four, pool, 2, lost), /instance 01 does not report/],
    ['nobody to take it', scale(only, pool, 1, { ...frame, lost: new Set(['01']) }), /01 does not report/],
    ['drain during a plan', drain(running, '01', undefined, frame), /is under way/],
    ['drain the last', drain(counted(1), '01', undefined, frame), /no instance left.*name another pool/],
    ['drain to nowhere', drain(four, '01', 'NOWHERE', frame), /no pool NOWHERE/],
    ['drain what is parked', drain(parked, '03', undefined, frame), /parked and does not run/],
    ['drain nobody', drain(four, '77', undefined, frame), /no instance 77/],
    ['cordon the last', cordon(counted(1), '01', frame), /the last of pool CUSTOMER_1/],
    ['cordon a target', cordon(running, '01', frame), /takes mail over by plan/],
    ['uncordon what leaves', uncordon(running, '04', frame), /leaves by plan .*: cancel the plan/],
    ['cancel what is sealed', cancel(withStandingOf(running, '04', 'sealed'), plan, frame), /04 is sealed already/],
    ['cancel nothing', cancel(four, plan, frame), /no plan/],
    ['force what is cancelled', resume(cancelling, plan, { ...frame, force: true }), /being cancelled/],
  ]
  for (const [what, ordered, words] of rows) {
    assert.equal(ordered.kind, names.includes(what) ? 'absent' : 'refused', what)
    assert.match('why' in ordered ? ordered.why : '', words, what)
  }
})

test('a drain by name keeps the instance, and may send its mail to another pool', () => {
  const before = counted(1)
  const layout = layoutOfOrder(drain(before, '01', 'INTERNET', frame), before)
  const [begun] = layout.plans
  assert.deepEqual([begun?.leaving, begun?.targets, begun?.keep, begun?.from, begun?.to], [['01'], ['80'], true, 1, 0])
  assert.equal(wantedCount(layout, pool), 1)
  assert.deepEqual(layout.scaled, [])
})

test('cancelling makes the leaving active again, restores the count and keeps the plan until all is settled', () => {
  const before = counted(4)
  const running = layoutOfOrder(scale(before, pool, 2, frame), before)
  const draining = withStandingOf(running, '04', 'draining')
  const layout = layoutOfOrder(cancel(draining, plan, frame), draining)
  assert.equal(takersOfPool(layout, pool).length, 4)
  assert.equal(layout.plans[0]?.state, 'cancelling')
  assert.deepEqual(layout.scaled, [])
  const grown = { ...before, scaled: [{ pool, count: 4, fileCount: 2 }] }
  const back = layoutOfOrder(scale(grown, pool, 2, frame), grown)
  assert.deepEqual(back.scaled, [], 'the file says two')
  assert.deepEqual(layoutOfOrder(cancel(back, plan, frame), back).scaled, [{ pool, count: 4, fileCount: 2 }])
})

test('a parked instance comes back by being uncordoned', () => {
  const before = withStandingOf(counted(4), '03', 'parked')
  assert.equal(instanceOf(layoutOfOrder(uncordon(before, '03', frame), before), '03')?.standing, 'active')
  assert.equal(wantedCount(before, pool), 3)
})

test('an order never lowers the fence', () => {
  const before = { ...counted(2), fence: 20 }
  assert.equal(layoutOfOrder(scale(before, pool, 3, frame), before).fence, 20)
})
