/**
 * Bodies of live messages: from memory while they are fresh, else from their segment, checked against their CRC before the
 * first byte leaves. What is asked for in one breath is read with as few calls as it can be.
 */

import { crc32 } from '../../runtime/digest.ts'
import type { Disk, DiskFile } from '../../runtime/world.ts'
import type { LiveMessage, Location } from '../live-messages.ts'
import { segmentName } from './segment.ts'

/** At once, of one body or of several that stand close together. */
const readBytes = 1024 * 1024
/** What may stand between two bodies that are read together: envelopes, results. */
const gapBytesMax = 4096
/** Ended messages stay in the list until it moves on. */
const cachedMessagesMax = 16_384

/** Bytes of a segment somebody waits for. */
interface Wanted {
  readonly segment: number
  readonly start: number
  readonly length: number
  readonly resolve: (bytes: Buffer) => void
  readonly reject: (error: unknown) => void
}

export class StoredBodies {
  readonly #disk: Disk
  readonly #directory: string
  readonly #cachedBytesMax: number
  readonly #files = new Map<number, Promise<DiskFile>>()
  /** Reads under way by segment: a descriptor closed under one could be another file's by the time it runs. */
  readonly #reads = new Map<number, Set<Promise<number>>>()
  /** Asked for since the last turn. */
  #wanted: Wanted[] = []
  /** Messages with a cached body, oldest first. */
  #cached: LiveMessage[] = []
  #oldest = 0
  #cachedBytes = 0

  constructor(disk: Disk, directory: string, cachedBytesMax: number) {
    this.#disk = disk
    this.#directory = directory
    this.#cachedBytesMax = cachedBytesMax
  }

  /** Keeps a fresh body in memory, and lets go of the oldest past the limit. */
  keep(message: LiveMessage, chunks: readonly Buffer[]): void {
    message.cached = chunks
    this.#cached.push(message)
    this.#cachedBytes += message.location.bytes
    while (this.#cachedBytes > this.#cachedBytesMax || this.#cached.length - this.#oldest > cachedMessagesMax) {
      const old = this.#cached[this.#oldest++]
      if (old === undefined) break
      this.#cachedBytes -= old.location.bytes
      old.cached = undefined
    }
    if (this.#oldest > 4096) {
      this.#cached = this.#cached.slice(this.#oldest)
      this.#oldest = 0
    }
  }

  /** Bytes [position, position + length) of a message's body. */
  slice(message: LiveMessage, position: number, length: number): Buffer | Promise<Buffer> {
    if (message.cached !== undefined) return sliceOf(message.cached, position, length)
    return this.#read(message.location, position, length)
  }

  /** Whether the stored body is what was accepted. Reads it once; remembers yes. */
  async verify(message: LiveMessage): Promise<boolean> {
    if (message.verified || message.cached !== undefined) return true
    const { location } = message
    const crc = await this.#sumOf(location).catch((error: unknown) => {
      if (message.location === location) throw error
      return -1
    })
    // Carried to another segment meanwhile, and this one may be gone.
    if (message.location !== location) return this.verify(message)
    message.verified = crc === location.crc
    return message.verified
  }

  async #sumOf(location: Location): Promise<number> {
    let crc = 0
    for (let position = 0; position < location.bytes; position += readBytes) {
      const piece = await this.#read(location, position, Math.min(readBytes, location.bytes - position))
      crc = crc32([piece], crc)
    }
    return crc
  }

  /** The whole body as it stands on the disk, checked or not. */
  async readWhole(message: LiveMessage): Promise<readonly Buffer[]> {
    if (message.cached !== undefined) return message.cached
    const { location } = message
    return location.bytes === 0 ? [] : [await this.#read(location, 0, location.bytes)]
  }

  /** Closes a segment's file, which is about to be dropped. */
  async forget(segment: number): Promise<void> {
    this.#readWanted()
    const file = this.#files.get(segment)
    this.#files.delete(segment)
    await Promise.allSettled(this.#reads.get(segment) ?? [])
    if (file !== undefined) await (await file).close()
  }

  async close(): Promise<void> {
    for (const segment of [...this.#files.keys()]) await this.forget(segment)
  }

  #read({ segment, offset }: Location, position: number, length: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#wanted.push({ segment, start: offset + position, length, resolve, reject })
      if (this.#wanted.length === 1) queueMicrotask(() => this.#readWanted())
    })
  }

  #readWanted(): void {
    const wanted = this.#wanted.sort((a, b) => a.segment - b.segment || a.start - b.start)
    this.#wanted = []
    for (let from = 0; from < wanted.length; ) {
      const until = endOfRun(wanted, from)
      this.#readRun(wanted.slice(from, until))
      from = until
    }
  }

  /** Neighbours with one call; each by itself where that fails, so that nobody suffers from a neighbour's damage. */
  #readRun(run: readonly Wanted[]): void {
    const first = run[0]
    if (first === undefined) return
    const end = Math.max(...run.map(({ start, length }) => start + length))
    this.#readAt(first.segment, first.start, end - first.start).then(
      (buffer) => {
        for (const { start, length, resolve } of run) {
          resolve(buffer.subarray(start - first.start, start - first.start + length))
        }
      },
      (error: unknown) => {
        if (run.length === 1) first.reject(error)
        else for (const one of run) this.#readRun([one])
      },
    )
  }

  async #readAt(segment: number, position: number, length: number): Promise<Buffer> {
    let file = this.#files.get(segment)
    if (file === undefined) {
      file = this.#disk.open(`${this.#directory}/${segmentName(segment)}`, 'read')
      this.#files.set(segment, file)
      file.catch(() => this.#files.delete(segment))
    }
    const buffer = Buffer.allocUnsafeSlow(length)
    const count = await this.#counted(segment, file, buffer, position)
    if (count !== length) throw Object.assign(new Error('a segment is shorter than its records'), { code: 'EIO' })
    return buffer
  }

  async #counted(segment: number, file: Promise<DiskFile>, buffer: Buffer, position: number): Promise<number> {
    const reads = this.#reads.get(segment) ?? new Set()
    this.#reads.set(segment, reads)
    const read = file.then((open) => open.read(buffer, position))
    reads.add(read)
    try {
      return await read
    } finally {
      reads.delete(read)
      if (reads.size === 0) this.#reads.delete(segment)
    }
  }
}

/** The first behind those that stand close enough to `from` to be read with it. */
function endOfRun(wanted: readonly Wanted[], from: number): number {
  const first = wanted[from]
  let until = from
  let end = first?.start ?? 0
  for (let next = first; next !== undefined; next = wanted[++until]) {
    const { segment, start, length } = next
    const isClose = segment === first?.segment && start - end <= gapBytesMax
    if (until > from && !(isClose && start + length - first.start <= readBytes)) break
    end = Math.max(end, start + length)
  }
  return until
}

function sliceOf(chunks: readonly Buffer[], position: number, length: number): Buffer {
  let skip = position
  const parts: Buffer[] = []
  let wanted = length
  for (const chunk of chunks) {
    if (wanted === 0) break
    if (skip >= chunk.length) {
      skip -= chunk.length
      continue
    }
    const part = chunk.subarray(skip, skip + wanted)
    skip = 0
    wanted -= part.length
    parts.push(part)
  }
  const only = parts[0]
  return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts)
}
