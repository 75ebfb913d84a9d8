import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import { temporary } from '../../../services/protocol/failure.ts'
import { IdIndex, idKey } from '../../../services/queue/id-index.ts'
import type { JournalRecord } from '../../../services/queue/journal/record.ts'
import { inspect, type Recovered } from '../../../services/queue/journal/recovery.ts'
import { defaultStoreLimits, JournalStore, type StoreLimits } from '../../../services/queue/journal/store.ts'
import { type LiveMessage, LiveMessages } from '../../../services/queue/live-messages.ts'
import { systemWorld } from '../../../services/runtime/system-world.ts'
import type { Disk, DiskFile, World } from '../../../services/runtime/world.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }
const small: StoreLimits = { ...defaultStoreLimits, segmentBytes: 12_288, batchBytesMax: 4096 }

interface Opened {
  readonly store: JournalStore
  readonly live: LiveMessages
  readonly ids: IdIndex
  readonly recovered: Recovered
  readonly fatal: Error[]
}

async function open(directory: string, limits = small, disk?: Disk): Promise<Opened> {
  const world: World = { ...systemWorld(silent), ...(disk === undefined ? {} : { disk }) }
  const live = new LiveMessages()
  const ids = new IdIndex()
  const fatal: Error[] = []
  const store = new JournalStore(
    world,
    `${directory}/journal`,
    { live, ids, onFatal: (error) => fatal.push(error) },
    limits,
  )
  return { store, live, ids, recovered: await store.open(), fatal }
}

function append(
  store: JournalStore,
  record: JournalRecord,
  body: Buffer = Buffer.alloc(0),
): Promise<LiveMessage | undefined> {
  return new Promise((resolve, reject) => {
    store.append(record, body.length === 0 ? [] : [body], body.length, (error, message) =>
      error === undefined ? resolve(message) : reject(error),
    )
  })
}

async function accept(opened: Opened, id: string, body: Buffer, recipients = ['r@example.com']): Promise<LiveMessage> {
  const number = opened.store.journal.takeNumber()
  const record = {
    type: 'message',
    number,
    id,
    birthAt: Date.now(),
    form: 'crlf',
    sender: 's@example.com',
    recipients,
  } as const
  const message = await append(opened.store, record, body)
  opened.ids.add(idKey(id, record.sender, recipients), record.birthAt)
  assert.ok(message)
  return message
}

function delivered(number: number, index = 0): JournalRecord {
  return {
    type: 'result',
    number,
    at: Date.now(),
    results: [{ index, status: 'delivered', failure: undefined, remote: '' }],
  }
}

function bodyOf(length: number, seed: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, index) => (index * 7 + seed) & 255))
}

/** What a queue holds, in a form to compare. */
async function contents(opened: Opened): Promise<string> {
  const lines: string[] = []
  for (const message of opened.live.all()) {
    const body = await opened.store.bodies.readWhole(message)
    const states = message.recipients.map(
      (recipient) => `${recipient.address} ${recipient.status} ${recipient.attempts}`,
    )
    lines.push(
      `${message.number} ${message.id} ${message.held ?? ''} ${states.join()} ${Buffer.concat([...(body ?? [])]).toString('hex')}`,
    )
  }
  return [...lines, JSON.stringify(opened.live.totals)].join('\n')
}

test('journal: everything comes back, after a stop and after a kill alike', async (t) => {
  const directory = temporaryDirectory(t)
  const first = await open(directory)
  const one = await accept(first, 'one', bodyOf(3000, 1), ['a@example.com', 'b@example.com'])
  await append(first.store, delivered(one.number))
  const failure = temporary('peer', '4.2.2', 'full', 452)
  const deferrals = [{ index: 1, failure, remote: 'mx.example.net' }]
  await append(first.store, { type: 'deferral', number: one.number, at: 5, dueAt: 77, deferrals })
  const two = await accept(first, 'two', bodyOf(20000, 2))
  await append(first.store, delivered(two.number))
  await accept(first, 'three', bodyOf(10, 3))
  const expected = await contents(first)
  const killed = await open(directory)
  assert.equal(killed.recovered.snapshot, undefined)
  assert.equal(await contents(killed), expected)
  assert.deepEqual(killed.live.get(one.number)?.recipients[1]?.failure, failure)
  assert.equal(killed.live.get(one.number)?.recipients[1]?.dueAt, 77)
  await killed.store.close()
  const stopped = await open(directory)
  assert.notEqual(stopped.recovered.snapshot, undefined)
  assert.equal(stopped.recovered.segmentsRead, 0)
  assert.equal(await contents(stopped), expected)
  assert.equal(stopped.ids.has(idKey('two', 's@example.com', ['r@example.com'])), true)
  assert.equal(stopped.ids.has(idKey('two', 's@example.com', ['other@example.com'])), false)
})

