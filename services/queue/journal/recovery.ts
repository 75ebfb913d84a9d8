/**
 * The start of a journal: find the segments, load the newest snapshot that checks, replay what follows, save the damaged.
 *
 * What the replay accepted as standing is made durable again before anybody relies on it: after a mere kill, the last
 * segment's bytes may still be in the page cache alone, and a `K` for a repeated package must not rest on that.
 * Files that are not what their names say are kept as spares; nothing is deleted.
 */

import { errorText } from '../../protocol/failure.ts'
import { makeDirectoryDurably, removeIfThere, writeFileDurably } from '../../runtime/durable-file.ts'
import type { Clock, Disk, Log } from '../../runtime/world.ts'
import { type IdIndex, idKey, keysOfTaken } from '../id-index.ts'
import { damagedBody, type LiveMessages, type Location } from '../live-messages.ts'
import type { JournalRecord } from './record.ts'
import { looksDurable, scanSegment } from './scan.ts'
import {
  decodeSegmentHeader,
  type SegmentHeader,
  segmentHeaderBytes,
  segmentName,
  segmentOfName,
  spareName,
  spareOfName,
} from './segment.ts'
import { decodeSnapshot, snapshotOfName } from './snapshot.ts'

export interface RecoveryWorld {
  readonly clock: Clock
  readonly disk: Disk
  readonly log: Log
}

export interface Damage {
  readonly segment: number
  readonly offset: number
  readonly bytes: number
  readonly why: string
  /** File below `quarantine/` that keeps the bytes; '' in a read-only check. */
  readonly kept: string
  /** The message it concerns, where that can still be read. */
  readonly id: string
}

export interface Recovered {
  /** Oldest first. */
  readonly segments: readonly number[]
  readonly spares: readonly string[]
  readonly nextSpare: number
  readonly nextSegment: number
  readonly previous: { readonly segment: number; readonly end: number }
  readonly nextNumber: number
  readonly snapshot: number | undefined
  readonly segmentsRead: number
  readonly recordsRead: number
  /** Bytes of a last batch that was never acknowledged. */
  readonly tornBytes: number
  readonly damage: readonly Damage[]
  readonly idFiles: readonly IdFile[]
}

/** Saved ids of a closed segment; none is younger than `at`. */
export interface IdFile {
  readonly name: string
  readonly at: number
}

interface Found {
  readonly header: SegmentHeader
  readonly bytes: number
}

/** Replays `directory` into `live` and `ids`, ready for appending. */
export async function recover(
  world: RecoveryWorld,
  directory: string,
  live: LiveMessages,
  ids: IdIndex,
): Promise<Recovered> {
  await makeDirectoryDurably(world.disk, directory)
  await makeDirectoryDurably(world.disk, quarantineOf(directory), 1)
  const recovery = new Recovery(world, directory, live, ids, 'repair')
  return recovery.run()
}

/** The same reading without writing anything: what `qmq queue verify` reports. Always from the segments alone. */
export async function inspect(
  world: RecoveryWorld,
  directory: string,
  live: LiveMessages,
  ids: IdIndex,
): Promise<Recovered> {
  return new Recovery(world, directory, live, ids, 'inspect').run()
}

export function quarantineOf(directory: string): string {
  return `${directory.slice(0, directory.lastIndexOf('/'))}/quarantine`
}

class Recovery {
  readonly #world: RecoveryWorld
  readonly #directory: string
  readonly #live: LiveMessages
  readonly #ids: IdIndex
  readonly #mode: 'repair' | 'inspect'
  readonly #damage: Damage[] = []
  readonly #idFiles: IdFile[] = []
  #records = 0
  #tornBytes = 0
  #nextNumber = 1

  constructor(world: RecoveryWorld, directory: string, live: LiveMessages, ids: IdIndex, mode: 'repair' | 'inspect') {
    this.#world = world
    this.#directory = directory
    this.#live = live
    this.#ids = ids
    this.#mode = mode
  }

