/**
 * The contract of coordination: what every back end must do, whatever carries it. Each case gets two clients of one store.
 */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Change, Coordination, KeyLifetimes } from '../../services/contract/coordination.ts'

export interface BackEnd {
  readonly one: Coordination
  readonly two: Coordination
  close(): Promise<void>
}

/** `lifetimes`: of this store's leases and states, where a case wants short ones. */
export type OpenBackEnd = (lifetimes?: KeyLifetimes) => Promise<BackEnd>

export function coordinationContract(name: string, open: OpenBackEnd): void {
  const cases: readonly [string, (backEnd: BackEnd) => Promise<void>][] = [
    ['what one writes the other reads', readsBack],
    ['create and update let one writer win', compareAndSwap],
    ['revisions rise by every change of the store', risingRevisions],
    ['a list holds what is below the prefix, by key', lists],
    ['a watch tells what is there, then every change, until it stops', watches],
    ['a request reaches who serves the subject and brings the reply back', requests],
    ['a request ends when nobody serves, nobody answers in time, or the server refuses', failedRequests],
    ['the newest of several servers answers; the one before follows it', servers],
    ['a published value reaches every subscriber and nobody else', publishes],
    ['a value is a copy and keeps every JSON shape', copies],
    ['a prefix without a slash at its end is one key', exactKeys],
    ['the store has a clock', tellsTime],
    ['a closed client neither hangs nor pretends', closed],
  ]
  describe(`coordination by ${name}`, () => {
    for (const [title, run] of cases) {
      it(title, async () => {
        const backEnd = await open()
        try {
          await run(backEnd)
        } finally {
          await backEnd.close()
        }
      })
    }
  })
}