test('journal: a damaged snapshot is thrown away for a replay with the same result', async (t) => {
  const directory = temporaryDirectory(t)
  const first = await open(directory)
  for (let index = 0; index < 30; index++) await accept(first, `m${index}`, bodyOf(1500, index))
  const expected = await contents(first)
  await first.store.close()
  for (const name of fs.readdirSync(`${directory}/journal`)) {
    if (name.endsWith('.snapshot')) flipBit(`${directory}/journal/${name}`, 200)
  }
  const again = await open(directory)
  assert.equal(again.recovered.snapshot, undefined)
  assert.equal(await contents(again), expected)
})

test('journal: a torn tail is cut wherever the tear is, and nothing acknowledged goes with it', async (t) => {
  const directory = temporaryDirectory(t)
  const first = await open(directory)
  await accept(first, 'kept', bodyOf(300, 1))
  const expected = await contents(first)
  const file = `${directory}/journal/0000000001.segment`
  const kept = fs.statSync(file).size
  await accept(first, 'torn', bodyOf(300, 2))
  const whole = fs.readFileSync(file)
  for (let size = kept; size < whole.length; size++) {
    const copy = `${directory}/copy${size}`
    fs.cpSync(`${directory}/journal`, `${copy}/journal`, { recursive: true })
    fs.truncateSync(`${copy}/journal/0000000001.segment`, size)
    const again = await open(copy)
    assert.equal(await contents(again), expected, `cut at ${size}`)
    assert.deepEqual(again.recovered.damage, [])
    fs.rmSync(copy, { recursive: true })
  }
})

test('journal: a record damaged after it was durable is quarantined and named, and the rest goes on', async (t) => {
  for (const [what, place] of [
    ['header', 0],
    ['meta', 40],
    ['body', 200],
  ] as const) {
    const directory = temporaryDirectory(t)
    const first = await open(directory)
    await accept(first, 'before', bodyOf(300, 1))
    const file = `${directory}/journal/0000000001.segment`
    const start = fs.statSync(file).size
    await accept(first, 'damaged', bodyOf(300, 2))
    const end = fs.statSync(file).size
    await accept(first, 'after', bodyOf(300, 3))
    flipBit(file, start + place)
    const again = await open(directory)
    const ids = [...again.live.all()].map((message) => `${message.id} ${message.held ?? ''}`.trim())
    assert.equal(again.recovered.damage.length, 1, what)
    const damage = again.recovered.damage[0]!
    assert.deepEqual([damage.segment, damage.offset, damage.bytes], [1, start, end - start], what)
    assert.deepEqual(fs.readFileSync(damage.kept), fs.readFileSync(file).subarray(start, end), what)
    const withBody = what === 'body' ? ['before', 'damaged its body is damaged on disk', 'after'] : ['before', 'after']
    assert.deepEqual(ids, withBody, what)
    const report = await inspectReadOnly(directory)
    assert.equal(report.damage.length, 1, what)
  }
})

test('journal: damage in the last record of a closed segment is not taken for a torn tail', async (t) => {
  const directory = temporaryDirectory(t)
  const first = await open(directory)
  await accept(first, 'before', bodyOf(300, 1))
  const file = `${directory}/journal/0000000001.segment`
  const start = fs.statSync(file).size
  await accept(first, 'last of its segment', bodyOf(4000, 2))
  await accept(first, 'next segment', bodyOf(8000, 3))
  assert.ok(fs.existsSync(`${directory}/journal/0000000002.segment`))
  flipBit(file, start)
  const again = await open(directory)
  assert.equal(again.recovered.damage[0]?.offset, start)
  assert.equal(again.live.size, 2)
})

test('journal: old segments are dropped and reused, and their stale records never come back', async (t) => {
  const directory = temporaryDirectory(t)
  const first = await open(directory)
  const long = await accept(first, 'long-lived', bodyOf(500, 9))
  for (let index = 0; index < 200; index++) {
    const message = await accept(first, `m${index}`, bodyOf(1000, index))
    await append(first.store, delivered(message.number))
  }
  await first.store.journal.settled()
  await new Promise((resolve) => setTimeout(resolve, 200))
  assert.ok(first.store.segmentCount <= small.segmentsKept + 3, `${first.store.segmentCount} segments`)
  assert.notEqual(first.live.get(long.number)?.location.segment, 1, 'the live message was carried forward')
  const expected = await contents(first)
  const killed = await open(directory)
  assert.equal(await contents(killed), expected)
  assert.deepEqual(killed.recovered.damage, [])
  assert.deepEqual(killed.live.totals, {
    accepted: 201,
    delivered: 200,
    bounced: 0,
    discarded: 0,
    takenOver: 0,
    handedOver: 0,
  })
  assert.equal(killed.ids.has(idKey('m0', 's@example.com', ['r@example.com'])), true, 'ids outlive their segments')
  fs.rmSync(`${directory}/journal/${fs.readdirSync(`${directory}/journal`).find((name) => name.endsWith('.snapshot'))}`)
  const bare = await open(directory)
  assert.equal(await contents(bare), expected, 'the same without any snapshot')
})

