/** One seed is one run: same seed, same trace; another seed, another trace. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from './seeded-random.ts'
import { host, surroundings } from './surroundings.ts'

async function trace(seed: number): Promise<number> {
  const around = surroundings(seed)
  const { time } = around
  const machine = host(around, 'h')
  const process = machine.start('p')
  const { disk, network, clock, random } = process.world
  await Promise.resolve()
  const listening = network.listen({ host: 'h', port: 1 }, (connection) => ({
    onOpen: () => time.note('open'),
    onSecure: () => {},
    onData: (chunk) => {
      time.note(chunk.toString('latin1'))
      connection.write(chunk)
    },
    onDrain: () => {},
    onEnd: () => connection.end(),
    onClose: () => time.note('closed'),
  }))
  const work = async (): Promise<void> => {
    await listening
    const file = await disk.open('/f', 'create')
    for (let round = 0; round < 20; round++) {
      await Promise.all([file.write([random.bytes(3000)], round * 3000), file.datasync()])
      const connection = network.connect({ host: 'h', port: 1, timeoutMs: 100 }, silent)
      connection.write(random.bytes(2000))
      clock.after(random.below(50), () => connection.end())
    }
    await disk.syncDirectory('/')
  }
  work().catch((error: unknown) => time.note(String(error)))
  clock.after(30, () => machine.cutPower())
  await time.run(10_000)
  return time.trace
}

const silent = { onOpen() {}, onSecure() {}, onData() {}, onDrain() {}, onEnd() {}, onClose() {} }

test('the same seed gives the same trace, another seed another', async () => {
  const traces = new Set<number>()
  for (let seed = 1; seed <= 20; seed++) {
    const first = await trace(seed)
    assert.equal(await trace(seed), first)
    traces.add(first)
  }
  assert.equal(traces.size, 20)
})

test('seeded chance: equal seeds agree, forks are independent, below stays below', () => {
  const draw = (random: SeededRandom): number[] => Array.from({ length: 50 }, () => random.below(10))
  assert.deepEqual(draw(new SeededRandom(7)), draw(new SeededRandom(7)))
  assert.notDeepEqual(draw(new SeededRandom(7)), draw(new SeededRandom(8)))
  assert.notDeepEqual(draw(new SeededRandom(7).fork('a')), draw(new SeededRandom(7).fork('b')))
  const many = Array.from({ length: 10_000 }, () => 0)
  const random = new SeededRandom(1)
  const counts = Array.from({ length: 10 }, () => 0)
  for (const _ of many) {
    const value = random.below(10)
    counts[value] = (counts[value] ?? 0) + 1
  }
  for (const count of counts) assert.ok(count > 850 && count < 1150)
})

test('events of one instant fire in the order they were made, and promises settle between them', async () => {
  const { time } = surroundings(1)
  const seen: string[] = []
  for (const name of ['a', 'b', 'c']) {
    time.schedule(5, () => {
      seen.push(name)
      const chain = async (): Promise<void> => {
        for (let step = 0; step < 30; step++) await null
        seen.push(`${name} settled`)
      }
      chain().catch(() => {})
    })
  }
  time.schedule(1, () => seen.push('early'))
  time.schedule(2, () => seen.push('never')).cancel()
  await time.run(10)
  assert.deepEqual(seen, ['early', 'a', 'a settled', 'b', 'b settled', 'c', 'c settled'])
})
