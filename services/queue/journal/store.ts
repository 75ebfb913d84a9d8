/**
 * The journal with its directory: recovery at the start, spare files, saved ids, snapshots, cleaning of old segments, and
 * reading bodies back.
 *
 *   <home>/journal/NNNNNNNNNN.segment    records           NNNNNNNNNN.spare     a dropped segment, to be written over
 *                  NNNNNNNNNN.snapshot   state before it   NNNNNNNNNN.ids       ids committed in that segment
 *   <home>/quarantine/                   damaged records, byte for byte
 *
 * Segments are dropped oldest first and only when no live message is left in them: a result is therefore never dropped
 * before the message it settles, and a replay of whatever is left is right without any snapshot. Live messages that would
 * keep old segments for ever are carried forward when dead bytes outweigh live ones.
 */

import { errorCode, errorText } from '../../protocol/failure.ts'
import { removeIfThere, writeFileDurably } from '../../runtime/durable-file.ts'
import type { Clock, Disk, DiskFile, Log, Random } from '../../runtime/world.ts'
import { type IdIndex, idsRememberedMs } from '../id-index.ts'
import { carriedRecord, type LiveMessage, type LiveMessages } from '../live-messages.ts'
import { StoredBodies } from './bodies.ts'
import { type Appended, defaultJournalLimits, Journal, type JournalLimits, type SegmentSource } from './journal.ts'
import type { JournalRecord } from './record.ts'
import { type IdFile, type Recovered, recover } from './recovery.ts'
import { segmentName, spareName } from './segment.ts'
import { encodeSnapshot, snapshotName } from './snapshot.ts'

export interface StoreLimits extends JournalLimits {
  /** Dropped segments kept for writing over; more are deleted. */
  readonly sparesMax: number
  /** Segments between two snapshots. */
  readonly segmentsPerSnapshot: number
  /** Cleaning begins when the segments take more than this many times the live bytes, and at least `segmentsKept` files. */
  readonly cleanFactor: number
  readonly segmentsKept: number
  readonly cachedBodyBytesMax: number
}

export const defaultStoreLimits: StoreLimits = {
  ...defaultJournalLimits,
  sparesMax: 4,
  segmentsPerSnapshot: 4,
  cleanFactor: 2,
  segmentsKept: 4,
  cachedBodyBytesMax: 64 * 1024 * 1024,
}

export interface StoreWorld {
  readonly clock: Clock
  readonly disk: Disk
  readonly random: Random
  readonly log: Log
}

export class JournalStore implements SegmentSource {
  readonly bodies: StoredBodies
  readonly #world: StoreWorld
  readonly #directory: string
  readonly #live: LiveMessages
  readonly #ids: IdIndex
  readonly #limits: StoreLimits
  readonly #onFatal: (error: Error) => void
  #journal: Journal | undefined
  /** Closed segments with their records, oldest first. */
  #closed: number[] = []
  #spares: string[] = []
  #nextSpare = 1
  #sinceSnapshot = 0
  /** The newest durable snapshot: a replay from it needs every segment from here on. */
  #snapshotNext = 0
  /** Saved ids, oldest first. */
  #idFiles: IdFile[] = []
  /** The last segment the journal was given a file for. */
  #taken = 0
  /** Ids of closed segments on their way to the disk; no segment is dropped before. */
  #unsavedIds: { readonly segment: number; readonly ids: Buffer }[] = []
  #housekeeping: Promise<void> = Promise.resolve()
  #prepared: { readonly segment: number; readonly file: Promise<DiskFile> } | undefined
  #closing = false

  constructor(
    world: StoreWorld,
    directory: string,
    parts: { readonly live: LiveMessages; readonly ids: IdIndex; readonly onFatal: (error: Error) => void },
    limits: StoreLimits = defaultStoreLimits,
  ) {
    this.#world = world
    this.#directory = directory
    this.#live = parts.live
    this.#ids = parts.ids
    this.#limits = limits
    this.#onFatal = parts.onFatal
    this.bodies = new StoredBodies(world.disk, directory, limits.cachedBodyBytesMax)
  }