test('journal: a full disk fails its batch alone, and the next one succeeds', async (t) => {
  const directory = temporaryDirectory(t)
  const faults = { write: undefined as string | undefined, datasync: undefined as string | undefined }
  const opened = await open(directory, small, faulty(systemWorld(silent).disk, faults))
  await accept(opened, 'one', bodyOf(100, 1))
  faults.write = 'ENOSPC'
  await assert.rejects(accept(opened, 'two', bodyOf(100, 2)), { code: 'ENOSPC' })
  faults.write = undefined
  await accept(opened, 'three', bodyOf(100, 3))
  assert.deepEqual(opened.fatal, [])
  const again = await open(directory)
  assert.deepEqual(
    [...again.live.all()].map((message) => message.id),
    ['one', 'three'],
  )
  assert.deepEqual(again.recovered.damage, [])
})

test('journal: a failed datasync ends the journal: nobody is told yes, and it is not asked again', async (t) => {
  const directory = temporaryDirectory(t)
  const faults = { write: undefined as string | undefined, datasync: undefined as string | undefined }
  const opened = await open(directory, small, faulty(systemWorld(silent).disk, faults))
  await accept(opened, 'one', bodyOf(100, 1))
  faults.datasync = 'EIO'
  await assert.rejects(accept(opened, 'two', bodyOf(100, 2)), /did not make the journal durable/)
  assert.equal(opened.fatal.length, 1)
  faults.datasync = undefined
  await assert.rejects(accept(opened, 'three', bodyOf(100, 3)), /did not make the journal durable/)
  assert.equal(opened.live.size, 1)
})

test('journal: one bad sector of a header costs nothing, two set the whole segment aside with a name', async (t) => {
  const directory = temporaryDirectory(t)
  const first = await open(directory)
  for (let index = 0; index < 30; index++) await accept(first, `m${index}`, bodyOf(1500, index))
  const file = `${directory}/journal/0000000002.segment`
  const bytes = fs.readFileSync(file)
  fs.writeFileSync(file, Buffer.concat([Buffer.alloc(4096), bytes.subarray(4096)]))
  const once = await open(directory)
  assert.deepEqual([once.live.size, once.recovered.damage.length], [30, 0])
  fs.writeFileSync(file, Buffer.concat([Buffer.alloc(8192, 7), bytes.subarray(8192)]))
  const twice = await open(directory)
  const unharmed = [...twice.live.all()].filter((message) => message.held === undefined)
  assert.ok(unharmed.length > 10 && unharmed.length < 30, `${unharmed.length} of 30`)
  for (const message of unharmed) assert.equal(await twice.store.bodies.verify(message), true)
  assert.deepEqual(
    twice.recovered.damage.map((one) => [one.segment, one.why]),
    [[2, 'both copies of the segment header are damaged']],
  )
  assert.ok(fs.existsSync(`${directory}/quarantine/0000000002.segment`))
})

test('journal: a batch refused for want of space does not come back to life, though part of it was written', async (t) => {
  const directory = temporaryDirectory(t)
  const { disk } = systemWorld(silent)
  let room = Number.POSITIVE_INFINITY
  const cramped = faulty(disk, { write: undefined, datasync: undefined }, async (file, chunks, position) => {
    const bytes = Buffer.concat(chunks)
    if (position + bytes.length <= room) return file.writeDurably([bytes], position)
    await file.writeDurably([bytes.subarray(0, Math.max(0, room - position))], position)
    throw Object.assign(new Error('full'), { code: 'ENOSPC' })
  })
  const opened = await open(directory, small, cramped)
  await accept(opened, 'kept', bodyOf(100, 1))
  room = fs.statSync(`${directory}/journal/0000000001.segment`).size + 700
  const refused = await Promise.allSettled(
    ['z1', 'z2', 'z3'].map((id, index) => accept(opened, id, bodyOf(300, index))),
  )
  assert.deepEqual(
    refused.map((one) => one.status),
    ['rejected', 'rejected', 'rejected'],
  )
  const again = await open(directory)
  assert.deepEqual(
    [...again.live.all()].map((message) => message.id),
    ['kept'],
  )
  assert.deepEqual(again.recovered.damage, [])
})

