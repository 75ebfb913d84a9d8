/** A conf-qmq read again: what was ordered since stays, the file wins where it changed, and no mail is left behind. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { instanceOf, instancesOfPool, type Layout } from '../../../services/contract/layout.ts'
import { carryOver } from '../../../services/control/layout/carry-over.ts'
import { cancel, cordon } from '../../../services/control/layout/instance-orders.ts'
import type { Ordered, OrderFrame } from '../../../services/control/layout/order.ts'
import { scale, wantedCount } from '../../../services/control/layout/scale.ts'
import { readLayout } from '../../../services/settings/layout-record.ts'
import { layoutOf, shippedConf } from '../../support/shipped-layout.ts'

const pool = 'CUSTOMER_1'
const plan = '01ARZ3NDEKTSV4RRFFQ69G5FAV'
const frame: OrderFrame = { fence: 0, plan, at: 1, by: 'conf-qmq', reason: '', force: false, lost: new Set() }

function text(count: number): string {
  return shippedConf.replace('count: 2', `count: ${count}`)
}

function changedBy(ordered: Ordered): Layout {
  assert.equal(ordered.kind, 'changed', ordered.kind === 'changed' ? '' : ordered.why)
  return (ordered as Ordered & { kind: 'changed' }).layout
}

function reread(conf: string, before: Layout, mayHoldMail = true): { layout: Layout; notes: readonly string[] } {
  const compiled = layoutOf(conf, before.epoch + 1)
  const result = carryOver({ compiled, before, mayHoldMail: () => mayHoldMail, frameFor: () => frame })
  const reading = readLayout(JSON.parse(JSON.stringify(result.layout)))
  assert.ok(reading.ok, reading.ok ? '' : reading.why)
  assert.ok(result.layout.epoch > before.epoch)
  assert.ok(result.layout.fence >= before.fence)
  return result
}

const count = fc.integer({ min: 1, max: 9 })

test('the same file read again changes nothing that was ordered', () => {
  fc.assert(
    fc.property(count, count, fc.boolean(), (file, ordered, isCordoned) => {
      const first = { ...layoutOf(text(file)), fence: 4 }
      const scaled = scale(first, pool, ordered, frame)
      const before = scaled.kind === 'changed' ? scaled.layout : first
      const cordoned = isCordoned ? cordon(before, '01', frame) : undefined
      const now = cordoned?.kind === 'changed' ? cordoned.layout : before
      const { layout, notes } = reread(text(file), now)
      assert.deepEqual(layout, { ...now, epoch: now.epoch + 1 })
      assert.deepEqual(notes, [])
    }),
  )
})

test('a file with another count wins over what was ordered, larger at once, smaller by a plan', () => {
  fc.assert(
    fc.property(count, count, count, (file, ordered, next) => {
      fc.pre(file !== next && ordered >= file)
      const first = layoutOf(text(file))
      const scaled = scale(first, pool, ordered, frame)
      const before = scaled.kind === 'changed' ? scaled.layout : first
      const { layout, notes } = reread(text(next), before)
      assert.equal(wantedCount(layout, pool), next)
      assert.equal(
        notes.filter((note) => note.includes(`goes from ${ordered} to ${next} by plan ${plan}`)).length,
        notes.length,
      )
      assert.equal(notes.length, next < ordered ? 1 : 0)
      assert.deepEqual(layout.scaled, [])
      assert.equal(instancesOfPool(layout, pool).length, Math.max(ordered, next), 'nobody is dropped')
      assert.equal(layout.plans.length, next < ordered ? 1 : 0)
    }),
  )
})

test('a smaller count that was cancelled stays cancelled while the file is the same', () => {
  const { layout: running } = reread(text(2), layoutOf(text(4)))
  const cancelled = changedBy(cancel(running, plan, frame))
  assert.deepEqual(cancelled.scaled, [{ pool, count: 4, fileCount: 2 }])
  const settled = { ...cancelled, plans: [] }
  assert.equal(wantedCount(reread(text(2), settled).layout, pool), 4)
  assert.equal(wantedCount(reread(text(3), settled).layout, pool), 3)
})

test('a count that comes while a plan is under way waits for its end, and is said', () => {
  const running = changedBy(scale(layoutOf(text(4)), pool, 2, frame))
  const { layout, notes } = reread(text(3), running)
  assert.deepEqual(layout.plans, running.plans)
  assert.match(notes.join(), new RegExp(`count 3 waits for the end of plan ${plan}`))
  const ended = { ...layout, plans: [], instances: layout.instances.filter(({ id }) => !['03', '04'].includes(id)) }
  assert.equal(wantedCount(reread(text(3), ended).layout, pool), 3, 'the next reading brings it')
})

test('instances of a pool that is gone from the file stay while they may hold mail, cordoned', () => {
  const before = layoutOf(text(2))
  const without = shippedConf.replace(/ {2}CUSTOMER_1:[\s\S]*?(?= {2}INTERNET:)/, '')
  const { layout, notes } = reread(without, before)
  assert.equal(instanceOf(layout, '02')?.standing, 'cordoned')
  assert.ok(!layout.routes.some((route) => route.pool === pool))
  assert.match(notes.join('\n'), /instance 02 is of pool CUSTOMER_1, which is gone from the file: .*qmq drain 02/)
  assert.equal(instanceOf(reread(without, before, false).layout, '02'), undefined, 'one without a journal goes')
})

test('a pool whose ids changed gets its count of new ones beside those that stay', () => {
  const { layout, notes } = reread(text(2).replace('ids: 01-09', 'ids: 05-09'), layoutOf(text(2)))
  const own = instancesOfPool(layout, pool).map(({ id, standing }) => `${id} ${standing}`)
  assert.deepEqual(own, ['01 cordoned', '02 cordoned', '05 active', '06 active'])
  assert.equal(notes.length, 2)
})

test('a new pool, and one that begins to run, come with the file', () => {
  const before = layoutOf(text(2).replace('ids: 99', 'ids: 99\n    count: 0'))
  assert.equal(instanceOf(before, '99'), undefined)
  assert.equal(instanceOf(reread(text(2), before).layout, '99')?.standing, 'active')
  const another = `${text(2)}\n\n  CUSTOMER_2:\n    ids: 20-29\n    role: customer\n    domains: [two.example]\n    deliver: hold\n`
  assert.equal(instanceOf(reread(another, layoutOf(text(2))).layout, '20')?.standing, 'active')
})

test('what the file says of an instance reaches one that only an order made', () => {
  const before = changedBy(scale(layoutOf(text(2)), pool, 4, frame))
  const next = text(2).replace(
    'deliver: "smtp:127.0.0.1:2626"',
    'deliver: "smtp:127.0.0.1:2626"\n    accept-from: [198.51.100.0/24]',
  )
  assert.ok(instanceOf(reread(next, before).layout, '04')?.acceptFrom.includes('198.51.100.0/24'))
})
