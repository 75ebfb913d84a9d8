/** Whole clusters from seeds: the promises hold, each planted fault is noticed, and a seed is one run. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type PlantName, plants } from './planted-faults.ts'
import { type RunOptions, type RunResult, simulate } from './simulate.ts'

const seeds = 150
/** A planted fault is to be found within this many. */
const plantSeeds = 200

async function runs(count: number, options: Omit<RunOptions, 'seed'>): Promise<RunResult[]> {
  const results: RunResult[] = []
  for (let seed = 1; seed <= count; seed++) results.push(await simulate({ seed, ...options }))
  return results
}

function eventsOf(results: readonly RunResult[]): Map<string, number> {
  const events = new Map<string, number>()
  for (const { ledger } of results) {
    for (const [event, count] of ledger) events.set(event, (events.get(event) ?? 0) + count)
  }
  return events
}

test(`nothing acknowledged is lost, over ${seeds} seeds with faults`, async () => {
  const results = await runs(seeds, {})
  for (const { seed, violations } of results) assert.deepEqual(violations, [], `seed ${seed}`)
  const events = eventsOf(results)
  const named = ['accepted', 'delivered', 'deferred', 'failed', 'bounced', 'repeated', 'ended']
  for (const event of [...named, 'handed-over', 'taken-over']) {
    assert.ok((events.get(`queue ${event}`) ?? 0) > 0, `the runs never made a queue say ${event}`)
  }
  for (const event of ['received', 'refused']) {
    assert.ok((events.get(`edge ${event}`) ?? 0) > 0, `the runs never made an edge say ${event}`)
  }
  for (const event of ['draining', 'sealed', 'receipt', 'left']) {
    assert.ok((events.get(`leader ${event}`) ?? 0) > 0, `the runs never had an instance ${event}`)
  }
  const faults = new Set(results.flatMap((result) => result.faults))
  assert.ok(faults.size >= 18, `only ${[...faults].join(', ')} were tried`)
  assert.ok(results.reduce((sum, { crashes }) => sum + crashes, 0) > seeds)
})

test('without faults every letter is taken at its first try and nothing comes twice', async () => {
  const results = await runs(20, { faults: [] })
  for (const { seed, violations } of results) assert.deepEqual(violations, [], `seed ${seed}`)
  const events = eventsOf(results)
  const letters = results.reduce((sum, result) => sum + result.letters, 0)
  assert.equal(events.get('edge received'), letters)
  for (const event of ['queue repeated', 'queue deferred', 'edge refused']) assert.equal(events.get(event), undefined)
})

test('the same seed is the same run', async () => {
  const traces = new Set<number>()
  for (const seed of [3, 14, 159]) {
    const first = await simulate({ seed })
    const second = await simulate({ seed })
    assert.deepEqual({ ...second, log: [] }, { ...first, log: [] })
    traces.add(first.trace)
  }
  assert.equal(traces.size, 3)
})

for (const plant of Object.keys(plants) as PlantName[]) {
  test(`planted fault ${plant} is found within ${plantSeeds} seeds`, async () => {
    for (let seed = 1; seed <= plantSeeds; seed++) {
      const { violations } = await simulate({ seed, plant })
      const expected = expectedOf(plant)
      if (violations.some((violation) => expected.test(violation))) return
    }
    assert.fail('not found')
  })
}

/** What gives a plant away; a violation of another kind would be luck. */
function expectedOf(plant: PlantName): RegExp {
  if (plant === 'second-instance') return /^copy: ok-/
  if (plant === 'origin-forgotten') return /^receipt: /
  if (plant === 'other-target-when-unclear' || plant === 'key-forgotten') return /^moved: |^copy: /
  return /^lost: |^damaged: |found damage/
}
