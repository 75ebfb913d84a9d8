/** A hand-over survives the loss of power at every durable write of either side, with unheard answers and cancels at every point. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crashHandover, type HandoverCrash } from './handover-crashes.ts'
import { plants } from './planted-faults.ts'
import { honestParts } from './process-parts.ts'

const writes = Array.from({ length: 24 }, (_, index) => index + 1)

function crashes(place: HandoverCrash['place'], isCancelled: boolean): HandoverCrash[] {
  return writes.flatMap((atWrite) =>
    [0, 0.8].map((deafness) => {
      const cancelAfterMs = isCancelled ? 1 + ((atWrite * 37) % 90) : undefined
      return { place, atWrite, deafness, cancelAfterMs }
    }),
  )
}

for (const place of ['source', 'target'] as const) {
  for (const isCancelled of [false, true]) {
    const when = isCancelled ? ', and the plan cancelled' : ''
    test(`the ${place} loses its power at each durable write${when}`, async () => {
      for (const crash of crashes(place, isCancelled)) {
        assert.deepEqual(await crashHandover(crash), [], JSON.stringify(crash))
      }
    })
  }
}

for (const name of ['moved-before-answer', 'taken-before-durable', 'key-forgotten'] as const) {
  test(`planted fault ${name} shows at some write`, async () => {
    const all = [...crashes('source', false), ...crashes('target', false)]
    for (const crash of all) {
      const violations = await crashHandover({ ...crash, parts: { ...honestParts, ...plants[name] } })
      if (violations.some((violation) => violation.startsWith('message '))) return
    }
    assert.fail('not found')
  })
}
