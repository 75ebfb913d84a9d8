/** One answer for each call, whatever the server and the event loop do. */

import assert from 'node:assert/strict'
import { stat } from 'node:fs/promises'
import { describe, it } from 'node:test'
import type { SharedAnswer } from '../../services/contract/shared-state.ts'
import { PendingCalls } from '../../services/runtime/pending-calls.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'

const limits = { deadlineMs: 20, openMax: 3, missesMax: 2 }
const number = (reply: unknown) => (typeof reply === 'number' ? reply : undefined)
const sleep = (delayMs: number) => new Promise<void>((resolve) => setTimeout(resolve, delayMs))

function pending(): {
  calls: PendingCalls
  givenUp: string[]
  ask: (reply: Promise<unknown>) => SharedAnswer<number>[]
} {
  const givenUp: string[] = []
  const calls = new PendingCalls(new SystemClock(), limits, (why) => givenUp.push(why))
  const ask = (reply: Promise<unknown>) => {
    const answers: SharedAnswer<number>[] = []
    calls.call(
      () => reply,
      number,
      (answer) => answers.push(answer),
    )
    return answers
  }
  return { calls, givenUp, ask }
}

describe('calls that wait for a reply', () => {
  it('are answered by the reply, by what is wrong with it, or by the deadline, once', async () => {
    const { ask, givenUp } = pending()
    const late = Promise.withResolvers<unknown>()
    const answers = [ask(Promise.resolve(7)), ask(Promise.reject(new Error('NOPERM'))), ask(late.promise)]
    await sleep(60)
    late.resolve(8)
    const odd = ask(Promise.resolve('7'))
    await sleep(5)
    assert.deepEqual(
      [...answers, odd].map((list) => list.map((answer) => (answer.kind === 'known' ? answer.value : answer.why))),
      [[7], ['NOPERM'], ['no reply within 20 ms'], ['a reply that is no answer']],
    )
    assert.deepEqual(givenUp, ['no reply within 20 ms', 'a reply that is no answer'])
  })

  it('that have their reply in time are not late because this process was', async () => {
    const { ask, givenUp } = pending()
    // Done elsewhere while this process is busy, and told to it after the timers.
    const answers = ask(stat('/').then(() => 7))
    const until = performance.now() + 80
    while (performance.now() < until);
    await sleep(30)
    assert.deepEqual(answers, [{ kind: 'known', value: 7 }])
    assert.deepEqual(givenUp, [])
  })

  it('are not sent past the bound, and are again when replies have come', async () => {
    const { ask } = pending()
    const stuck = Promise.withResolvers<unknown>()
    for (let count = 0; count < 3; count++) ask(stuck.promise)
    await sleep(60)
    assert.deepEqual(ask(Promise.resolve(7)), [{ kind: 'gone', why: 'too many calls wait for a reply' }])
    stuck.resolve(1)
    await sleep(1)
    const answers = ask(Promise.resolve(7))
    await sleep(1)
    assert.deepEqual(answers, [{ kind: 'known', value: 7 }])
  })
})
