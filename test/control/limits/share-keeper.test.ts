/** Keeper and asker over a coordination in this process, with time that the test lets pass. */

import assert from 'node:assert/strict'
import { it } from 'node:test'
import { type Coordination, type Json, layoutKey } from '../../../services/contract/coordination.ts'
import { ceilingsOf, shareTerms } from '../../../services/contract/share.ts'
import { ShareKeeper } from '../../../services/control/limits/share-keeper.ts'
import { HeldShares } from '../../../services/queue/held-shares.ts'
import { ShareAsker } from '../../../services/queue/share-asker.ts'
import type { Clock } from '../../../services/runtime/world.ts'
import { layoutOf, shippedConf } from '../../support/shipped-layout.ts'

const layout = layoutOf(`${shippedConf}\ncluster-limits:\n  gmail.com: { concurrency: 120 }\n`)
const name = 'concurrency gmail.com'

class ManualClock implements Clock {
  #now = 0
  #timers: { at: number; task: () => void }[] = []

  now(): number {
    return this.#now
  }

  monotonic(): number {
    return this.#now
  }

  after(delayMs: number, task: () => void): { cancel(): void } {
    const timer = { at: this.#now + delayMs, task }
    this.#timers.push(timer)
    return { cancel: () => this.#timers.splice(this.#timers.indexOf(timer), 1) }
  }

  soon(task: () => void): void {
    queueMicrotask(task)
  }

  async pass(ms: number): Promise<void> {
    const until = this.#now + ms
    for (;;) {
      // What was asked is answered before time goes on.
      await new Promise((resolve) => setImmediate(resolve))
      const next = this.#timers.toSorted((one, other) => one.at - other.at)[0]
      if (next === undefined || next.at > until) break
      this.#timers.splice(this.#timers.indexOf(next), 1)
      this.#now = next.at
      next.task()
    }
    this.#now = until
  }
}

/** Only what keeper and asker use. */
function coordination(isCutOff: () => boolean): Coordination {
  const served = new Map<string, (value: Json) => Promise<Json>>()
  const parts: Partial<Coordination> = {
    get: async () => ({ key: layoutKey, value: layout as unknown as Json, revision: 1 }),
    serve: (subject, answer) => {
      served.set(subject, answer)
      return { stop: () => served.delete(subject) }
    },
    request: async (subject, value) => {
      const answer = served.get(subject)
      if (answer === undefined || isCutOff()) return { kind: 'no-responder' }
      return answer(value).then(
        (reply) => ({ kind: 'reply', value: reply }),
        (error: unknown) => ({ kind: 'refused', why: String(error) }),
      )
    },
  }
  return parts as Coordination
}

it('an instance has its floor alone, its share while a keeper leads, nothing in between, and its floor again', async () => {
  const clock = new ManualClock()
  let isCutOff = false
  let fence: number | undefined = 7
  const store = coordination(() => isCutOff)
  const shares = new HeldShares(shareTerms, 0)
  shares.ceilings = ceilingsOf(layout)
  let told = 0
  const asker = new ShareAsker({
    ...{ coordination: store, clock, instance: '80', shares },
    wants: () => [{ ceiling: name, wanted: 500, held: 0 }],
    onTold: () => {
      told++
    },
  })
  asker.start()
  const keeper = new ShareKeeper({ coordination: store, clock, fence: () => fence })
  const allowance = () => shares.allowance(name, clock.monotonic())
  await clock.pass(shareTerms.quietMs - 1)
  assert.equal(allowance(), 0)
  await clock.pass(1)
  assert.equal(allowance(), 10)
  keeper.start(7)
  await clock.pass(shareTerms.lifeMs - 2000)
  assert.equal(allowance(), 10)
  await clock.pass(6000)
  // The floors of 00, 01, 02 and 99, which say nothing, are kept for them.
  assert.equal(allowance(), 80)
  fence = undefined
  await clock.pass(shareTerms.usableMs + shareTerms.askMs)
  assert.equal(allowance(), 0)
  await clock.pass(shareTerms.quietMs)
  assert.equal(allowance(), 10)
  fence = 8
  await clock.pass(4000)
  assert.equal(allowance(), 80)
  isCutOff = true
  await clock.pass(shareTerms.usableMs + 4000)
  assert.equal(allowance(), 0)
  keeper.stop()
  asker.stop()
  const before = told
  await clock.pass(20_000)
  assert.equal(told, before)
})
