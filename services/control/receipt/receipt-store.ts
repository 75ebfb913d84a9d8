/**
 * Receipts on disk: `<home>/receipts/<plan>-<instance>/`, the manifests first and `receipt.json` last, so that what has a receipt has all
 * of it. They are kept; an administrator removes them. A receipt that is there is never replaced by another.
 */

import { transactionIdPattern } from '../../contract/transaction-id.ts'
import { errorCode } from '../../protocol/failure.ts'
import { makeDirectoryDurably, readFileIfThere, writeFileDurably } from '../../runtime/durable-file.ts'
import type { Disk } from '../../runtime/world.ts'
import { receiptDirectoryName, receiptFileName } from './receipt-record.ts'

export interface ReceiptName {
  readonly plan: string
  readonly instance: string
}

export class ReceiptStore {
  readonly #disk: Disk
  readonly #directory: string

  constructor(disk: Disk, home: string) {
    this.#disk = disk
    this.#directory = `${home}/receipts`
  }

  /** The signed text. Rejects where the disk fails. */
  async keep(name: ReceiptName, text: string, manifests: ReadonlyMap<string, string>): Promise<void> {
    if ((await this.read(name)) !== undefined) return
    const directory = this.directoryOf(name)
    await makeDirectoryDurably(this.#disk, directory, 2)
    for (const [file, lines] of manifests)
      await writeFileDurably(this.#disk, `${directory}/${file}`, [Buffer.from(lines)])
    await writeFileDurably(this.#disk, `${directory}/${receiptFileName}`, [Buffer.from(`${text}\n`)])
  }

  /** The signed text, without the end of its line. */
  async read(name: ReceiptName): Promise<string | undefined> {
    const bytes = await readFileIfThere(this.#disk, `${this.directoryOf(name)}/${receiptFileName}`)
    return bytes?.toString('utf8').replace(/\n$/, '')
  }

  /** The manifests beside it, by file name. */
  async manifests(name: ReceiptName): Promise<ReadonlyMap<string, string>> {
    const directory = this.directoryOf(name)
    const files = (await this.#names(directory)).filter((file) => file.endsWith('.manifest'))
    const texts = await Promise.all(files.map((file) => this.#disk.readFile(`${directory}/${file}`)))
    return new Map(files.map((file, index) => [file, texts[index]?.toString('utf8') ?? '']))
  }

  async list(): Promise<readonly ReceiptName[]> {
    const names = await this.#names(this.#directory)
    const found = names.map((name) => ({ plan: name.slice(0, 26), instance: name.slice(27) }))
    const own = found.filter(
      (name, index) => isName(name) && receiptDirectoryName(name.plan, name.instance) === names[index],
    )
    const whole = await Promise.all(own.map(async (name) => ((await this.read(name)) === undefined ? [] : [name])))
    return whole.flat()
  }

  async #names(directory: string): Promise<readonly string[]> {
    return await this.#disk.list(directory).catch((error: unknown) => {
      if (errorCode(error) === 'ENOENT') return []
      throw error
    })
  }

  /** Throws where the name could be another path. */
  directoryOf(name: ReceiptName): string {
    if (!isName(name)) throw new Error('that is no name of a receipt')
    return `${this.#directory}/${receiptDirectoryName(name.plan, name.instance)}`
  }
}

function isName({ plan, instance }: ReceiptName): boolean {
  return transactionIdPattern.test(plan) && plan.length === 26 && /^[0-9]{2,3}$/.test(instance)
}