test('journal: after close nothing is written, and whoever asks is told so', async (t) => {
  const directory = temporaryDirectory(t)
  const opened = await open(directory)
  const one = await accept(opened, 'one', bodyOf(100, 1))
  const closing = opened.store.close()
  await assert.rejects(append(opened.store, delivered(one.number)), /journal is closed/)
  await closing
  const again = await open(directory)
  assert.deepEqual(again.live.totals, {
    accepted: 1,
    delivered: 0,
    bounced: 0,
    discarded: 0,
    takenOver: 0,
    handedOver: 0,
  })
})

test('journal: a damaged body is carried forward as it is, and holds up nothing', async (t) => {
  const directory = temporaryDirectory(t)
  const first = await open(directory)
  const bad = await accept(first, 'bad', bodyOf(500, 9))
  await first.store.close()
  const file = `${directory}/journal/0000000001.segment`
  flipBit(file, bad.location.offset + 7)
  const second = await open(directory)
  for (let index = 0; index < 200; index++) {
    const message = await accept(second, `m${index}`, bodyOf(1000, index))
    await append(second.store, delivered(message.number))
  }
  await second.store.journal.settled()
  await new Promise((resolve) => setTimeout(resolve, 200))
  assert.ok(second.store.segmentCount <= small.segmentsKept + 3, `${second.store.segmentCount} segments`)
  const carried = second.live.get(bad.number)
  assert.ok(carried !== undefined && carried.location.segment > 1)
  assert.equal(await second.store.bodies.verify(carried), false, 'carrying does not bless the damage')
})

test('journal: a message of many recipients with long failures is written, carried and snapshotted', async (t) => {
  const directory = temporaryDirectory(t)
  const recipients = Array.from({ length: 8000 }, (_, index) => `r${index}@example.com`)
  const opened = await open(directory)
  const message = await accept(opened, 'many', bodyOf(100, 1), recipients)
  const failure = temporary('peer', '4.2.2', 'x'.repeat(2100), 452)
  const deferrals = recipients.map((_, index) => ({ index, failure, remote: 'mx.example.net' }))
  await append(opened.store, { type: 'deferral', number: message.number, at: 5, dueAt: 77, deferrals })
  await opened.store.close()
  const again = await open(directory)
  assert.equal(again.live.get(message.number)?.recipients[7999]?.failure?.text.length, 1024)
  assert.deepEqual(opened.fatal, [])
})

type WriteDurably = (file: DiskFile, chunks: readonly Buffer[], position: number) => Promise<void>

function faulty(
  disk: Disk,
  faults: { write: string | undefined; datasync: string | undefined },
  writeDurably: WriteDurably = (file, chunks, position) => file.writeDurably(chunks, position),
): Disk {
  const fail = (code: string | undefined): Promise<void> | undefined =>
    code === undefined ? undefined : Promise.reject(Object.assign(new Error(code), { code }))
  const wrap = (file: DiskFile): DiskFile => ({
    write: (chunks, position) => fail(faults.write) ?? file.write(chunks, position),
    datasync: () => fail(faults.datasync) ?? file.datasync(),
    writeDurably: (chunks, position) => fail(faults.write ?? faults.datasync) ?? writeDurably(file, chunks, position),
    read: (buffer, position) => file.read(buffer, position),
    truncate: (bytes) => file.truncate(bytes),
    size: () => file.size(),
    close: () => file.close(),
  })
  return {
    open: async (path, mode) => wrap(await disk.open(path, mode)),
    readFile: (path) => disk.readFile(path),
    list: (path) => disk.list(path),
    makeDirectory: (path) => disk.makeDirectory(path),
    rename: (from, to) => disk.rename(from, to),
    link: (from, to) => disk.link(from, to),
    unlink: (path) => disk.unlink(path),
    syncDirectory: (path) => disk.syncDirectory(path),
    freeBytes: (path) => disk.freeBytes(path),
  }
}

async function inspectReadOnly(directory: string): Promise<Recovered> {
  const before = listing(directory)
  const report = await inspect(systemWorld(silent), `${directory}/journal`, new LiveMessages(), new IdIndex())
  assert.deepEqual(listing(directory), before, 'a check changes nothing')
  return report
}

function listing(directory: string): string[] {
  return fs.readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()
}

function flipBit(file: string, offset: number): void {
  const bytes = fs.readFileSync(file)
  bytes[offset] = bytes[offset]! ^ 0x10
  fs.writeFileSync(file, bytes)
}
