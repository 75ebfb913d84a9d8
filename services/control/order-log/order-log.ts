/**
 * The audit log on disk: `<home>/orders.log`, one line per order before it is carried out and one after.
 *
 * A line is durable when `append` resolves. A write that fails stops the log, and with it every further order until the process is started
 * anew: what is on disk after a failed write nobody knows. A torn last line, which a crash leaves, was never answered for: it is cut at the
 * next start, and said. A log whose chain is broken goes on from its last line, and `verify` goes on naming the first broken one.
 */

import { errorCode, errorText } from '../../protocol/failure.ts'
import { readFileIfThere } from '../../runtime/durable-file.ts'
import type { Clock, Disk, DiskFile, Log } from '../../runtime/world.ts'
import {
  type ChainedEntry,
  type ChainVerdict,
  chainEntry,
  chainStart,
  type OrderEntry,
  readChained,
  verifyChain,
  writeChained,
} from './order-chain.ts'

export const orderLogName = 'orders.log'
/** Some hundred thousand orders; past it an administrator must put the file away. */
const orderLogBytesMax = 256 * 1024 * 1024

export type NewEntry = Omit<OrderEntry, 'number' | 'at'>

export class OrderLog {
  readonly #disk: Disk
  readonly #clock: Clock
  readonly #path: string
  readonly #file: DiskFile
  #bytes: number
  #number: number
  #hash: string
  #broken: string | undefined
  #last: Promise<unknown> = Promise.resolve()

  private constructor(parts: { disk: Disk; clock: Clock; path: string; file: DiskFile }, text: string) {
    this.#disk = parts.disk
    this.#clock = parts.clock
    this.#path = parts.path
    this.#file = parts.file
    this.#bytes = Buffer.byteLength(text)
    const lines = text.split('\n').slice(0, -1)
    this.#number = lines.length
    this.#hash = readChained(lines.at(-1) ?? '')?.hash ?? chainStart
  }

  /** Rejects where the disk does not do. */
  static async open(parts: { disk: Disk; clock: Clock; log: Log }, home: string): Promise<OrderLog> {
    const { disk, clock, log } = parts
    const path = `${home}/${orderLogName}`
    const bytes = await readFileIfThere(disk, path)
    const file = await openFile(disk, path, bytes !== undefined)
    if (bytes === undefined) await disk.syncDirectory(home)
    const whole = bytes === undefined ? 0 : bytes.lastIndexOf(10) + 1
    if (bytes !== undefined && whole < bytes.length) {
      await file.truncate(whole)
      await file.datasync()
      log.warn('a torn line was cut from the audit log of orders', { file: path, bytes: bytes.length - whole })
    }
    const text = bytes?.subarray(0, whole).toString('utf8') ?? ''
    const verdict = verifyChain(text)
    if (!verdict.intact) {
      log.error('the audit log of orders is broken', { file: path, line: verdict.brokenLine, why: verdict.why })
    }
    return new OrderLog({ disk, clock, path, file }, text)
  }

  /** Durable when it resolves, with the number of the line. Rejects where it is not, or may not be. */
  append(entry: NewEntry): Promise<number> {
    const written = this.#last.then(() => this.#write(entry))
    this.#last = written.catch(() => {})
    return written
  }

  /** The lines from `from` on, the last ones where it is 0. A line that is none is left out. */
  async read(from: number, limit: number): Promise<readonly ChainedEntry[]> {
    const lines = (await this.#text()).split('\n').slice(0, -1)
    const first = from === 0 ? Math.max(0, lines.length - limit) : from - 1
    return lines.slice(first, first + limit).flatMap((line) => readChained(line) ?? [])
  }

  async verify(): Promise<ChainVerdict> {
    return verifyChain(await this.#text())
  }

  async close(): Promise<void> {
    await this.#last
    await this.#file.close()
  }

  async #write(entry: NewEntry): Promise<number> {
    if (this.#broken !== undefined) throw new Error(this.#broken)
    const number = this.#number + 1
    const chained = chainEntry({ ...entry, number, at: this.#clock.now() }, this.#hash)
    const line = Buffer.from(`${writeChained(chained)}\n`)
    if (this.#bytes + line.length > orderLogBytesMax) {
      throw new Error(`${this.#path} is full: ${this.#bytes} bytes; put it away and start this instance anew`)
    }
    try {
      await this.#file.writeDurably([line], this.#bytes)
    } catch (error) {
      this.#broken = `${this.#path} could not be written: ${errorText(error)}; start this instance anew`
      throw new Error(this.#broken)
    }
    this.#bytes += line.length
    this.#number = number
    this.#hash = chained.hash
    return number
  }

  async #text(): Promise<string> {
    await this.#last
    return (await this.#disk.readFile(this.#path)).toString('utf8')
  }
}

async function openFile(disk: Disk, path: string, exists: boolean): Promise<DiskFile> {
  try {
    return await disk.open(path, exists ? 'write' : 'create')
  } catch (error) {
    const named = new Error(`${path} cannot be opened: ${errorText(error)}`)
    throw Object.assign(named, { code: errorCode(error) })
  }
}
