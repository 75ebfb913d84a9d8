/**
 * The journal: append-only segments, made durable by group commit. The single instant of acceptance is here.
 *
 * Whatever waits when the previous batch has become durable is written and made durable with one call; only then
 * are the records applied to the live messages, and only then is anybody told (`done`). One batch is in flight at a time, so
 * batch n + 1 on disk proves batch n durable. A failed write for want of space fails its batch and nothing else: nobody was
 * told, and the next batch overwrites it. Any other failure is fatal: the bytes may be gone, and asking again could be answered
 * with a lie, so the journal refuses everything from then on and its owner exits (promise 2).
 *
 * A process never appends to a segment of an earlier life: recovery leaves those as they are and a new one begins.
 */

import { errorCode, errorText } from '../../protocol/failure.ts'
import { crc32 } from '../../runtime/digest.ts'
import type { Clock, Disk, DiskFile, Log, Random } from '../../runtime/world.ts'
import type { LiveMessage, LiveMessages, Location } from '../live-messages.ts'
import { encodeRecord, type JournalRecord, recordHeaderBytes, sealRecord } from './record.ts'
import { encodeSegmentHeader, segmentHeaderBytes, segmentName } from './segment.ts'

export interface JournalLimits {
  /** A segment is closed before a record that would pass this; one record larger than it still gets a segment. */
  readonly segmentBytes: number
  readonly batchBytesMax: number
  readonly batchRecordsMax: number
  /** One call takes about a thousand pieces (IOV_MAX); a batch of more would be several durable writes. */
  readonly batchChunksMax: number
}

export const defaultJournalLimits: JournalLimits = {
  segmentBytes: 64 * 1024 * 1024,
  batchBytesMax: 8 * 1024 * 1024,
  batchRecordsMax: 1000,
  batchChunksMax: 1000,
}

/** What the journal asks of its housekeeping (`housekeeping.ts`). */
export interface SegmentSource {
  /** An open, empty or worthless file whose name `segmentName(segment)` is durable. */
  take(segment: number): Promise<DiskFile>
  /** A segment was closed: everything before `next` is applied. Called before the first batch of `next`. */
  closed(segment: number, next: number): void
}

export interface JournalWorld {
  readonly clock: Clock
  readonly disk: Disk
  readonly random: Random
  readonly log: Log
}

export interface Place {
  readonly segment: number
  readonly file: DiskFile
  readonly salt: number
  offset: number
  batch: number
}

/** Called once, after the record is durable and applied, or with what went wrong. */
export type Appended = (error: Error | undefined, message: LiveMessage | undefined) => void

interface Waiting {
  readonly record: JournalRecord
  readonly encoded: Buffer
  readonly body: readonly Buffer[]
  readonly bodyBytes: number
  readonly bodyCrc: number
  readonly done: Appended
}

export class Journal {
  readonly #world: JournalWorld
  readonly #live: LiveMessages
  readonly #limits: JournalLimits
  readonly #segments: SegmentSource
  readonly #onFatal: (error: Error) => void
  #waiting: Waiting[] = []
  #flushing = false
  #idle: (() => void)[] = []
  #failure: Error | undefined
  #closed = false
  #place: Place | undefined
  #nextSegment: number
  #previous: { segment: number; end: number }
  #nextNumber: number
  /** Bytes made durable since the start, for the metrics. */
  syncedBytes = 0
  syncs = 0

  constructor(
    world: JournalWorld,
    parts: {
      readonly live: LiveMessages
      readonly limits: JournalLimits
      readonly segments: SegmentSource
      readonly onFatal: (error: Error) => void
    },
    start: {
      readonly nextSegment: number
      readonly previous: { readonly segment: number; readonly end: number }
      readonly nextNumber: number
    },
  ) {
    this.#world = world
    this.#live = parts.live
    this.#limits = parts.limits
    this.#segments = parts.segments
    this.#onFatal = parts.onFatal
    this.#nextSegment = start.nextSegment
    this.#previous = { ...start.previous }
    this.#nextNumber = start.nextNumber
  }

