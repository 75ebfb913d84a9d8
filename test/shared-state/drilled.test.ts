/** Shared state that can play gone: the whole contract while nobody plays, and what the edge's fall-back makes of it while somebody does. */

import assert from 'node:assert/strict'
import { it } from 'node:test'
import { DrilledSharedState } from '../../services/runtime/drilled-shared-state.ts'
import { Drills } from '../../services/runtime/drills.ts'
import { FallbackSharedState } from '../../services/runtime/fallback-shared-state.ts'
import { LocalSharedState } from '../../services/runtime/local-shared-state.ts'
import type { Clock } from '../../services/runtime/world.ts'
import { answerOf, known } from './clients.ts'
import { sharedStateContract } from './contract.ts'

const rate = { name: 'mail', events: 4, perMs: 1_000_000 }

/** A server's state, with its drills; `run` lets the timers that were asked for happen. */
function drilledState() {
  const time = { now: 0.25 }
  let timers: (() => void)[] = []
  const clock: Clock = {
    now: () => time.now,
    monotonic: () => time.now,
    after: (_delayMs, task) => {
      timers.push(task)
      return { cancel() {} }
    },
    soon: (task) => task(),
  }
  const run = () => {
    const due = timers
    timers = []
    for (const task of due) task()
  }
  const drills = new Drills(clock, () => {})
  const real = new LocalSharedState(clock)
  // A server that edges share, as far as the fall-back can tell.
  Object.defineProperty(real, 'reach', { value: 'cluster' })
  return { state: new DrilledSharedState(real, drills), local: new LocalSharedState(clock), drills, run, time }
}

sharedStateContract('a server that could play gone', async () => {
  const { state, time } = drilledState()
  const pass = async (ms: number) => {
    time.now += ms
  }
  return { one: state, two: state, pass }
})

it('while it plays gone the process goes by itself, and afterwards finds what the server had', async () => {
  const { state, local, drills, run } = drilledState()
  const edge = new FallbackSharedState(local)
  edge.use(state, 2)
  const take = () => known<{ allowed: boolean }>((answered) => edge.takeRate(rate, 'client', 1, answered))
  const takeMany = async (count: number) => {
    const verdicts: boolean[] = []
    for (let number = 0; number < count; number++) verdicts.push((await take()).allowed)
    return verdicts
  }
  assert.deepEqual(await takeMany(3), [true, true, true])
  assert.equal(edge.reach, 'cluster')
  drills.begin({ dependency: 'shared-state', forMs: 5000 })
  run()
  assert.equal(edge.reach, 'process')
  assert.deepEqual(await takeMany(3), [true, true, false], 'its part: half of four')
  const kept = await answerOf((answered) => edge.keepContents(['content'], 1000, answered))
  assert.deepEqual(kept, { kind: 'gone', why: 'a drill is running' })
  run()
  assert.equal(edge.reach, 'cluster')
  assert.deepEqual(await takeMany(2), [true, false], 'the server was asked for three')
})