  /** Replays what is there. Rejects where the directory cannot be read: the instance must not start then. */
  async open(): Promise<Recovered> {
    const recovered = await recover(this.#world, this.#directory, this.#live, this.#ids)
    this.#closed = [...recovered.segments]
    this.#spares = [...recovered.spares]
    this.#nextSpare = recovered.nextSpare
    this.#sinceSnapshot = recovered.segmentsRead
    this.#snapshotNext = recovered.snapshot ?? 0
    this.#idFiles = [...recovered.idFiles].sort((a, b) => a.at - b.at)
    this.#journal = new Journal(
      this.#world,
      { live: this.#live, limits: this.#limits, segments: this, onFatal: this.#onFatal },
      { nextSegment: recovered.nextSegment, previous: recovered.previous, nextNumber: recovered.nextNumber },
    )
    return recovered
  }

  get journal(): Journal {
    if (this.#journal === undefined) throw new Error('the journal is not open yet')
    return this.#journal
  }

  /** Segment files on disk, the current one included. */
  get segmentCount(): number {
    return this.#closed.length + (this.#journal?.currentSegment === undefined ? 0 : 1)
  }

  append(record: JournalRecord, body: readonly Buffer[], bodyBytes: number, done: Appended, knownCrc?: number): void {
    this.journal.append(record, body, bodyBytes, done, knownCrc)
  }

  /** Writes what waits and a last snapshot, so that the next start reads no segment. */
  async close(): Promise<void> {
    this.#closing = true
    const end = await this.journal.close()
    await this.#housekeeping
    if (this.journal.failure === undefined) {
      if (this.#ids.freshCount > 0) {
        this.#unsavedIds.push({ segment: end.previous.segment, ids: this.#ids.takeFresh() })
      }
      await this.#saveIds()
      await this.#writeSnapshot(end.nextSegment, encodeSnapshot(this.#live, end.nextSegment, this.journal.nextNumber))
    }
    const prepared = this.#prepared
    this.#prepared = undefined
    if (prepared !== undefined) await (await prepared.file).close()
    await this.bodies.close()
  }

  take(segment: number): Promise<DiskFile> {
    const prepared = this.#prepared
    this.#prepared = undefined
    this.#taken = segment
    return prepared?.segment === segment ? prepared.file : this.#makeSegment(segment)
  }

  closed(segment: number, next: number): void {
    this.#closed.push(segment)
    this.#sinceSnapshot++
    this.#unsavedIds.push({ segment, ids: this.#ids.takeFresh() })
    this.#ids.expire(this.#world.clock.now())
    const snapshot =
      this.#sinceSnapshot >= this.#limits.segmentsPerSnapshot
        ? encodeSnapshot(this.#live, next, this.journal.nextNumber)
        : undefined
    if (snapshot !== undefined) this.#sinceSnapshot = 0
    this.#inBackground(async () => {
      await this.#saveIds()
      if (snapshot !== undefined) await this.#writeSnapshot(next, snapshot)
      await this.#clean()
      this.#prepare(next + 1)
    })
  }

  #inBackground(work: () => Promise<void>): void {
    this.#housekeeping = this.#housekeeping.then(work).catch((error: unknown) => {
      // Nothing here is needed for safety: what could not be tidied up is read again at the next start.
      this.#world.log.warn('journal housekeeping failed', { directory: this.#directory, error: errorText(error) })
    })
  }

  #path(name: string): string {
    return `${this.#directory}/${name}`
  }

  async #makeSegment(segment: number): Promise<DiskFile> {
    const path = this.#path(segmentName(segment))
    const spare = this.#spares.pop()
    if (spare !== undefined) await this.#world.disk.rename(this.#path(spare), path)
    const file = await this.#openOrCreate(path)
    await this.#world.disk.syncDirectory(this.#directory)
    return file
  }

  /** A try that failed half-way (a full disk) may have left the file. */
  async #openOrCreate(path: string): Promise<DiskFile> {
    try {
      return await this.#world.disk.open(path, 'write')
    } catch (error) {
      if (!isMissing(error)) throw error
      return this.#world.disk.open(path, 'create')
    }
  }

  /** Makes the next segment's file before it is needed, so that no batch waits for a directory to be synced. */
  #prepare(segment: number): void {
    if (this.#closing || this.#prepared !== undefined || this.#taken !== segment - 1) return
    const file = this.#makeSegment(segment)
    file.catch(() => {
      this.#prepared = undefined
    })
    this.#prepared = { segment, file }
  }

  async #saveIds(): Promise<void> {
    for (let next = this.#unsavedIds[0]; next !== undefined; next = this.#unsavedIds[0]) {
      const name = `${segmentName(next.segment)}.ids`
      await writeFileDurably(this.#world.disk, this.#path(name), [next.ids])
      this.#unsavedIds.shift()
      this.#idFiles.push({ name, at: this.#world.clock.now() })
    }
    await this.#forgetOldIds()
  }

  async #forgetOldIds(): Promise<void> {
    const before = this.#world.clock.now() - idsRememberedMs
    for (let oldest = this.#idFiles[0]; oldest !== undefined && oldest.at < before; oldest = this.#idFiles[0]) {
      await removeIfThere(this.#world.disk, this.#path(oldest.name))
      this.#idFiles.shift()
    }
  }

  async #writeSnapshot(next: number, chunks: readonly Buffer[]): Promise<void> {
    await writeFileDurably(this.#world.disk, this.#path(snapshotName(next)), chunks)
    this.#snapshotNext = next
    for (const name of await this.#world.disk.list(this.#directory)) {
      if (name.endsWith('.snapshot') && name < snapshotName(next)) await this.#world.disk.unlink(this.#path(name))
    }
  }

  async #clean(): Promise<void> {
    for (;;) {
      const oldest = this.#closed[0]
      if (oldest === undefined || oldest >= this.#snapshotNext) return
      if (this.#closing || this.journal.failure !== undefined) return
      if (this.#live.inSegment(oldest).size > 0) {
        if (!this.#isWasteful()) return
        if (!(await this.#carryForward(oldest))) return
      }
      await this.#drop(oldest)
    }
  }

  #isWasteful(): boolean {
    if (this.#closed.length < this.#limits.segmentsKept) return false
    return this.#closed.length * this.#limits.segmentBytes > this.#live.bytes * this.#limits.cleanFactor
  }

  /** False: some message could not be moved now; the segment stays for another time. */
  async #carryForward(segment: number): Promise<boolean> {
    for (const message of [...this.#live.inSegment(segment)]) {
      if (this.#live.get(message.number) !== message) continue
      const body = await this.bodies.readWhole(message)
      if (message.appending > 0) return false
      if (this.#live.get(message.number) !== message) continue
      const error = await this.#carry(message, body)
      if (error !== undefined) return false
    }
    return this.#live.inSegment(segment).size === 0
  }

  #carry(message: LiveMessage, body: readonly Buffer[]): Promise<Error | undefined> {
    return new Promise((resolve) => {
      message.appending++
      const carried: Appended = (error) => {
        message.appending--
        resolve(error)
      }
      const { bytes, crc } = message.location
      // With the sum it was accepted with: a damaged body stays damaged, and is found out when it is to be sent.
      this.journal.append(carriedRecord(message), body, bytes, carried, crc)
    })
  }

  async #drop(segment: number): Promise<void> {
    const spare = this.#spares.length < this.#limits.sparesMax ? spareName(this.#nextSpare++) : undefined
    await this.bodies.forget(segment)
    const path = this.#path(segmentName(segment))
    if (spare === undefined) await this.#world.disk.unlink(path)
    else await this.#world.disk.rename(path, this.#path(spare))
    this.#closed.shift()
    if (spare !== undefined) this.#spares.push(spare)
    await this.#world.disk.syncDirectory(this.#directory)
  }
}

/** True where a directory or file is simply not there. */
export function isMissing(error: unknown): boolean {
  return errorCode(error) === 'ENOENT'
}
