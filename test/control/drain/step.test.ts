/** The drain's machine: every standing of a leaving instance with everything that can be seen of it, and the story of one scale-down. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Layout, Standing } from '../../../services/contract/layout.ts'
import type { DrainProgress } from '../../../services/contract/operations.ts'
import { forceParkAfterMs, lostAfterMs, type PlanView } from '../../../services/control/drain/plan-view.ts'
import { type Action, step } from '../../../services/control/drain/step.ts'
import { cancel } from '../../../services/control/layout/instance-orders.ts'
import { readLayout } from '../../../services/settings/layout-record.ts'
import { begun, frame, onEpoch, plan, progress, standing, stateOf, viewOf, without } from './plan-views.ts'

const empty = progress({ phase: 'empty', left: 0, leftBytes: 0 })
const sealedNow = progress({ phase: 'sealed', left: 0, leftBytes: 0 })
const both = (value: Standing) => ({ '03': value, '04': value })
const unclearMs = 60_000

/** What the action makes of the leaving instances, or what it says. */
function shown(action: Action): string {
  if (action.kind === 'prove') return `prove ${action.instance}`
  if (action.kind === 'wait') return `wait: ${action.why.join(' | ')}`
  const { layout } = action
  const reading = readLayout(JSON.parse(JSON.stringify(layout)))
  assert.ok(reading.ok, reading.ok ? '' : reading.why)
  const of = (id: string) => layout.instances.find((instance) => instance.id === id)?.standing ?? 'gone'
  return `write 03 ${of('03')}, 04 ${of('04')}, ${layout.plans.length} plans`
}

type Row = readonly [what: string, view: PlanView, expected: string | RegExp]

function check(rows: readonly Row[]): void {
  for (const [what, view, expected] of rows) {
    const text = shown(step(view))
    if (typeof expected === 'string') assert.equal(text, expected, what)
    else assert.match(text, expected, what)
  }
}

test('cordoned: moves on when everybody who runs is on the plan’s epoch, and says who is not', () => {
  const view = viewOf(begun())
  check([
    ['all are there', view, 'write 03 draining, 04 draining, 1 plans'],
    ['an edge is late', onEpoch(view, 'e1', 1), /^wait: e1 is on epoch 1 instead of 2, and may still send mail$/],
    ['a queue is late', onEpoch(view, '80', 1), /^wait: 80 is on epoch 1 instead of 2/],
    ['the instance itself is late', onEpoch(view, '03', 1), /^wait: 03 is on epoch 1/],
    ['a control process is late', onEpoch(view, 'c1', 1), 'write 03 draining, 04 draining, 1 plans'],
    ['an edge is gone', without(view, 'e1'), 'write 03 draining, 04 draining, 1 plans'],
    [
      'a foreign edge is late',
      { ...view, states: new Map([...view.states, ['e9', stateOf('e9', 1, view.now)]]) },
      /e9 is on/,
    ],
    ['the leaving is gone', without(view, '03', '04'), 'write 03 draining, 04 draining, 1 plans'],
  ])
})

test('draining: sealed when it is empty and every offer is answered', () => {
  const layout = standing(begun(), both('draining'))
  const at = (three: DrainProgress, four: DrainProgress = progress()) => viewOf(layout, {}, { '03': three, '04': four })
  check([
    ['both move', at(progress()), /^wait: 03 has moved 5 messages, 3 left \| 04 has moved/],
    ['one quiesces', at(progress({ phase: 'quiescing' })), /03 waits for its running deliveries/],
    ['one is empty', at(empty), 'write 03 sealed, 04 draining, 1 plans'],
    ['the other is empty', at(progress(), empty), 'write 03 draining, 04 sealed, 1 plans'],
    ['both are empty', at(empty, empty), 'write 03 sealed, 04 sealed, 1 plans'],
    ['empty, but not answered', at({ ...empty, offered: 2 }), /^wait: 03 .*2 without an answer yet/],
    ['empty it says, with something left', at({ ...empty, left: 1 }), /^wait: 03 .*1 left/],
    ['of another plan', at({ ...empty, plan: plan.replace('01', '02') }), /^wait: 03 has not begun yet/],
    ['an edge came back late', onEpoch(at(empty, empty), 'e1', 1), /^wait: e1 is on epoch 1/],
    ['held up', at(progress({ why: 'two damaged messages' })), /3 left; two damaged messages/],
    ['a target is gone', without(at(progress()), '01'), /01 does not report/],
    ['it is gone', without(at(empty), '03'), /^wait: 03 does not report: its mail is on its disk/],
  ])
})

