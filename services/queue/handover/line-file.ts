/**
 * A file of lines that only grows: lines that wait are written and made durable with one call, and only then is anybody told.
 *
 * A line that a crash cut off ends at the next LF and is worth nothing; nobody was told it was there. A write that fails for want of
 * space fails its lines and is written over by the next. Any other failure means that the bytes may be gone: it is told as fatal, and
 * nothing is written any more. What an earlier process wrote last may be in memory alone: it is written again before it counts.
 */

import { errorCode } from '../../protocol/failure.ts'
import { makeDirectoryDurably } from '../../runtime/durable-file.ts'
import type { Disk, DiskFile } from '../../runtime/world.ts'
import { isRefusable } from '../journal/journal.ts'

export type Written = (error: Error | undefined) => void

interface Waiting {
  readonly line: string
  readonly done: Written
}

const batchBytesMax = 1024 * 1024

export class LineFile {
  readonly #disk: Disk
  readonly #path: string
  readonly #onFatal: (error: Error) => void
  #file: Promise<DiskFile> | undefined
  #position = 0
  /** The file's last line has no LF. */
  #isCut = false
  #waiting: Waiting[] = []
  #isWriting = false
  /** Those who wait until nothing is being written. */
  #idle: (() => void)[] = []
  #failure: Error | undefined

  constructor(disk: Disk, path: string, onFatal: (error: Error) => void) {
    this.#disk = disk
    this.#path = path
    this.#onFatal = onFatal
  }

  /** `line` without LF. `done` is called once, never from inside. */
  append(line: string, done: Written): void {
    this.#waiting.push({ line, done })
    if (this.#isWriting) return
    this.#isWriting = true
    this.#writeAll().catch((error: unknown) => this.#onFatal(error instanceof Error ? error : new Error(String(error))))
  }

  /** Whatever the file holds is durable then. */
  async open(): Promise<void> {
    await this.#opened()
  }

  /** Writes what waits. */
  async close(): Promise<void> {
    if (this.#isWriting) await new Promise<void>((resolve) => this.#idle.push(resolve))
    const file = this.#file
    this.#file = undefined
    // One that could not be opened was told of to whoever wanted it.
    await file?.then((open) => open.close()).catch(() => {})
  }

  async #writeAll(): Promise<void> {
    // What is asked for together is written together.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const batch = this.#takeBatch()
      const error = this.#failure ?? (await this.#write(batch))
      for (const { done } of batch) done(error)
    }
    // In the same breath as the last look at what waits: whoever comes next begins anew.
    this.#isWriting = false
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  #takeBatch(): Waiting[] {
    let bytes = 0
    let count = 0
    for (const { line } of this.#waiting) {
      bytes += line.length + 1
      if (count > 0 && bytes > batchBytesMax) break
      count++
    }
    return this.#waiting.splice(0, count)
  }

  async #write(batch: readonly Waiting[]): Promise<Error | undefined> {
    try {
      const file = await this.#opened()
      const text = batch.map(({ line }) => `${line}\n`).join('')
      const bytes = Buffer.from(this.#isCut ? `\n${text}` : text, 'latin1')
      await file.writeDurably([bytes], this.#position)
      this.#position += bytes.length
      this.#isCut = false
      return undefined
    } catch (cause) {
      const error = cause instanceof Error ? cause : new Error(String(cause))
      if (!isRefusable(error)) {
        this.#failure = error
        this.#onFatal(error)
      }
      return error
    }
  }

  #opened(): Promise<DiskFile> {
    this.#file ??= this.#open().catch((error: unknown) => {
      this.#file = undefined
      throw error
    })
    return this.#file
  }

  async #open(): Promise<DiskFile> {
    const directory = this.#path.slice(0, this.#path.lastIndexOf('/'))
    await makeDirectoryDurably(this.#disk, directory, 1)
    const file = await this.#openOrCreate()
    try {
      await this.#disk.syncDirectory(directory)
      await this.#makeDurable(file)
      return file
    } catch (error) {
      await file.close()
      throw error
    }
  }

  async #makeDurable(file: DiskFile): Promise<void> {
    const end = await file.size()
    const start = Math.max(0, end - batchBytesMax - 1)
    const last = Buffer.alloc(end - start)
    await file.read(last, start)
    if (last.length > 0) await file.writeDurably([last], start)
    this.#position = end
    this.#isCut = last.length > 0 && last.at(-1) !== lineFeed
  }

  async #openOrCreate(): Promise<DiskFile> {
    try {
      return await this.#disk.open(this.#path, 'write')
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error
      return this.#disk.open(this.#path, 'create')
    }
  }
}

const lineFeed = 10
const pieceBytes = 1024 * 1024

/** Calls with every whole line; answers the bytes of the file, 0 where there is none. Other work goes on meanwhile. */
export async function readLines(disk: Disk, path: string, line: (text: string) => void): Promise<number> {
  let file: DiskFile
  try {
    file = await disk.open(path, 'read')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return 0
    throw error
  }
  try {
    let rest = ''
    let position = 0
    for (;;) {
      const piece = Buffer.allocUnsafe(pieceBytes)
      const count = await file.read(piece, position)
      if (count === 0) return position
      position += count
      const lines = (rest + piece.toString('latin1', 0, count)).split('\n')
      rest = lines.pop() ?? ''
      for (const each of lines) line(each)
    }
  } finally {
    await file.close()
  }
}
