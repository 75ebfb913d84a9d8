/** What a watcher is told of a store that lags, goes back, and comes back on a new link. */

import assert from 'node:assert/strict'
import { it } from 'node:test'
import type { Change, Entry } from '../../services/contract/coordination.ts'
import { NatsWatch } from '../../services/runtime/nats-watch.ts'
import type { Clock } from '../../services/runtime/world.ts'

const clock: Clock = {
  now: () => 0,
  monotonic: () => 0,
  after: () => ({ cancel() {} }),
  soon: (task) => task(),
}

function entry(value: string, revision: number): Entry {
  return { key: 'layout', value, revision }
}

/** A watch, what it told, and what the next reading brings. */
function watched() {
  const told: unknown[] = []
  const store: { entries: readonly Entry[] } = { entries: [] }
  const changed = ({ entry: there }: Change) => told.push(there?.value)
  const watch = new NatsWatch({ clock, read: async () => store.entries, changed, pollMs: 1000 })
  const read = async (...entries: readonly Entry[]) => {
    store.entries = entries
    await watch.poll()
  }
  const hear = (value: string, revision: number) => watch.hear('layout', entry(value, revision), revision)
  return { watch, told, read, hear }
}

it('a replica that lags once is not believed, and a store that went back is, at the second reading', async () => {
  const { told, read, hear } = watched()
  hear('new', 9)
  await read(entry('old', 7))
  await read(entry('new', 9))
  await read(entry('old', 7))
  assert.deepEqual(told, ['new'])
  await read(entry('old', 7))
  assert.deepEqual(told, ['new', 'old'])
  hear('another', 8)
  await read(entry('another', 8))
  assert.deepEqual(told, ['new', 'old', 'another'])
})

it('another value under the revision that is known is told', async () => {
  const { told, read, hear } = watched()
  hear('one', 9)
  await read(entry('two', 9))
  await read(entry('two', 9))
  assert.deepEqual(told, ['one', 'two'])
})

it('on a new link the first word counts, whatever its revision, and what is gone is told', async () => {
  const { watch, told, read, hear } = watched()
  hear('new', 9)
  watch.begin()
  hear('after the cut', 8)
  hear('late', 7)
  assert.deepEqual(told, ['new', 'after the cut'])
  watch.begin()
  await read()
  assert.deepEqual(told, ['new', 'after the cut', undefined])
})
