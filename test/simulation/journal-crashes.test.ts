/** The journal keeps what it promised through kills, power cuts, full disks and failed datasyncs. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { World } from '../../services/runtime/world.ts'
import { changedDisk, changedFiles } from './changed-world.ts'
import { crashJournal } from './journal-crashes.ts'

test('200 journals of five lives each, killed and cut off', async () => {
  for (let seed = 1; seed <= 200; seed++) {
    const { violations } = await crashJournal({ seed, lives: 5 })
    assert.deepEqual(violations, [], `seed ${seed}`)
  }
})

test('200 journals on disks that fill up and fail to sync as well', async () => {
  for (let seed = 1; seed <= 200; seed++) {
    const { violations } = await crashJournal({ seed, lives: 5, diskFaults: true })
    assert.deepEqual(violations, [], `seed ${seed}`)
  }
})

test('the same seed gives the same run', async () => {
  const first = await crashJournal({ seed: 7 })
  assert.deepEqual(await crashJournal({ seed: 7 }), first)
})

async function firstFound(world: (world: World) => World): Promise<string | undefined> {
  for (let seed = 1; seed <= 50; seed++) {
    const { violations } = await crashJournal({ seed, world })
    if (violations[0] !== undefined) return violations[0]
  }
  return undefined
}

test('a journal that is never synced is found out', async () => {
  const found = await firstFound((world) =>
    changedFiles(world, (file) => ({ datasync: () => file.size().then(() => {}) })),
  )
  assert.match(found ?? '', /^lost|^forgotten|^damage/)
})

test('a journal whose names are never synced is found out', async () => {
  const found = await firstFound((world) =>
    changedDisk(world, (disk) => ({ syncDirectory: (directory) => disk.list(directory).then(() => {}) })),
  )
  assert.match(found ?? '', /^lost|^forgotten/)
})
