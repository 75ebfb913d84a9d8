/** The scheduler under the cluster's limits: what begins, when it is looked at again, and what is not limited. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { ClusterLimit } from '../../services/contract/layout.ts'
import { CeilingGate } from '../../services/queue/ceiling-gate.ts'
import { defaultRest, type Job, Scheduler } from '../../services/queue/scheduler.ts'

interface Bench {
  readonly allowed: Map<string, number>
  readonly gate: CeilingGate
  readonly scheduler: Scheduler<Job>
  add(destination: string, count: number): void
  /** Starts all it can. */
  start(now: number): Job[]
}

function bench(limits: readonly ClusterLimit[], allowed: Readonly<Record<string, number>>): Bench {
  const map = new Map(Object.entries(allowed))
  const gate = new CeilingGate((name) => map.get(name) ?? 0)
  gate.limits = limits
  const scheduler = new Scheduler<Job>({ concurrency: 1000, concurrencyPerDestination: 100, ...defaultRest }, gate)
  return {
    ...{ allowed: map, gate, scheduler },
    add: (destination, count) => {
      for (let index = 0; index < count; index++) scheduler.add({ destination, dueAt: 0, deadlineAt: index }, 0)
    },
    start: (now) => {
      const started: Job[] = []
      for (let job = scheduler.start(now); job !== undefined; job = scheduler.start(now)) started.push(job)
      return started
    },
  }
}

const gmail: ClusterLimit = { destination: 'gmail.com', concurrency: 50 }

describe('a destination that the cluster limits', () => {
  it('has as many deliveries as its share, over all the ways to it, and no other destination has fewer', () => {
    const { add, start, scheduler } = bench([{ destination: 'relay.example', concurrency: 9 }], {
      'concurrency relay.example': 3,
    })
    add('smtp:relay.example:25', 5)
    add('smtp:relay.example:587', 5)
    add('smtp:other.example:25', 5)
    add('mx:relay.example.org', 5)
    add('qmtp:relay.example:209', 5)
    add('pool:relay.example', 5)
    const started = start(0)
    const limited = started.filter(({ destination }) => destination.startsWith('smtp:relay.example'))
    assert.deepEqual([started.length, limited.length], [23, 3])
    scheduler.end(limited[0]!, true, 0)
    assert.equal(start(0).length, 1)
    assert.deepEqual([...scheduler.dueAtGates()], [['relay.example', 6]])
  })

  it('waits where there is no share, and goes on when one has come', () => {
    const { add, start, allowed, scheduler } = bench([gmail], {})
    add('mx:gmail.com', 10)
    add('mx:GMAIL.com', 1)
    assert.equal(start(0).length, 0)
    assert.equal(scheduler.nextAt(), Number.POSITIVE_INFINITY)
    allowed.set('concurrency gmail.com', 4)
    const started = start(1000)
    assert.equal(started.length, 4)
    allowed.set('concurrency gmail.com', 2)
    for (const job of started.slice(0, 2)) scheduler.end(job, true, 2000)
    assert.equal(start(2000).length, 0)
    scheduler.end(started[2]!, true, 2000)
    assert.equal(start(2000).length, 1)
  })

  it('is begun at its rate, evenly, and asks to be looked at when its turn comes', () => {
    const limit: ClusterLimit = { destination: 'gmail.com', rate: { events: 100, perMs: 1000 } }
    const { add, start, allowed, scheduler } = bench([limit], { 'rate gmail.com': 10 })
    add('mx:gmail.com', 1000)
    const starts: number[] = []
    let now = 1_000_000
    for (; now < 1_010_000; now = Math.max(now + 1, scheduler.nextAt())) {
      for (const job of start(now)) {
        starts.push(now)
        scheduler.end(job, true, now)
      }
    }
    assert.ok(starts.length >= 99 && starts.length <= 101, `${starts.length}`)
    const gaps = starts.slice(1).map((at, index) => at - starts[index]!)
    assert.ok(Math.min(...gaps) >= 80 && Math.max(...gaps) <= 120, `${Math.min(...gaps)} to ${Math.max(...gaps)}`)
    allowed.set('rate gmail.com', 0)
    assert.equal(start(now + 60_000).length, 0)
    allowed.set('rate gmail.com', 100)
    assert.equal(start(now + 120_000).length <= 3, true)
  })

  it('is counted under a new limit with what already runs', () => {
    const { add, start, gate, scheduler } = bench([], { 'concurrency gmail.com': 5 })
    add('mx:gmail.com', 20)
    const started = start(0)
    assert.equal(started.length, 20)
    gate.limits = [gmail]
    scheduler.regate()
    add('mx:gmail.com', 20)
    for (const job of started.slice(0, 15)) scheduler.end(job, true, 0)
    assert.equal(start(0).length, 0)
    scheduler.end(started[15]!, true, 0)
    assert.equal(start(0).length, 1)
    assert.deepEqual(
      gate.wants(() => 7),
      [{ ceiling: 'concurrency gmail.com', wanted: 12, held: 5 }],
    )
    gate.limits = []
    scheduler.regate()
    assert.equal(start(0).length, 19)
  })
})
