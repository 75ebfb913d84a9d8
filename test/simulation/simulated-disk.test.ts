/** The disk forgets exactly what a real one may forget, and keeps what it promised. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Disk } from '../../services/runtime/world.ts'
import type { SimulatedHost } from './simulated-host.ts'
import { host, surroundings, until } from './surroundings.ts'

const filled = (bytes: number, value: number): Buffer => Buffer.alloc(bytes, value)

interface Left {
  readonly names: string[]
  readonly bytes: Buffer | undefined
}

/** Runs `work` as a process on a host, cuts power when it is done, and reads what is left of `/d`. */
async function afterPowerCut(seed: number, work: (disk: Disk, machine: SimulatedHost) => Promise<void>): Promise<Left> {
  const around = surroundings(seed)
  const machine = host(around, 'h')
  machine.device.volume.makeDirectory('/d')
  machine.device.volume.syncAll()
  await until(around, work(machine.start('writer').world.disk, machine))
  machine.cutPower()
  machine.powerOn()
  const { disk } = machine.start('reader').world
  const names = await until(around, disk.list('/d'))
  const first = names[0]
  return { names, bytes: first === undefined ? undefined : await until(around, disk.readFile(`/d/${first}`)) }
}

async function outcomes(seeds: number, work: (disk: Disk, machine: SimulatedHost) => Promise<void>): Promise<Left[]> {
  const all: Left[] = []
  for (let seed = 0; seed < seeds; seed++) all.push(await afterPowerCut(seed, work))
  return all
}

test('what was synced, bytes and name, always survives', async () => {
  const all = await outcomes(50, async (disk) => {
    const file = await disk.open('/d/a', 'create')
    await file.write([filled(1000, 1), filled(1000, 2)], 0)
    await file.datasync()
    await disk.syncDirectory('/d')
  })
  for (const left of all) {
    assert.deepEqual(left.names, ['a'])
    assert.deepEqual(left.bytes, Buffer.concat([filled(1000, 1), filled(1000, 2)]))
  }
})

test('a name whose directory was not synced may be gone, though its bytes were synced', async () => {
  const all = await outcomes(50, async (disk) => {
    const file = await disk.open('/d/a', 'create')
    await file.write([filled(100, 1)], 0)
    await file.datasync()
  })
  assert.ok(all.some((left) => left.names.length === 0))
  const survivors = all.filter((left) => left.names.length === 1)
  assert.ok(survivors.length > 0)
  for (const left of survivors) assert.deepEqual(left.bytes, filled(100, 1))
})

test('unsynced bytes survive by sectors: none, all, or some', async () => {
  const all = await outcomes(200, async (disk) => {
    const file = await disk.open('/d/a', 'create')
    await file.write([filled(4096, 1)], 0)
    await file.datasync()
    await disk.syncDirectory('/d')
    await file.write([filled(4096, 2)], 0)
  })
  const kept = all.map((left) => left.bytes?.filter((byte) => byte === 2).length ?? -1)
  assert.ok(kept.includes(0), 'lost whole')
  assert.ok(kept.includes(4096), 'kept whole')
  assert.ok(
    kept.some((count) => count > 0 && count < 4096),
    'torn',
  )
  for (const count of kept) assert.equal(count % 512, 0)
  for (const left of all) assert.equal(left.bytes?.filter((byte) => byte === 1 || byte === 2).length, 4096)
})

test('an unsynced size may be gone or be there without its bytes', async () => {
  const all = await outcomes(200, async (disk) => {
    const file = await disk.open('/d/a', 'create')
    await disk.syncDirectory('/d')
    await file.write([filled(2048, 7)], 0)
  })
  assert.ok(all.some((left) => left.bytes?.length === 0))
  assert.ok(all.some((left) => left.bytes?.length === 2048 && left.bytes.includes(0)))
  assert.ok(all.some((left) => left.bytes?.equals(filled(2048, 7))))
})

test('an unsynced rename may be undone; a synced one never is', async () => {
  const write = async (disk: Disk, name: string): Promise<void> => {
    const file = await disk.open(name, 'create')
    await file.write([Buffer.from(name)], 0)
    await file.datasync()
    await disk.syncDirectory('/d')
  }
  const unsynced = await outcomes(50, async (disk) => {
    await write(disk, '/d/tmp')
    await disk.rename('/d/tmp', '/d/final')
  })
  const names = new Set(unsynced.map((left) => left.names.join()))
  assert.deepEqual([...names].sort(), ['final', 'tmp'])
  const synced = await outcomes(50, async (disk) => {
    await write(disk, '/d/tmp')
    await disk.rename('/d/tmp', '/d/final')
    await disk.syncDirectory('/d')
  })
  assert.ok(synced.every((left) => left.names.join() === 'final'))
})

