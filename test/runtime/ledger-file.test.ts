/** The ledger on disk: what is recorded is found again, whatever the file went through; a slow disk costs lines, not memory. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { it } from 'node:test'
import type { LedgerEvent } from '../../services/contract/ledger.ts'
import { defaultLedgerLimits, LedgerFile } from '../../services/runtime/ledger-file.ts'
import { searchLedger } from '../../services/runtime/ledger-search.ts'
import { silentLog } from '../../services/runtime/silent-log.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import type { Disk, DiskFile, Log, World } from '../../services/runtime/world.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const world = systemWorld(silentLog)

function eventOf(number: number, more: Partial<LedgerEvent> = {}): LedgerEvent {
  const id = `01M83RR83BV0FRYXJK5G${String(number).padStart(6, '0')}`
  return { id, tier: 'queue', instance: '00', event: 'accepted', at: 1_000 + number, ...more }
}

it('events of a transaction, its packages and bounces come back in order, bytes and all', async (t) => {
  const directory = path.join(temporaryDirectory(t), 'ledger')
  const ledger = new LedgerFile(world, directory)
  const own = [
    eventOf(7, { sender: 'j\u00fcrgen\u0000"\n@example.com', recipients: ['a@b.example', '\u00ff@b.example'] }),
    eventOf(7, { id: `${eventOf(7).id}-1`, event: 'delivered', to: 'smtp host[192.0.2.1]:25', text: 'ok' }),
    eventOf(7, { id: `${eventOf(7).id}-b`, event: 'bounced', bounce: 'x' }),
  ]
  for (let number = 0; number < 500; number++) ledger.record(eventOf(number + 100))
  for (const event of own) ledger.record(event)
  ledger.record(eventOf(8, { text: `mentions ${eventOf(7).id}` }))
  await ledger.flush()
  assert.deepEqual(await searchLedger(world.disk, directory, `${eventOf(7).id}-1`), own)
  assert.deepEqual(await searchLedger(world.disk, directory, eventOf(99_999).id), [])
  await ledger.close()
  assert.deepEqual(await searchLedger(world.disk, path.join(directory, 'absent'), eventOf(7).id), [])
})

it('lines leave by themselves after a moment', async (t) => {
  const directory = path.join(temporaryDirectory(t), 'ledger')
  const ledger = new LedgerFile(world, directory, { ...defaultLedgerLimits, flushMs: 5 })
  ledger.record(eventOf(1))
  const file = path.join(directory, 'current')
  while (!fs.existsSync(file) || fs.statSync(file).size === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  assert.equal(fs.readFileSync(file, 'utf8'), `${JSON.stringify(eventOf(1))}\n`)
  await ledger.close()
})

it('a full file gives way, old ones go, and what is left is still found', async (t) => {
  const directory = path.join(temporaryDirectory(t), 'ledger')
  const limits = { ...defaultLedgerLimits, fileBytesMax: 1_000, filesMax: 3 }
  const ledger = new LedgerFile(world, directory, limits)
  for (let number = 0; number < 100; number++) {
    ledger.record(eventOf(number))
    await ledger.flush()
  }
  await ledger.close()
  const names = fs.readdirSync(directory).sort()
  assert.equal(names.length, 4)
  assert.equal(names.at(-1), 'current')
  for (const name of names) assert.ok(fs.statSync(path.join(directory, name)).size < 1_200, name)
  assert.equal((await searchLedger(world.disk, directory, eventOf(99).id)).length, 1)
  assert.equal((await searchLedger(world.disk, directory, eventOf(80).id)).length, 1)
  assert.equal((await searchLedger(world.disk, directory, eventOf(0).id)).length, 0)
})

it('a line that a crash cut short spoils no other line', async (t) => {
  const directory = path.join(temporaryDirectory(t), 'ledger')
  fs.mkdirSync(directory)
  const whole = `${JSON.stringify(eventOf(1))}\n`
  fs.writeFileSync(path.join(directory, 'current'), whole + whole.slice(0, 70))
  const ledger = new LedgerFile(world, directory)
  ledger.record(eventOf(2))
  await ledger.close()
  const lines = fs.readFileSync(path.join(directory, 'current'), 'utf8').split('\n')
  assert.equal(lines.length, 4)
  assert.equal((await searchLedger(world.disk, directory, eventOf(1).id)).length, 1)
  assert.equal((await searchLedger(world.disk, directory, eventOf(2).id)).length, 1)
})

it('an event is found across the borders of what is read at once', async (t) => {
  const directory = path.join(temporaryDirectory(t), 'ledger')
  const ledger = new LedgerFile(world, directory)
  for (let number = 0; number < 12_000; number++) {
    ledger.record(eventOf(1, { at: number, text: 'x'.repeat(number % 300) }))
  }
  await ledger.close()
  assert.ok(fs.statSync(path.join(directory, 'current')).size > 2 * 1024 * 1024)
  const found = await searchLedger(world.disk, directory, eventOf(1).id)
  assert.deepEqual(
    found.map((event) => event.at),
    Array.from({ length: 12_000 }, (_, number) => number),
  )
})

/** A world whose files hold every write until `release`, and the warnings it heard. */
interface SlowWorld {
  readonly world: World
  readonly warnings: [string, unknown][]
  readonly openFiles: Set<DiskFile>
  release(): void
}

