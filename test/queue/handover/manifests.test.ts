/** Manifests as files: what was told is there, what was cut off spoils nothing, and what is asked for comes in order and once. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import { type ManifestEntry, writeEntry } from '../../../services/contract/manifest.ts'
import { LineFile } from '../../../services/queue/handover/line-file.ts'
import { Manifests } from '../../../services/queue/handover/manifests.ts'
import { transferKey } from '../../../services/queue/id-index.ts'
import { sha256 } from '../../../services/runtime/digest.ts'
import { systemWorld } from '../../../services/runtime/system-world.ts'
import type { Disk, DiskFile } from '../../../services/runtime/world.ts'
import { changed } from '../../simulation/changed-world.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'
import { messageId, planId, silent } from './place.ts'

const world = systemWorld(silent)

function entry(number: number, given: Partial<ManifestEntry> = {}): ManifestEntry {
  const hashes = { envelope: 'e'.repeat(64), body: 'b'.repeat(64) }
  return {
    ...{ source: '02', number, target: '01', id: `${messageId}-${number.toString(36)}`, ...hashes },
    ...{ bytes: 10, recipients: 1, dueAt: 5, attempts: 2, ...given },
  }
}

function open(home: string): Manifests {
  return new Manifests(world, home, { instance: '01', onFatal: assert.fail })
}

function append(manifests: Manifests, one: ManifestEntry): Promise<void> {
  return new Promise((resolve, reject) => {
    manifests.append(planId, one, (error) => (error === undefined ? resolve() : reject(error)))
  })
}

test('manifest: parts by peer, each line once, in order of the keys', async (t) => {
  const home = temporaryDirectory(t)
  const manifests = open(home)
  t.after(() => manifests.close())
  const numbers = [9, 10, 1, 9, 2]
  await Promise.all(numbers.map((number) => append(manifests, entry(number))))
  await append(manifests, entry(1, { target: '03' }))
  await append(manifests, entry(7, { source: '04', bytes: 30, recipients: 2 }))
  const { parts } = await manifests.manifest(planId)
  assert.deepEqual(
    parts.map(({ source, target, messages }) => [source, target, messages]),
    [
      ['02', '01', 3],
      ['02', '03', 1],
      ['04', '01', 1],
    ],
  )
  const lines = [10, 2, 9].map((number) => writeEntry(entry(number)))
  assert.equal(parts[0]?.digest, sha256([lines.map((line) => `${line}\n`).join('')]))
  assert.deepEqual([parts[2]?.bytes, parts[2]?.recipients], [30, 2])
  const part = { source: '02', target: '01' }
  assert.deepEqual(await manifests.page(planId, part, '', 2), { lines: lines.slice(0, 2), more: true })
  assert.deepEqual(await manifests.page(planId, part, '02>2', 2), { lines: lines.slice(2), more: false })
  assert.deepEqual(await manifests.page(planId, { source: '09', target: '01' }, '', 2), { lines: [], more: false })
  await append(manifests, entry(3))
  assert.equal((await manifests.manifest(planId)).parts[0]?.messages, 4, 'what came after it was read counts')
})

test('manifest: a line that a crash cut off is none, and the next one is whole', async (t) => {
  const home = temporaryDirectory(t)
  const first = open(home)
  await append(first, entry(1))
  await first.close()
  fs.appendFileSync(`${home}/${planId}.manifest`, writeEntry(entry(2)).slice(0, 40))
  const second = open(home)
  t.after(() => second.close())
  await append(second, entry(3))
  const { lines } = await second.page(planId, { source: '02', target: '01' }, '', 9)
  assert.deepEqual(
    lines,
    [1, 3].map((number) => writeEntry(entry(number))),
  )
  const keys = await second.keys(planId)
  const knows = (number: number): boolean => keys.has(transferKey({ instance: '02', number }, entry(number).id))
  assert.deepEqual([1, 2, 3].map(knows), [true, false, true])
})

test('manifest: only a plan is a file', async (t) => {
  const manifests = open(temporaryDirectory(t))
  for (const plan of ['', '../seal', `${planId}/x`]) await assert.rejects(manifests.manifest(plan), /is no plan/)
  assert.deepEqual(await manifests.manifest(planId), { plan: planId, instance: '01', parts: [] })
})

/** A disk whose files fail as told; `written` is what was made durable. */
function failing(fail: { code: string | undefined }): { disk: Disk; written: string[] } {
  const written: string[] = []
  const broken = (file: DiskFile): DiskFile =>
    changed(file, {
      writeDurably: async (chunks, position) => {
        if (fail.code !== undefined) throw Object.assign(new Error('broken'), { code: fail.code })
        await file.writeDurably(chunks, position)
        written.push(Buffer.concat([...chunks]).toString('latin1'))
      },
    })
  const disk = changed(world.disk, { open: async (path, mode) => broken(await world.disk.open(path, mode)) })
  return { disk, written }
}

test('line file: without room a line fails alone; after any other failure nothing is written', async (t) => {
  const fail: { code: string | undefined } = { code: undefined }
  const { disk, written } = failing(fail)
  const path = `${temporaryDirectory(t)}/lines`
  const fatal: Error[] = []
  const file = new LineFile(disk, path, (error) => fatal.push(error))
  const line = (text: string): Promise<string> =>
    new Promise((resolve) => file.append(text, (error) => resolve(error === undefined ? 'ok' : error.message)))
  assert.equal(await line('one'), 'ok')
  fail.code = 'ENOSPC'
  assert.equal(await line('two'), 'broken')
  assert.equal(fatal.length, 0)
  fail.code = undefined
  assert.deepEqual(await Promise.all([line('three'), line('four')]), ['ok', 'ok'])
  assert.equal(fs.readFileSync(path, 'latin1'), 'one\nthree\nfour\n')
  assert.equal(written.at(-1), 'three\nfour\n', 'what waits together is written together')
  fail.code = 'EIO'
  assert.equal(await line('five'), 'broken')
  fail.code = undefined
  assert.equal(await line('six'), 'broken')
  assert.equal(fatal.length, 1)
  await file.close()
})

test('line file: what an earlier process wrote last is written again before it counts', async (t) => {
  const path = `${temporaryDirectory(t)}/lines`
  fs.writeFileSync(path, 'one\ntwo\n')
  const { disk, written } = failing({ code: undefined })
  const file = new LineFile(disk, path, assert.fail)
  await file.open()
  assert.deepEqual(written, ['one\ntwo\n'])
  await file.close()
})
