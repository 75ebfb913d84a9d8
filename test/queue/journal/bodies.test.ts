import assert from 'node:assert/strict'
import { test } from 'node:test'
import { StoredBodies } from '../../../services/queue/journal/bodies.ts'
import { type LiveMessage, LiveMessages } from '../../../services/queue/live-messages.ts'
import type { Disk, DiskFile } from '../../../services/runtime/world.ts'

const bodyBytes = 10_000
const betweenBytes = 300
const segmentBytes = 4 * 1024 * 1024

interface Read {
  readonly segment: string
  readonly position: number
  readonly length: number
}

/** A disk of readable segments that notes every read; a read over one of `badBytes` fails. */
function segments(badBytes: readonly number[] = []): { disk: Disk; reads: Read[]; open: Set<DiskFile> } {
  const reads: Read[] = []
  const open = new Set<DiskFile>()
  const openFile = async (path: string): Promise<DiskFile> => {
    const segment = path.slice(path.lastIndexOf('/') + 1)
    const file: Pick<DiskFile, 'read' | 'close'> = {
      read: async (buffer, position) => {
        assert.ok(open.has(file as DiskFile), `${segment} is read after it was closed`)
        reads.push({ segment, position, length: buffer.length })
        if (badBytes.some((at) => at >= position && at < position + buffer.length))
          throw Object.assign(new Error('EIO'), { code: 'EIO' })
        const count = Math.max(0, Math.min(buffer.length, segmentBytes - position))
        for (let index = 0; index < count; index++) buffer[index] = byteAt(position + index)
        return count
      },
      close: async () => {
        open.delete(file as DiskFile)
      },
    }
    open.add(file as DiskFile)
    return file as DiskFile
  }
  return { disk: { open: openFile } as Partial<Disk> as Disk, reads, open }
}

function byteAt(position: number): number {
  return (position * 31 + (position >> 8)) & 255
}

/** Message `index` of a segment of equal ones. */
function messageAt(index: number, segment = 1): LiveMessage {
  const location = { segment, offset: index * (bodyBytes + betweenBytes), bytes: bodyBytes, crc: 0 }
  const message = new LiveMessages().restore(
    {
      ...{ type: 'carried', number: index + 1, id: `${index}`, birthAt: 0, form: 'lf', sender: '', recipients: [] },
      ...{ held: undefined, origin: undefined, offered: undefined },
    },
    location,
  )
  return message
}

function isBodyOf(message: LiveMessage, body: readonly Buffer[]): boolean {
  const bytes = Buffer.concat([...body])
  const expected = Buffer.from(Array.from({ length: bodyBytes }, (_, at) => byteAt(message.location.offset + at)))
  return bytes.equals(expected)
}

test('bodies: neighbours asked for in one breath are read together, and each gets its own', async () => {
  const { disk, reads } = segments()
  const bodies = new StoredBodies(disk, '/j', 0)
  const messages = [3, 0, 2, 1].map((index) => messageAt(index))
  const read = await Promise.all(messages.map((message) => bodies.readWhole(message)))
  assert.ok(messages.every((message, index) => isBodyOf(message, read[index] ?? [])))
  assert.deepEqual(reads, [{ segment: '0000000001.segment', position: 0, length: 4 * bodyBytes + 3 * betweenBytes }])
  assert.ok(isBodyOf(messages[0]!, await bodies.readWhole(messages[0]!)))
  assert.equal(reads.length, 2)
})

test('bodies: no read is longer than 1 MiB, spans two segments, or fetches far more than was asked for', async () => {
  const { disk, reads } = segments()
  const bodies = new StoredBodies(disk, '/j', 0)
  const row = Array.from({ length: 150 }, (_, index) => messageAt(index))
  const messages = [...row, messageAt(300), messageAt(300, 2), messageAt(301, 2)]
  const read = await Promise.all(messages.map((message) => bodies.readWhole(message)))
  assert.ok(messages.every((message, index) => isBodyOf(message, read[index] ?? [])))
  const perMiB = Math.floor((1024 * 1024 + betweenBytes) / (bodyBytes + betweenBytes))
  const lengthOf = (count: number): number => count * (bodyBytes + betweenBytes) - betweenBytes
  assert.deepEqual(
    reads.map(({ segment, length }) => `${Number.parseInt(segment, 10)} ${length}`),
    [`1 ${lengthOf(perMiB)}`, `1 ${lengthOf(150 - perMiB)}`, `1 ${lengthOf(1)}`, `2 ${lengthOf(2)}`],
  )
})

test('bodies: what cannot be read fails alone, and not its neighbours', async () => {
  const bad = messageAt(1)
  const { disk } = segments([bad.location.offset + 17])
  const bodies = new StoredBodies(disk, '/j', 0)
  const messages = [messageAt(0), bad, messageAt(2)]
  const read = await Promise.allSettled(messages.map((message) => bodies.readWhole(message)))
  assert.deepEqual(
    read.map((one, index) => (one.status === 'fulfilled' ? isBodyOf(messages[index]!, one.value) : one.reason.code)),
    [true, 'EIO', true],
  )
})

test('bodies: a segment shorter than its records fails those past its end alone', async () => {
  const { disk } = segments()
  const bodies = new StoredBodies(disk, '/j', 0)
  const lastWhole = Math.floor(segmentBytes / (bodyBytes + betweenBytes)) - 1
  const messages = [messageAt(lastWhole), messageAt(lastWhole + 1)]
  const read = await Promise.allSettled(messages.map((message) => bodies.readWhole(message)))
  assert.deepEqual(
    read.map(({ status }) => status),
    ['fulfilled', 'rejected'],
  )
})

test('bodies: what was asked for before its segment is closed is read first, and no file stays open', async () => {
  const { disk, open } = segments()
  const bodies = new StoredBodies(disk, '/j', 0)
  await bodies.readWhole(messageAt(0))
  const read = bodies.readWhole(messageAt(1))
  const forgotten = bodies.forget(1)
  assert.ok(isBodyOf(messageAt(1), await read))
  await forgotten
  assert.equal(open.size, 0)
})