test('a datasync covers only the writes made before it began', async () => {
  const all = await outcomes(100, async (disk) => {
    const file = await disk.open('/d/a', 'create')
    await disk.syncDirectory('/d')
    await file.write([filled(512, 1)], 0)
    await file.datasync()
    await Promise.all([file.write([filled(512, 2)], 0), file.datasync()])
  })
  assert.ok(all.some((left) => left.bytes?.[0] === 1))
})

test('after a failed datasync the next one succeeds, and the bytes are gone all the same', async () => {
  const all = await outcomes(20, async (disk, machine) => {
    const file = await disk.open('/d/a', 'create')
    await disk.syncDirectory('/d')
    machine.device.faults.datasyncsToFail = 1
    await file.write([filled(600, 1)], 0)
    await assert.rejects(file.datasync(), { code: 'EIO' })
    await file.datasync()
  })
  for (const left of all) assert.equal(left.bytes?.length, 0)
})

test('a full disk takes nothing new and says so', async () => {
  await outcomes(1, async (disk, machine) => {
    const file = await disk.open('/d/a', 'create')
    await file.write([filled(4096, 1)], 0)
    machine.device.faults.full = true
    await file.write([filled(100, 2)], 50)
    await assert.rejects(file.write([filled(1, 2)], 4096), { code: 'ENOSPC' })
    await assert.rejects(disk.open('/d/b', 'create'), { code: 'ENOSPC' })
    assert.equal(await disk.freeBytes('/d'), 0)
  })
})

test('SIGKILL keeps what completed, and leaves calls in flight done, undone or done in part', async () => {
  const lengths = new Set<number>()
  for (let seed = 0; seed < 60; seed++) {
    const around = surroundings(seed)
    const machine = host(around, 'h')
    const process = machine.start('writer')
    const file = await until(around, process.world.disk.open('/a', 'create'))
    await until(around, file.write([filled(1000, 1)], 0))
    let isTold = false
    file.write([filled(1000, 2)], 1000).then(
      () => {
        isTold = true
      },
      () => {
        isTold = true
      },
    )
    process.kill()
    await around.time.run(1e6)
    assert.equal(isTold, false, 'a dead process hears nothing')
    const bytes = await until(around, machine.start('reader').world.disk.readFile('/a'))
    assert.deepEqual(bytes.subarray(0, 1000), filled(1000, 1))
    lengths.add(bytes.length)
  }
  assert.ok(lengths.has(1000) && lengths.has(2000) && lengths.size > 5)
})

test('power goes at the planned durable call', async () => {
  const around = surroundings(1)
  const machine = host(around, 'h')
  const { disk } = machine.start('writer').world
  machine.device.faults.durableCallsUntilPowerCut = 3
  const work = async (): Promise<void> => {
    const file = await disk.open('/a', 'create')
    for (;;) await file.datasync()
  }
  work().catch(() => {})
  await around.time.run(1000)
  assert.equal(machine.isUp, false)
  assert.ok(machine.device.counts.datasyncs >= 2 && machine.device.counts.datasyncs <= 4)
})

test('names: EEXIST, ENOENT, links and removed files that are still open', async () => {
  const around = surroundings(3)
  const { disk } = host(around, 'h').start('p').world
  const work = async (): Promise<void> => {
    await disk.makeDirectory('/x/y')
    await disk.makeDirectory('/x/y')
    const file = await disk.open('/x/y/a', 'create')
    await file.write([Buffer.from('abc')], 2)
    await assert.rejects(disk.open('/x/y/a', 'create'), { code: 'EEXIST' })
    await assert.rejects(disk.open('/x/y/b', 'read'), { code: 'ENOENT' })
    await assert.rejects(disk.list('/z'), { code: 'ENOENT' })
    await disk.link('/x/y/a', '/x/b')
    await assert.rejects(disk.link('/x/y/a', '/x/b'), { code: 'EEXIST' })
    await disk.unlink('/x/y/a')
    assert.deepEqual(await disk.list('/x'), ['b', 'y'])
    assert.deepEqual(await disk.readFile('/x/b'), Buffer.from('\0\0abc'))
    await disk.unlink('/x/b')
    await file.truncate(3)
    assert.equal(await file.size(), 3)
    const buffer = Buffer.alloc(8)
    assert.equal(await file.read(buffer, 1), 2)
    await file.close()
    await assert.rejects(file.datasync(), { code: 'EBADF' })
  }
  await until(around, work())
})