/** Waits until `found` gives a value; the runner's own limit ends a wait in vain. */
export async function eventually<Value>(found: () => Value | undefined): Promise<Value> {
  for (;;) {
    const value = found()
    if (value !== undefined) return value
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

async function readsBack({ one, two }: BackEnd): Promise<void> {
  assert.equal(await two.get('state/00'), undefined)
  const written = await one.put('state/00', { pid: 7 })
  assert.equal(written.kind, 'written')
  const entry = await two.get('state/00')
  assert.deepEqual(entry?.value, { pid: 7 })
  assert.equal(entry?.key, 'state/00')
  assert.equal(written.kind === 'written' && written.revision, entry?.revision)
  assert.equal((await two.delete('state/00')).kind, 'written')
  assert.equal(await one.get('state/00'), undefined)
}

async function compareAndSwap({ one, two }: BackEnd): Promise<void> {
  const created = await one.create('layout', { epoch: 1 })
  assert.equal(created.kind, 'written')
  assert.deepEqual(await two.create('layout', { epoch: 9 }), { kind: 'conflict' })
  const revision = created.kind === 'written' ? created.revision : -1
  assert.equal((await two.update('layout', { epoch: 2 }, revision)).kind, 'written')
  assert.deepEqual(await one.update('layout', { epoch: 3 }, revision), { kind: 'conflict' })
  assert.deepEqual(await one.update('absent', {}, revision), { kind: 'conflict' })
  assert.deepEqual((await one.get('layout'))?.value, { epoch: 2 })
}

async function risingRevisions({ one, two }: BackEnd): Promise<void> {
  const revisions: number[] = []
  for (const client of [one, two, one]) {
    const result = await client.put(`key/${revisions.length}`, revisions.length)
    if (result.kind === 'written') revisions.push(result.revision)
  }
  await one.delete('key/0')
  const last = await two.put('key/0', 'again')
  if (last.kind === 'written') revisions.push(last.revision)
  assert.equal(revisions.length, 4)
  assert.deepEqual(
    revisions,
    [...new Set(revisions)].sort((a, b) => a - b),
  )
}

async function lists({ one, two }: BackEnd): Promise<void> {
  await one.put('state/90', 1)
  await one.put('layout', 2)
  await one.put('state/00', 3)
  const entries = await two.list('state/')
  assert.deepEqual(
    entries.map((entry) => [entry.key, entry.value]),
    [
      ['state/00', 3],
      ['state/90', 1],
    ],
  )
}

async function watches({ one, two }: BackEnd): Promise<void> {
  await one.put('state/00', 'old')
  const seen: string[] = []
  const note = (change: Change) => seen.push(`${change.key} ${change.entry?.value ?? 'gone'}`)
  const watch = two.watch('state/', note)
  await eventually(() => seen[0])
  await one.put('other', 'unseen')
  await one.put('state/00', 'new')
  await one.delete('state/00')
  await one.put('state/01', 'born')
  await eventually(() => seen[3])
  assert.deepEqual(seen, ['state/00 old', 'state/00 new', 'state/00 gone', 'state/01 born'])
  watch.stop()
  await two.get('state/01')
  await one.put('state/01', 'unheard')
  await two.get('state/01')
  assert.equal(seen.length, 4)
}

async function requests({ one, two }: BackEnd): Promise<void> {
  one.serve('qmq.v1.00.audit', async (value) => ({ asked: value, by: 'one' }))
  await one.now()
  const results = await Promise.all([1, 2, 3].map((number) => two.request('qmq.v1.00.audit', { number }, 5_000)))
  assert.deepEqual(
    results,
    [1, 2, 3].map((number) => ({ kind: 'reply', value: { asked: { number }, by: 'one' } })),
  )
}

async function failedRequests({ one, two }: BackEnd): Promise<void> {
  assert.deepEqual(await two.request('nobody', null, 5_000), { kind: 'no-responder' })
  one.serve('silent', () => new Promise(() => {}))
  one.serve('refusing', () => Promise.reject(new Error('not today')))
  one.serve('throwing', () => {
    throw new Error('at once')
  })
  await one.now()
  assert.deepEqual(await two.request('silent', null, 20), { kind: 'timeout' })
  assert.deepEqual(await two.request('refusing', null, 5_000), { kind: 'refused', why: 'not today' })
  assert.deepEqual(await two.request('throwing', null, 5_000), { kind: 'refused', why: 'at once' })
  const orphan = two.request('silent', null, 60_000)
  await two.now()
  one.close()
  assert.deepEqual(await orphan, { kind: 'no-responder' })
}

async function servers({ one, two }: BackEnd): Promise<void> {
  one.serve('who', async () => 'one')
  await one.now()
  const newer = two.serve('who', async () => 'two')
  await two.now()
  assert.deepEqual(await one.request('who', null, 5_000), { kind: 'reply', value: 'two' })
  newer.stop()
  await two.now()
  assert.deepEqual(await two.request('who', null, 5_000), { kind: 'reply', value: 'one' })
}

async function publishes({ one, two }: BackEnd): Promise<void> {
  const heard: string[] = []
  one.subscribe('news', (value) => heard.push(`one ${value}`))
  const gone = two.subscribe('news', (value) => heard.push(`gone ${value}`))
  two.subscribe('news', (value) => heard.push(`two ${value}`))
  two.subscribe('weather', (value) => heard.push(`weather ${value}`))
  gone.stop()
  await Promise.all([one.now(), two.now()])
  one.publish('news', 1)
  await eventually(() => heard[1])
  await Promise.all([one.now(), two.now()])
  assert.deepEqual(heard.sort(), ['one 1', 'two 1'])
}

async function copies({ one, two }: BackEnd): Promise<void> {
  const value = { list: [1, 'zwei', null, true, { deep: { deeper: 0.5 } }], text: 'ä\n\u0000€\u{1f4ec}' }
  await one.put('shape', value)
  const first = (await two.get('shape'))?.value
  assert.deepEqual(first, value)
  assert.ok(typeof first === 'object' && first !== null && !Array.isArray(first))
  Object.assign(first, { text: 'changed' })
  assert.deepEqual((await two.get('shape'))?.value, value)
}

async function exactKeys({ one, two }: BackEnd): Promise<void> {
  const seen: string[] = []
  two.watch('layout', (change) => seen.push(`${change.key} ${change.entry?.value ?? 'gone'}`))
  await two.now()
  for (const key of ['layouts', 'layout/old', 'layout']) await one.put(key, key)
  await eventually(() => seen[0])
  await two.now()
  assert.deepEqual(seen, ['layout layout'])
  assert.deepEqual(
    (await two.list('layout')).map((entry) => entry.key),
    ['layout'],
  )
}

async function tellsTime({ one, two }: BackEnd): Promise<void> {
  const before = Date.now()
  const times = [await one.now(), await two.now()]
  for (const time of times) assert.ok(time >= before - 1_000 && time <= Date.now() + 1_000)
}

async function closed({ one, two }: BackEnd): Promise<void> {
  one.close()
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.deepEqual(await one.put('key', 1), { kind: 'unreachable' })
  assert.deepEqual(await one.create('key', 1), { kind: 'unreachable' })
  await assert.rejects(one.get('key'), /cannot be reached/)
  await assert.rejects(one.now(), /cannot be reached/)
  assert.deepEqual(await one.request('who', null, 60_000), { kind: 'no-responder' })
  assert.equal(await two.get('key'), undefined)
}