test('an instance whose last word is too old is lost, though its record is still there', () => {
  const layout = standing(begun(), both('draining'))
  const view = viewOf(layout, {}, { '03': empty, '04': progress() })
  const old = {
    ...view,
    states: new Map([...view.states, ['03', stateOf('03', 2, view.now - lostAfterMs - 1, empty)]]),
  }
  assert.match(shown(step(old)), /^wait: 03 does not report/)
})

test('sealed: a receipt when its seal is written, none while anything came late', () => {
  const layout = standing(begun(), both('sealed'))
  const at = (three: DrainProgress, change: Partial<PlanView> = {}) =>
    viewOf(layout, change, { '03': three, '04': progress() })
  check([
    ['its seal is written', at(sealedNow), 'prove 03'],
    ['it still looks', at(empty), /^wait: 03 looks once more whether it is empty/],
    ['something came late', at(progress({ left: 2 })), /^wait: 03 still moves 2 messages that came late/],
    ['proven', at(sealedNow, { receipts: new Map([['03', 1]]) }), /^wait: 04 still moves/],
    [
      'proven, and yet something came',
      at(progress({ left: 2 }), { receipts: new Map([['03', 1]]) }),
      /^wait: 03 still moves 2/,
    ],
    ['proven and gone', without(at(sealedNow, { receipts: new Map([['03', 1]]) }), '03'), /^wait: 04 still moves/],
    [
      'in dispute',
      at(sealedNow, { disputes: new Map([['03', '01 lacks 03>7']]) }),
      /03 gets no receipt: 01 lacks 03>7/,
    ],
    ['gone', without(at(sealedNow), '03'), /^wait: 03 does not report/],
  ])
})

test('leaving: all at once, not before edges had their time to ask, and the count’s entry stays', () => {
  const layout = standing(begun(), both('sealed'))
  const receipts = new Map([
    ['03', 1_900_000],
    ['04', 1_950_000],
  ])
  const at = (now: number) => viewOf(layout, { receipts, now }, { '03': sealedNow, '04': sealedNow })
  check([
    [
      'too soon',
      at(1_950_000 + unclearMs - 1),
      /^wait: 1 s for edges that may have missed an acknowledgement of 03, 04$/,
    ],
    ['in time', at(1_950_000 + unclearMs), 'write 03 gone, 04 gone, 0 plans'],
    ['an edge came back late', onEpoch(at(3_000_000), 'e1', 1), /^wait: e1 is on epoch 1/],
    ['the instances are gone already', without(at(3_000_000), '03', '04'), 'write 03 gone, 04 gone, 0 plans'],
  ])
  const action = step(at(3_000_000))
  assert.deepEqual(action.kind === 'write' ? action.layout.scaled : [], layout.scaled)
})

test('a drain that keeps its instance leaves it cordoned', () => {
  const layout = standing(begun(), both('sealed'))
  const kept = { ...layout, plans: layout.plans.map((one) => ({ ...one, keep: true })) }
  const receipts = new Map([...'34'].map((digit) => [`0${digit}`, 1] as const))
  check([['done', viewOf(kept, { receipts }), 'write 03 cordoned, 04 cordoned, 0 plans']])
})

test('force parks what makes no progress, at every standing, and nothing sooner', () => {
  const quietMs = new Map([['03', forceParkAfterMs]])
  const stuck = (layout: Layout, change: Partial<PlanView> = {}, three = progress()) =>
    viewOf(layout, { quietMs, ...change }, { '03': three, '04': progress() })
  const forced = begun({ force: true })
  const [cordoned, draining, sealed] = [forced, standing(forced, both('draining')), standing(forced, both('sealed'))]
  check([
    ['an edge never comes', onEpoch(stuck(cordoned), 'e1', 1), 'write 03 parked, 04 cordoned, 1 plans'],
    ['it does not move', stuck(draining), 'write 03 parked, 04 draining, 1 plans'],
    ['it is lost', without(stuck(draining), '03'), 'write 03 parked, 04 draining, 1 plans'],
    ['it does not seal', stuck(sealed), 'write 03 parked, 04 sealed, 1 plans'],
    [
      'in dispute',
      stuck(sealed, { disputes: new Map([['03', 'x']]) }, sealedNow),
      'write 03 parked, 04 sealed, 1 plans',
    ],
    ['not yet', stuck(draining, { quietMs: new Map([['03', forceParkAfterMs - 1]]) }), /^wait: 03 has moved/],
    [
      'without force',
      viewOf(standing(begun(), both('draining')), { quietMs }, { '03': progress() }),
      /^wait: 03 has moved/,
    ],
    ['both parked', stuck(standing(forced, both('parked'))), 'write 03 parked, 04 parked, 0 plans'],
  ])
})

