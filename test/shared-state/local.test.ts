/** The contract in one process, on time that a test lets pass, and the bounds of its memory. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { LocalSharedState } from '../../services/runtime/local-shared-state.ts'
import type { Clock } from '../../services/runtime/world.ts'
import { known } from './clients.ts'
import { sharedStateContract } from './contract.ts'

function clockAt(time: { now: number }): Clock {
  const none = () => {
    throw new Error('the embedded store needs no timer')
  }
  return { now: () => time.now, monotonic: () => time.now, after: none, soon: none }
}

sharedStateContract('this process', async () => {
  const time = { now: 0.25 }
  const state = new LocalSharedState(clockAt(time))
  const pass = async (ms: number) => {
    time.now += ms
  }
  return { one: state, two: state, pass }
})

describe('the memory of shared state in one process', () => {
  it('forgets the oldest past its bound, in each kind by itself', async () => {
    const state = new LocalSharedState(clockAt({ now: 0 }), { entriesMax: 100, holdersMax: 10 })
    const rate = { name: 'r', events: 1, perMs: 1000 }
    const allowed = (subject: string) =>
      known<{ allowed: boolean }>((answered) => state.takeRate(rate, subject, 1, answered))
    await known((answered) => state.keepContents(['kept'], 1000, answered))
    for (let index = 0; index < 1000; index++) assert.equal((await allowed(`s${index}`)).allowed, true)
    assert.equal((await allowed('s999')).allowed, false)
    assert.equal((await allowed('s900')).allowed, false)
    assert.equal((await allowed('s899')).allowed, true)
    assert.equal((await known<ReadonlySet<string>>((answered) => state.takeContents(['kept'], answered))).size, 1)
  })

  it('holds no more holders of one subject than it may', async () => {
    const state = new LocalSharedState(clockAt({ now: 0 }), { entriesMax: 100, holdersMax: 10 })
    const terms = { name: 's', slotsMax: 1, ttlMs: 1000 }
    for (let index = 0; index < 20; index++) {
      const { taken } = await known<{ taken: boolean }>((answered) => state.keepSlot(terms, 'x', `h${index}`, answered))
      assert.equal(taken, index < 10)
    }
  })

  it('keeps a bucket exact over many small refills', async () => {
    const time = { now: 0 }
    const state = new LocalSharedState(clockAt(time))
    const rate = { name: 'r', events: 7, perMs: 1000 }
    let allowed = 0
    for (; time.now < 100_000; time.now += 0.7) {
      state.takeRate(rate, 'x', 1, (answer) => {
        if (answer.kind === 'known' && answer.value.allowed) allowed++
      })
    }
    assert.ok(allowed >= 700 && allowed <= 707, `${allowed}`)
  })
})