function slowWorld(fail: () => boolean): SlowWorld {
  const openFiles = new Set<DiskFile>()
  const warnings: [string, unknown][] = []
  const log: Log = { ...silentLog, warn: (event, fields) => warnings.push([event, fields]) }
  let release = () => {}
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  const open: Disk['open'] = async (name, mode) => {
    const file = await world.disk.open(name, mode)
    openFiles.add(file)
    const write: DiskFile['write'] = async (chunks, position) => {
      await gate
      if (fail()) throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
      await file.write(chunks, position)
    }
    const close = () => {
      openFiles.delete(file)
      return file.close()
    }
    return { write, read: (b, p) => file.read(b, p), size: () => file.size(), close } as DiskFile
  }
  const disk = { open, makeDirectory: (name: string) => world.disk.makeDirectory(name) } as Disk
  return { world: { ...world, disk, log }, warnings, openFiles, release }
}

it('a disk that does not follow costs the oldest lines, counted', async (t) => {
  const directory = path.join(temporaryDirectory(t), 'ledger')
  const slow = slowWorld(() => false)
  const ledger = new LedgerFile(slow.world, directory, { ...defaultLedgerLimits, batchBytes: 1, batchesMax: 10 })
  for (let number = 0; number < 100; number++) ledger.record(eventOf(number))
  slow.release()
  await ledger.close()
  const found = await searchLedger(world.disk, directory, eventOf(99).id)
  assert.equal(found.length, 1)
  const lines = fs.readFileSync(path.join(directory, 'current'), 'utf8').split('\n').length - 1
  assert.equal(lines, 11)
  assert.deepEqual(slow.warnings, [['ledger lines dropped', { directory, lines: 89 }]])
})

it('a disk that stays full leaves no descriptor open, and is told of once', async (t) => {
  const directory = path.join(temporaryDirectory(t), 'ledger')
  const slow = slowWorld(() => true)
  slow.release()
  const ledger = new LedgerFile(slow.world, directory)
  for (let number = 0; number < 20; number++) {
    ledger.record(eventOf(number))
    await ledger.flush()
    assert.equal(slow.openFiles.size, 0)
  }
  assert.deepEqual(
    slow.warnings.map(([event]) => event),
    ['ledger not written', 'ledger lines dropped'],
  )
  await ledger.close()
  assert.deepEqual(slow.warnings.at(-1), ['ledger lines dropped', { directory, lines: 19 }])
})

it('a disk that fails costs lines and a warning, and writing goes on when it is well', async (t) => {
  const directory = path.join(temporaryDirectory(t), 'ledger')
  let failing = true
  const slow = slowWorld(() => failing)
  slow.release()
  const ledger = new LedgerFile(slow.world, directory)
  ledger.record(eventOf(1))
  await ledger.flush()
  failing = false
  ledger.record(eventOf(2))
  await ledger.close()
  assert.deepEqual(
    slow.warnings.map(([event]) => event),
    ['ledger not written', 'ledger lines dropped'],
  )
  assert.equal((await searchLedger(world.disk, directory, eventOf(1).id)).length, 0)
  assert.equal((await searchLedger(world.disk, directory, eventOf(2).id)).length, 1)
})
