/** Coordination that can play gone: the whole contract while nobody plays, and what it says while somebody does. */

import assert from 'node:assert/strict'
import { it } from 'node:test'
import type { Change, Coordination } from '../../services/contract/coordination.ts'
import { DrilledCoordination } from '../../services/runtime/drilled-coordination.ts'
import { Drills } from '../../services/runtime/drills.ts'
import { EmbeddedCoordination } from '../../services/runtime/embedded-coordination.ts'
import { EmbeddedHub } from '../../services/runtime/embedded-hub.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'
import type { Clock, Timer } from '../../services/runtime/world.ts'
import { coordinationContract, eventually } from './contract.ts'
import { embeddedPair } from './embedded-pair.ts'

/** Timers run when the test says so. */
class HeldClock implements Clock {
  #timers: { readonly delayMs: number; readonly task: () => void }[] = []
  now(): number {
    return 1_000_000
  }
  monotonic(): number {
    return 0
  }
  soon(task: () => void): void {
    this.after(0, task)
  }
  after(delayMs: number, task: () => void): Timer {
    this.#timers.push({ delayMs, task })
    return { cancel() {} }
  }
  /** The delays of the timers that ran. */
  run(): readonly number[] {
    const due = this.#timers
    this.#timers = []
    for (const { task } of due) task()
    return due.map(({ delayMs }) => delayMs)
  }
}

interface Scene {
  readonly drilled: Coordination
  readonly other: Coordination
  readonly drills: Drills
  readonly clock: HeldClock
}

function scene(): Scene {
  const hub = new EmbeddedHub(new SystemClock())
  const client = (): Coordination => {
    const pair = embeddedPair()
    hub.attach(pair.hub)
    return new EmbeddedCoordination({ clock: new SystemClock(), dial: () => pair.client })
  }
  const clock = new HeldClock()
  const drills = new Drills(clock, () => {})
  return { drilled: new DrilledCoordination(client(), drills), other: client(), drills, clock }
}

const order = { dependency: 'coordination', forMs: 10_000 } as const

coordinationContract('a hub whose clients could play gone', async () => {
  const { drilled, other } = scene()
  return {
    one: drilled,
    two: other,
    close: async () => {
      drilled.close()
      other.close()
    },
  }
})

it('a drill begins once its answer has left, and ends by itself', () => {
  const { drills, clock } = scene()
  assert.deepEqual(drills.begin(order), { dependency: 'coordination', until: 1_000_000 + 200 + 10_000 })
  assert.equal(drills.begin(order), 'a drill of coordination is running')
  assert.ok(!drills.isGone('coordination'))
  assert.deepEqual(clock.run(), [200])
  assert.ok(drills.isGone('coordination') && !drills.isGone('shared-state'))
  assert.deepEqual(clock.run(), [10_000])
  assert.ok(!drills.isGone('coordination'))
  assert.equal(drills.state, undefined)
  assert.equal(drills.begin({ ...order, dependency: 'shared-state' }), 'nothing here depends on shared-state')
})

it('while it plays gone nothing is read, written, asked, answered or heard', async () => {
  const { drilled, other, drills, clock } = scene()
  const heard: unknown[] = []
  drilled.subscribe('news', (value) => heard.push(value))
  drilled.serve('qmq.v1.00.status', async () => 'well')
  await drilled.put('state/00', 1)
  drills.begin(order)
  clock.run()
  await assert.rejects(drilled.get('state/00'), { code: 'ECONNREFUSED' })
  await assert.rejects(drilled.list(''), { code: 'ECONNREFUSED' })
  await assert.rejects(drilled.now(), { code: 'ECONNREFUSED' })
  assert.deepEqual(await drilled.put('state/00', 2), { kind: 'unreachable' })
  assert.deepEqual(await drilled.create('lease/x', 2), { kind: 'unreachable' })
  assert.deepEqual(await drilled.delete('state/00'), { kind: 'unreachable' })
  assert.deepEqual(await drilled.request('qmq.v1.01.status', {}, 50), { kind: 'no-responder' })
  assert.deepEqual(await other.request('qmq.v1.00.status', {}, 5000), { kind: 'no-responder' })
  drilled.publish('news', 'of the drilled')
  other.publish('news', 'of the other')
  assert.equal((await other.get('state/00'))?.value, 1)
  clock.run()
  assert.deepEqual(await other.request('qmq.v1.00.status', {}, 5000), { kind: 'reply', value: 'well' })
  other.publish('news', 'afterwards')
  assert.equal(await eventually(() => heard.at(-1)), 'afterwards')
  assert.deepEqual(heard, ['afterwards'])
})

it('what was asked before the drill and is answered meanwhile is not heard, though it was done', async () => {
  const { drilled, other, drills, clock } = scene()
  const writing = drilled.put('state/00', 7)
  drills.begin(order)
  clock.run()
  assert.deepEqual(await writing, { kind: 'unreachable' })
  assert.equal((await other.get('state/00'))?.value, 7)
})

it('a watch is told at the end what changed meanwhile, the newest of each key', async () => {
  const { drilled, other, drills, clock } = scene()
  const changes: Change[] = []
  const watch = drilled.watch('state/', (change) => changes.push(change))
  await other.put('state/00', 1)
  await eventually(() => (changes.length > 0 ? true : undefined))
  drills.begin(order)
  clock.run()
  for (const value of [2, 3]) await other.put('state/01', value)
  await other.delete('state/00')
  assert.equal(changes.length, 1)
  await other.list('')
  clock.run()
  const seen = changes.slice(1).map(({ key, entry }) => [key, entry?.value])
  assert.deepEqual(seen, [
    ['state/01', 3],
    ['state/00', undefined],
  ])
  watch.stop()
})