  async run(): Promise<Recovered> {
    const names = await this.#world.disk.list(this.#directory)
    const spares = names.filter((name) => spareOfName(name) !== undefined)
    let nextSpare = 1 + Math.max(0, ...spares.map((name) => spareOfName(name) ?? 0))
    const found = new Map<number, Found>()
    const worthless: { readonly segment: number; readonly name: string; readonly unreadable: boolean }[] = []
    for (const name of names) {
      const segment = segmentOfName(name)
      if (segment === undefined) continue
      const head = await this.#readSegmentHead(name)
      if (head?.header.segment === segment) found.set(segment, head)
      else worthless.push({ segment, name, unreadable: head === undefined })
    }
    const newest = Math.max(0, ...found.keys())
    for (const { segment, name, unreadable } of worthless) {
      if (unreadable && (await this.#wasDurable(segment, name, newest))) await this.#setSegmentAside(segment, name)
      else if (this.#mode === 'repair') {
        spares.push(spareName(nextSpare))
        await this.#world.disk.rename(this.#path(name), this.#path(spareName(nextSpare++)))
      }
    }
    const segments = [...found.keys()].sort((a, b) => a - b)
    this.#reportGaps(segments, found)
    const snapshot = this.#mode === 'repair' ? await this.#loadSnapshot(names) : undefined
    await this.#loadIds(names)
    const end = await this.#replay(segments, found, snapshot)
    this.#holdBodiless(found)
    if (this.#mode === 'repair') await this.#makeDurable(segments.at(-1), end, snapshot)
    const last = segments.at(-1) ?? 0
    return {
      segments,
      spares,
      nextSpare,
      nextSegment: Math.max(last + 1, snapshot ?? 1),
      previous: { segment: last, end },
      nextNumber: this.#nextNumber,
      snapshot,
      segmentsRead: segments.filter((segment) => segment >= (snapshot ?? 0)).length,
      recordsRead: this.#records,
      tornBytes: this.#tornBytes,
      damage: this.#damage,
      idFiles: this.#idFiles,
    }
  }

  #path(name: string): string {
    return `${this.#directory}/${name}`
  }

  /** Undefined: neither copy of the header can be read. */
  async #readSegmentHead(name: string): Promise<Found | undefined> {
    const file = await this.#world.disk.open(this.#path(name), 'read')
    try {
      const head = Buffer.alloc(segmentHeaderBytes)
      const count = await file.read(head, 0)
      const header = decodeSegmentHeader(head.subarray(0, count))
      return header === undefined ? undefined : { header, bytes: await file.size() }
    } finally {
      await file.close()
    }
  }

  /**
   * A segment without a readable header was made and never used, or its first batch was being written when the power went, or
   * it is damaged. The last it is where a later segment exists, or records of a later batch.
   */
  async #wasDurable(segment: number, name: string, newest: number): Promise<boolean> {
    const bytes = await this.#world.disk.readFile(this.#path(name))
    if (bytes.every((byte) => byte === 0)) return false
    return segment < newest || looksDurable(bytes, segment)
  }

  /** The whole file is kept for a person to look at; its records cannot be told from those of the file's earlier life. */
  async #setSegmentAside(segment: number, name: string): Promise<void> {
    const kept = this.#mode === 'repair' ? `${quarantineOf(this.#directory)}/${name}` : ''
    const why = 'both copies of the segment header are damaged'
    if (this.#mode === 'repair') await this.#world.disk.rename(this.#path(name), kept)
    this.#damage.push({ segment, offset: 0, bytes: segmentHeaderBytes, why, kept, id: '' })
    this.#world.log.error('journal segment is damaged', { file: this.#path(name), why, kept })
  }

  /** Messages a snapshot knows and whose segment is gone: named in the queue, and never tried. */
  #holdBodiless(found: ReadonlyMap<number, Found>): void {
    for (const message of this.#live.all()) if (!found.has(message.location.segment)) message.held = damagedBody
  }

  /** A segment that a later one names as its predecessor, and that was neither dropped nor found. */
  #reportGaps(segments: readonly number[], found: ReadonlyMap<number, Found>): void {
    for (const [index, segment] of segments.entries()) {
      const previous = found.get(segment)?.header.previous ?? 0
      const missing = index > 0 && previous !== 0 && previous !== segments[index - 1]
      if (!missing || this.#damage.some((one) => one.segment === previous)) continue
      const why = 'the segment is missing'
      this.#damage.push({ segment: previous, offset: 0, bytes: 0, why, kept: '', id: '' })
      this.#world.log.error('journal segment is missing', { file: this.#path(segmentName(previous)) })
    }
  }

  async #loadSnapshot(names: readonly string[]): Promise<number | undefined> {
    for (const name of [...names].reverse()) {
      if (snapshotOfName(name) === undefined) continue
      const decoded = decodeSnapshot(await this.#world.disk.readFile(this.#path(name)))
      if (decoded === undefined) {
        this.#world.log.warn('snapshot does not check; replaying the segments instead', { file: this.#path(name) })
        continue
      }
      Object.assign(this.#live.totals, decoded.head.totals)
      for (const { record, location, held } of decoded.messages) this.#live.restore(record, location, held)
      this.#nextNumber = decoded.head.nextNumber
      return decoded.head.nextSegment
    }
    return undefined
  }

  async #loadIds(names: readonly string[]): Promise<void> {
    for (const name of names) {
      if (!name.endsWith('.ids')) continue
      const path = this.#path(name)
      const loaded = this.#ids.load(await this.#world.disk.readFile(path), this.#world.clock.now())
      if (loaded === 'damaged') this.#world.log.warn('saved ids do not check', { file: path })
      else if (loaded !== 'expired') this.#idFiles.push({ name, at: loaded })
      else if (this.#mode === 'repair') await removeIfThere(this.#world.disk, path)
    }
  }

  /** Answers where the last segment ends. */
  async #replay(
    segments: readonly number[],
    found: ReadonlyMap<number, Found>,
    snapshot: number | undefined,
  ): Promise<number> {
    const first = snapshot ?? 0
    let end = 0
    if (snapshot === undefined) this.#startFrom(found.get(segments[0] ?? -1)?.header)
    for (const [index, segment] of segments.entries()) {
      const here = found.get(segment)
      if (here === undefined) continue
      const next = found.get(segments[index + 1] ?? -1)?.header
      const certainEnd = next?.previous === segment ? next.previousEnd : undefined
      this.#nextNumber = Math.max(this.#nextNumber, here.header.nextNumber)
      end = segment >= first ? await this.#replaySegment(here.header, certainEnd) : (certainEnd ?? here.bytes)
    }
    return end
  }

