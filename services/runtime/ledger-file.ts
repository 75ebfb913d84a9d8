/**
 * The ledger on disk: one JSON line per event, written behind the events and never waited for.
 *
 * Lines gather in memory and leave every `flushMs` or `batchBytes`, one write at a time. A disk that does not follow costs
 * the oldest lines, counted and logged (at once, then at most once a minute), never memory or mail. Nothing is synced: after a crash the last lines may be
 * missing, which the contract allows. `current` grows to `fileBytesMax` and then takes its closing time as its name.
 */

import type { Ledger, LedgerEvent } from '../contract/ledger.ts'
import { errorCode, errorText } from '../protocol/failure.ts'
import type { DiskFile, LogFields, World } from './world.ts'

interface LedgerLimits {
  readonly flushMs: number
  readonly batchBytes: number
  /** Batches waiting for the disk. */
  readonly batchesMax: number
  readonly fileBytesMax: number
  /** Closed files kept. */
  readonly filesMax: number
}

export const defaultLedgerLimits: LedgerLimits = {
  flushMs: 100,
  batchBytes: 64 * 1024,
  batchesMax: 256,
  fileBytesMax: 64 * 1024 * 1024,
  filesMax: 8,
}

/** A disk that stays full is told of this often. */
const warnEveryMs = 60_000

/** The file that is being written. */
export const currentLedgerName = 'current'

export class LedgerFile implements Ledger {
  readonly #world: World
  readonly #directory: string
  readonly #limits: LedgerLimits
  #file: DiskFile | undefined
  #position = 0
  #lines: string[] = []
  #linesBytes = 0
  #batches: { readonly bytes: Buffer; readonly lines: number }[] = []
  #timerArmed = false
  #writing: Promise<void> | undefined
  #dropped = 0
  #closedName = 0
  /** When each warning was given last. */
  readonly #warnedAt = new Map<string, number>()

  constructor(world: World, directory: string, limits: LedgerLimits = defaultLedgerLimits) {
    this.#world = world
    this.#directory = directory
    this.#limits = limits
  }

  record(event: LedgerEvent): void {
    const line = JSON.stringify(event)
    this.#lines.push(line)
    this.#linesBytes += line.length + 1
    if (this.#linesBytes >= this.#limits.batchBytes) this.#send()
    else if (!this.#timerArmed) {
      this.#timerArmed = true
      this.#world.clock.after(this.#limits.flushMs, () => {
        this.#timerArmed = false
        this.#send()
      })
    }
  }

  /** Resolves when everything recorded so far was given to the disk, or dropped. */
  async flush(): Promise<void> {
    this.#send()
    while (this.#writing !== undefined) await this.#writing
  }

  async close(): Promise<void> {
    await this.flush()
    this.#warnedAt.clear()
    this.#tellDropped()
    const file = this.#file
    this.#file = undefined
    await file?.close()
  }

  #send(): void {
    if (this.#lines.length > 0) {
      this.#batches.push({ bytes: Buffer.from(`${this.#lines.join('\n')}\n`), lines: this.#lines.length })
      this.#lines = []
      this.#linesBytes = 0
      if (this.#batches.length > this.#limits.batchesMax) this.#dropped += this.#batches.shift()?.lines ?? 0
    }
    if (this.#batches.length > 0) this.#writing ??= this.#write()
  }

  /** Never rejects: what cannot be written is dropped and counted. */
  async #write(): Promise<void> {
    while (this.#batches.length > 0) {
      const batches = this.#batches
      this.#batches = []
      try {
        await this.#append(batches.map((batch) => batch.bytes))
      } catch (error) {
        for (const batch of batches) this.#dropped += batch.lines
        await this.#giveUpFile()
        this.#warn('ledger not written', { error: errorText(error) })
      }
    }
    this.#writing = undefined
    this.#tellDropped()
  }

  /** The next write opens it again, and looks at what is really there. */
  async #giveUpFile(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    // The write has failed already: there is nothing more to lose in this file.
    await file?.close().catch(() => {})
  }

  #tellDropped(): void {
    if (this.#dropped > 0 && this.#warn('ledger lines dropped', { lines: this.#dropped })) this.#dropped = 0
  }

  /** False where the same was said a moment ago. */
  #warn(event: string, fields: LogFields): boolean {
    const now = this.#world.clock.monotonic()
    if (now - (this.#warnedAt.get(event) ?? Number.NEGATIVE_INFINITY) < warnEveryMs) return false
    this.#warnedAt.set(event, now)
    this.#world.log.warn(event, { directory: this.#directory, ...fields })
    return true
  }

  async #append(chunks: readonly Buffer[]): Promise<void> {
    this.#file ??= await this.#open()
    await this.#file.write(chunks, this.#position)
    for (const chunk of chunks) this.#position += chunk.length
    if (this.#position < this.#limits.fileBytesMax) return
    try {
      await this.#rotate()
    } catch (error) {
      this.#warn('ledger file not changed', { error: errorText(error) })
    }
  }

  async #open(): Promise<DiskFile> {
    const { disk } = this.#world
    await disk.makeDirectory(this.#directory)
    const path = `${this.#directory}/${currentLedgerName}`
    const file = await disk.open(path, 'write').catch((error: unknown) => {
      if (errorCode(error) === 'ENOENT') return disk.open(path, 'create')
      throw error
    })
    try {
      this.#position = await file.size()
      if (this.#position > 0) await this.#endTornLine(file)
      return file
    } catch (error) {
      await file.close().catch(() => {})
      throw error
    }
  }

  /** A line that a crash cut short must not run into the next one. */
  async #endTornLine(file: DiskFile): Promise<void> {
    const last = Buffer.alloc(1)
    await file.read(last, this.#position - 1)
    if (last[0] === 10) return
    await file.write([Buffer.from('\n')], this.#position)
    this.#position++
  }

  async #rotate(): Promise<void> {
    const { disk, clock } = this.#world
    const file = this.#file
    this.#file = undefined
    await file?.close()
    this.#closedName = Math.max(clock.now(), this.#closedName + 1)
    const name = String(this.#closedName).padStart(15, '0')
    await disk.rename(`${this.#directory}/${currentLedgerName}`, `${this.#directory}/${name}`)
    const closed = (await disk.list(this.#directory)).filter((entry) => /^\d{15}$/.test(entry))
    for (const old of closed.slice(0, Math.max(0, closed.length - this.#limits.filesMax))) {
      await disk.unlink(`${this.#directory}/${old}`)
    }
  }
}
