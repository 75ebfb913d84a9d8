import assert from 'node:assert/strict'
import { test } from 'node:test'
import { defaultRest, type Job, Scheduler } from '../../services/queue/scheduler.ts'

interface Named extends Job {
  readonly name: string
}
const limits = { concurrency: 10, concurrencyPerDestination: 2, ...defaultRest }

function job(name: string, destination: string, dueAt = 0, deadlineAt = dueAt): Named {
  return { name, destination, dueAt, deadlineAt }
}

function startAll(scheduler: Scheduler<Named>, now: number): string[] {
  const names: string[] = []
  for (let next = scheduler.start(now); next !== undefined; next = scheduler.start(now)) names.push(next.name)
  return names
}

test('scheduler: destinations take turns, each up to its limit', () => {
  const scheduler = new Scheduler<Named>(limits)
  for (const name of ['a1', 'a2', 'a3', 'a4']) scheduler.add(job(name, 'a'), 0)
  for (const name of ['b1', 'b2']) scheduler.add(job(name, 'b'), 0)
  assert.deepEqual(startAll(scheduler, 0), ['a1', 'b1', 'a2', 'b2'])
  scheduler.end(job('a1', 'a'), true, 0)
  assert.deepEqual(startAll(scheduler, 0), ['a3'])
})

test('scheduler: all together stay within the concurrency', () => {
  const scheduler = new Scheduler<Named>({ ...limits, concurrency: 3 })
  for (let index = 0; index < 9; index++) scheduler.add(job(`j${index}`, `d${index}`), 0)
  assert.equal(startAll(scheduler, 0).length, 3)
  assert.equal(scheduler.waiting, 6)
  scheduler.end(job('j0', 'd0'), true, 0)
  assert.equal(startAll(scheduler, 0).length, 1)
})

test('scheduler: nothing starts before it is due, and the next due time is told', () => {
  const scheduler = new Scheduler<Named>(limits)
  scheduler.add(job('later', 'a', 500), 0)
  assert.deepEqual(startAll(scheduler, 499), [])
  assert.equal(scheduler.nextAt(), 500)
  assert.deepEqual(startAll(scheduler, 500), ['later'])
  assert.equal(scheduler.nextAt(), Number.POSITIVE_INFINITY)
})

test('scheduler: the nearest deadline of a destination goes first', () => {
  const scheduler = new Scheduler<Named>({ ...limits, concurrencyPerDestination: 1 })
  scheduler.add(job('slack', 'a', 0, 900), 0)
  scheduler.add(job('tight', 'a', 0, 100), 0)
  assert.deepEqual(startAll(scheduler, 0), ['tight'])
})

test('scheduler: a destination that cannot be reached rests, longer each time, and others go on', () => {
  const scheduler = new Scheduler<Named>({ ...limits, concurrencyPerDestination: 1 })
  for (let index = 0; index < 8; index++) scheduler.add(job(`dead${index}`, 'dead'), 0)
  const rests: number[] = []
  let now = 0
  for (let failures = 1; failures <= 6; failures++) {
    const dead = scheduler.start(now)
    assert.equal(dead?.destination, 'dead')
    scheduler.end(dead!, false, now)
    if (failures < limits.failuresBeforeRest) continue
    scheduler.add(job(`well${failures}`, 'well'), now)
    assert.deepEqual(startAll(scheduler, now), [`well${failures}`], 'only the healthy destination starts')
    scheduler.end(job('well', 'well'), true, now)
    rests.push(scheduler.nextAt() - now)
    now = scheduler.nextAt()
  }
  assert.deepEqual(rests, [5000, 10000, 20000, 40000])
})

test('scheduler: a whole drain gives every waiting job back, and dueNow starts what waits', () => {
  const scheduler = new Scheduler<Named>(limits)
  scheduler.add(job('now', 'a'), 0)
  scheduler.add(job('later', 'b', 900), 0)
  assert.deepEqual(
    scheduler
      .drain()
      .map((one) => one.name)
      .sort(),
    ['later', 'now'],
  )
  assert.deepEqual(startAll(scheduler, 1000), [])
  scheduler.add(job('later', 'b', 5000), 0)
  scheduler.dueNow(10)
  assert.deepEqual(startAll(scheduler, 10), ['later'])
})

test('scheduler: nothing is kept of destinations that failed and are no longer wanted', () => {
  const scheduler = new Scheduler<Named>({ ...limits, concurrency: 1000 })
  for (let index = 0; index < 100; index++) {
    scheduler.add(job(`j${index}`, `dead${index}`), 0)
    scheduler.end(scheduler.start(0)!, false, 0)
  }
  assert.notEqual(scheduler.nextAt(), Number.POSITIVE_INFINITY)
  assert.equal(scheduler.start(limits.restMaxMs + 1), undefined)
  assert.equal(scheduler.nextAt(), Number.POSITIVE_INFINITY)
  assert.equal(scheduler.destinations, 0)
})