  /** Without a snapshot the totals count on from the oldest segment's own. */
  #startFrom(header: SegmentHeader | undefined): void {
    if (header !== undefined) Object.assign(this.#live.totals, header.totals)
  }

  async #replaySegment(header: SegmentHeader, certainEnd: number | undefined): Promise<number> {
    const { segment } = header
    const bytes = await this.#world.disk.readFile(this.#path(segmentName(segment)))
    const now = this.#world.clock.now()
    const damaged: { offset: number; bytes: number; why: string; id: string }[] = []
    const end = scanSegment(
      { bytes, segment, salt: header.salt, certainEnd },
      {
        record: (record, location) => this.#apply(record, location, now),
        damagedBody: (record, location, offset) => {
          const message = this.#apply(record, location, now)
          if (message !== undefined) message.held = damagedBody
          const id = message?.id ?? ''
          const length = location.offset + location.bytes - offset
          damaged.push({ offset, bytes: length, why: 'a body does not match its checksum', id })
        },
        damaged: (offset, length, why) => damaged.push({ offset, bytes: length, why, id: '' }),
        torn: (offset) => {
          this.#tornBytes += tornLength(bytes, offset)
        },
      },
    )
    for (const one of damaged) await this.#quarantine(segment, bytes, one)
    return end
  }

  #apply(record: JournalRecord, location: Location, now: number): ReturnType<LiveMessages['apply']> {
    this.#records++
    this.#nextNumber = Math.max(this.#nextNumber, record.number + 1)
    if (record.type === 'message')
      this.#ids.add(idKey(record.id, record.sender, record.recipients), Math.min(now, record.birthAt))
    if (record.type === 'taken') for (const key of keysOfTaken(record)) this.#ids.add(key, Math.min(now, record.at))
    try {
      return this.#live.apply(record, location)
    } catch (error) {
      // Never seen, and no reason for an instance not to start: the record is kept and named.
      const bytes = location.offset + location.bytes
      this.#damage.push({
        segment: location.segment,
        offset: location.offset,
        bytes,
        why: errorText(error),
        kept: '',
        id: '',
      })
      this.#world.log.error('journal record cannot be applied', { segment: location.segment, error: errorText(error) })
      return undefined
    }
  }

  async #quarantine(
    segment: number,
    bytes: Buffer,
    one: { readonly offset: number; readonly bytes: number; readonly why: string; readonly id: string },
  ): Promise<void> {
    let kept = ''
    if (this.#mode === 'repair') {
      kept = `${quarantineOf(this.#directory)}/${segmentName(segment)}-${one.offset}.record`
      try {
        await writeFileDurably(this.#world.disk, kept, [bytes.subarray(one.offset, one.offset + one.bytes)])
      } catch (error) {
        this.#world.log.error('cannot keep a damaged record', { file: kept, error: errorText(error) })
      }
    }
    this.#damage.push({ segment, ...one, kept })
    this.#world.log.error('journal record is damaged', {
      file: this.#path(segmentName(segment)),
      offset: one.offset,
      bytes: one.bytes,
      why: one.why,
      message: one.id,
      kept,
    })
  }

  /** After a clean stop the snapshot covers every segment, and there is nothing to do but the names. */
  async #makeDurable(last: number | undefined, end: number, snapshot: number | undefined): Promise<void> {
    if (last !== undefined && last >= (snapshot ?? 0)) await this.#rewrite(this.#path(segmentName(last)), end)
    await this.#world.disk.syncDirectory(this.#directory)
  }

  /** Syncing alone is not enough: after a failed datasync the system takes the lost pages for clean, and skips them. */
  async #rewrite(path: string, end: number): Promise<void> {
    const file = await this.#world.disk.open(path, 'write')
    try {
      const bytes = Buffer.allocUnsafe(end)
      const count = await file.read(bytes, 0)
      await file.write([bytes.subarray(0, count)], 0)
      await file.datasync()
    } finally {
      await file.close()
    }
  }
}

/** Bytes after the end that are not the zeros of a file never written there; an old life's bytes count too. */
function tornLength(bytes: Buffer, offset: number): number {
  let end = bytes.length
  while (end > offset && bytes[end - 1] === 0) end--
  return end - offset
}