test('cancelled: the plan stays until what was offered is settled', () => {
  const ordered = cancel(standing(begun(), both('draining')), plan, frame)
  assert.ok(ordered.kind === 'changed')
  const { layout } = ordered
  const view = viewOf(layout, {}, { '03': progress() })
  check([
    ['settled', view, 'write 03 active, 04 active, 0 plans'],
    [
      'not settled',
      viewOf(layout, {}, { '03': progress({ offered: 1 }) }),
      /^wait: 03 waits for the answers to 1 offers$/,
    ],
    ['not heard yet', onEpoch(view, '04', 2), /^wait: 04 is on epoch 2 instead of 3$/],
    ['gone', without(view, '04'), /^wait: 04 does not report: what it offered is not settled$/],
  ])
})

test('a leaving instance that another layout made active is cordoned again, under a later epoch', () => {
  const action = step(viewOf(standing(begun(), { '03': 'active' })))
  assert.equal(shown(action), 'write 03 cordoned, 04 cordoned, 1 plans')
  assert.equal(action.kind === 'write' ? action.layout.plans[0]?.cordonEpoch : 0, 3)
})

test('no step lowers the fence or stands still', () => {
  for (const value of ['active', 'cordoned', 'draining', 'sealed', 'parked'] as const) {
    const layout = { ...standing(begun(), both(value)), fence: 20 }
    const action = step(
      viewOf(
        layout,
        {
          receipts: new Map([
            ['03', 1],
            ['04', 1],
          ]),
        },
        { '03': empty, '04': empty },
      ),
    )
    if (action.kind !== 'write') continue
    assert.deepEqual([action.layout.fence, action.layout.epoch], [20, layout.epoch + 1])
  }
})

test('the story of a scale-down', () => {
  let layout = begun()
  let receipts = new Map<string, number>()
  const story: string[] = []
  const tell = (drains: Readonly<Record<string, DrainProgress>>, change: Partial<PlanView> = {}) => {
    const view = viewOf(layout, { receipts, ...change }, drains)
    const action = step(change.states === undefined ? view : { ...view, states: change.states })
    story.push(action.kind === 'wait' ? `wait: ${action.why.join('; ')}` : `${action.kind}: ${action.why}`)
    if (action.kind === 'write') layout = action.layout
    if (action.kind === 'prove') receipts = new Map([...receipts, [action.instance, view.now]])
  }
  const late = onEpoch(viewOf(layout), 'e1', 1)
  tell({}, { states: late.states })
  tell({})
  tell({ '03': progress({ phase: 'quiescing', moved: 0 }), '04': progress() })
  tell({ '03': progress({ left: 1, offered: 1 }), '04': empty })
  tell({ '03': empty, '04': empty })
  tell({ '03': sealedNow, '04': progress({ left: 1 }) })
  tell({ '03': sealedNow, '04': sealedNow })
  tell({ '03': sealedNow, '04': sealedNow })
  tell({ '03': sealedNow, '04': sealedNow }, { now: 2_000_000 + unclearMs })
  assert.deepEqual(story, [
    'wait: e1 is on epoch 1 instead of 2, and may still send mail',
    'write: 03, 04 get no new mail any more and hand over what is there',
    'wait: 03 waits for its running deliveries, 3 left; 04 has moved 5 messages, 3 left',
    'write: 04 empty: refuse everything from now on',
    'write: 03 empty: refuse everything from now on',
    'prove: instance 03 is sealed: its receipt is made',
    'prove: instance 04 is sealed: its receipt is made',
    'wait: 60 s for edges that may have missed an acknowledgement of 03, 04',
    `write: plan ${plan} is done: 03, 04 gone`,
  ])
})