  /** Why nothing is written any more. */
  get failure(): Error | undefined {
    return this.#failure
  }

  /** The segment being written, if one is. */
  get currentSegment(): number | undefined {
    return this.#place?.segment
  }

  get nextNumber(): number {
    return this.#nextNumber
  }

  takeNumber(): number {
    return this.#nextNumber++
  }

  /**
   * `body` belongs to the journal until `done`. Throws nothing; every end comes through `done`, never from inside. A `knownCrc`
   * is that of a body copied as it is, damaged or not.
   */
  append(record: JournalRecord, body: readonly Buffer[], bodyBytes: number, done: Appended, knownCrc?: number): void {
    const bodyCrc = knownCrc ?? (bodyBytes === 0 ? 0 : crc32(body))
    const encoded = this.#encode(record, bodyBytes, bodyCrc)
    if (encoded instanceof Error) {
      this.#world.clock.soon(() => done(encoded, undefined))
      return
    }
    this.#waiting.push({ record, encoded, body, bodyBytes, bodyCrc, done })
    if (this.#flushing) return
    this.#flushing = true
    this.#world.clock.soon(() => {
      this.#flush().catch((error: unknown) => this.#fail(error instanceof Error ? error : new Error(String(error))))
    })
  }

  /** Whatever cannot be written is refused alone, before it can spoil a batch. */
  #encode(record: JournalRecord, bodyBytes: number, bodyCrc: number): Buffer | Error {
    if (this.#closed) return new Error('the journal is closed')
    try {
      return encodeRecord(record, bodyBytes, bodyCrc)
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error))
    }
  }

  /** Resolves when nothing waits to be written. */
  settled(): Promise<void> {
    if (!this.#flushing) return Promise.resolve()
    return new Promise((resolve) => {
      this.#idle.push(resolve)
    })
  }

  /** Writes what waits and closes the file; answers the segment that will come next and where the last one ended. */
  async close(): Promise<{ readonly nextSegment: number; readonly previous: { segment: number; end: number } }> {
    this.#closed = true
    await this.settled()
    if (this.#place !== undefined) {
      this.#previous = { segment: this.#place.segment, end: this.#place.offset }
      await this.#place.file.close()
      this.#place = undefined
    }
    return { nextSegment: this.#nextSegment, previous: this.#previous }
  }

  async #flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      if (this.#failure !== undefined) this.#refuseAll(this.#failure)
      else await this.#writeBatch()
    }
    this.#flushing = false
    const idle = this.#idle
    this.#idle = []
    for (const resolve of idle) resolve()
  }

  async #writeBatch(): Promise<void> {
    const first = this.#waiting[0]
    if (first === undefined) return
    let place: Place
    try {
      place = await this.#placeFor(sizeOf(first))
    } catch (error) {
      return this.#notWritten(this.#waiting.splice(0, 1), error)
    }
    const batch = this.#takeBatch(place)
    const { chunks, bytes } = this.#seal(place, batch)
    const position = place.batch === 0 ? 0 : place.offset
    try {
      await place.file.writeDurably(chunks, position)
    } catch (error) {
      await this.#blank(place.file, position, error)
      return this.#notWritten(batch, error)
    }
    this.syncs++
    this.syncedBytes += bytes
    this.#committed(place, batch)
  }

  /**
   * A batch that ran out of space may stand there in part, and its first records would be taken for good ones at the next start,
   * though they were refused. Writing over their beginning needs no space; where nothing was written it fails again.
   */
  async #blank(file: DiskFile, position: number, error: unknown): Promise<void> {
    if (!isRefusable(error)) return
    try {
      await file.writeDurably([Buffer.alloc(position === 0 ? segmentHeaderBytes : recordHeaderBytes)], position)
    } catch (again) {
      if (!isRefusable(again)) throw again
    }
  }

  /** The current segment, or a new one where the record does not fit. */
  async #placeFor(bytes: number): Promise<Place> {
    const place = this.#place
    if (place !== undefined && (place.offset + bytes <= this.#limits.segmentBytes || place.batch === 0)) return place
    const segment = this.#nextSegment
    const file = await this.#segments.take(segment)
    if (place !== undefined) {
      this.#previous = { segment: place.segment, end: place.offset }
      this.#segments.closed(place.segment, segment)
      await place.file.close()
    }
    this.#nextSegment = segment + 1
    this.#place = {
      segment,
      file,
      salt: this.#world.random.bytes(4).readUInt32LE(0),
      offset: segmentHeaderBytes,
      batch: 0,
    }
    return this.#place
  }

  #takeBatch(place: Place): Waiting[] {
    let bytes = 0
    let count = 0
    let chunks = 0
    for (const waiting of this.#waiting) {
      const size = sizeOf(waiting)
      if (count > 0 && place.offset + bytes + size > this.#limits.segmentBytes) break
      if (count > 0 && bytes + size > this.#limits.batchBytesMax) break
      chunks += 1 + waiting.body.length
      if (count > 0 && chunks > this.#limits.batchChunksMax) break
      bytes += size
      if (++count === this.#limits.batchRecordsMax) break
    }
    return this.#waiting.splice(0, count)
  }

  #seal(place: Place, batch: readonly Waiting[]): { chunks: Buffer[]; bytes: number } {
    const chunks: Buffer[] = []
    let bytes = 0
    if (place.batch === 0) {
      const header = encodeSegmentHeader({
        segment: place.segment,
        salt: place.salt,
        previous: this.#previous.segment,
        previousEnd: this.#previous.end,
        totals: this.#live.totals,
        nextNumber: this.#nextNumber,
      })
      chunks.push(header)
      bytes += header.length
    }
    for (const [index, waiting] of batch.entries()) {
      const { segment, salt } = place
      sealRecord(waiting.encoded, { segment, salt, batch: place.batch + 1, recordsLeft: batch.length - 1 - index })
      chunks.push(waiting.encoded)
      for (const chunk of waiting.body) chunks.push(chunk)
      bytes += sizeOf(waiting)
    }
    return { chunks, bytes }
  }

  #committed(place: Place, batch: readonly Waiting[]): void {
    place.batch++
    for (const waiting of batch) {
      const location: Location = {
        segment: place.segment,
        offset: place.offset + waiting.encoded.length,
        bytes: waiting.bodyBytes,
        crc: waiting.bodyCrc,
      }
      place.offset += sizeOf(waiting)
      const message = this.#live.apply(waiting.record, location)
      waiting.done(undefined, message)
    }
  }

  #notWritten(batch: readonly Waiting[], error: unknown): void {
    if (isRefusable(error) && error instanceof Error) {
      this.#world.log.error('journal refused a batch', { error: error.message, records: batch.length })
      return refuse(batch, error)
    }
    const failure = new Error(`the disk did not make the journal durable: ${errorText(error)}`, { cause: error })
    this.#fail(failure)
    refuse(batch, failure)
  }

  #fail(failure: Error): void {
    if (this.#failure !== undefined) return
    this.#failure = failure
    this.#world.log.error('journal failed', {
      error: failure.message,
      segment: this.#place === undefined ? '' : segmentName(this.#place.segment),
    })
    this.#onFatal(failure)
  }

  #refuseAll(failure: Error): void {
    refuse(this.#waiting.splice(0), failure)
  }
}

const outOfSpace: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG'])
/** A file could not even be opened. */
const outOfDescriptors: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE'])

export function isOutOfSpace(error: unknown): boolean {
  return outOfSpace.has(errorCode(error))
}

/** What fails one batch and says nothing about the bytes of others. */
export function isRefusable(error: unknown): boolean {
  return outOfSpace.has(errorCode(error)) || outOfDescriptors.has(errorCode(error))
}

function sizeOf(waiting: Waiting): number {
  return waiting.encoded.length + waiting.bodyBytes
}

function refuse(batch: readonly Waiting[], failure: Error): void {
  for (const waiting of batch) waiting.done(failure, undefined)
}

/** Bytes a message of this body takes in the journal, about: for the check of free space. */
export function estimatedBytes(bodyBytes: number): number {
  return recordHeaderBytes + 512 + bodyBytes
}
