/**
 * The manifests of this instance, one file a plan: `home/handover/<plan>.manifest`, lines as `contract/manifest.ts` has them.
 *
 * A line is written for a message that is durable at its target, and for no other; the message leaves its source only once the line
 * there is durable. So what the files say is what moved. They are kept when their plan is over: a receipt is checked against them.
 */

import {
  entryKey,
  type Manifest,
  type ManifestEntry,
  type ManifestPage,
  type ManifestPart,
  manifestPageLinesMax,
  readEntry,
  writeEntry,
} from '../../contract/manifest.ts'
import { transactionIdPattern } from '../../contract/transaction-id.ts'
import { sha256 } from '../../runtime/digest.ts'
import type { Clock, Disk, Timer } from '../../runtime/world.ts'
import { KeySet, transferKey } from '../id-index.ts'
import { LineFile, readLines, type Written } from './line-file.ts'

interface Part {
  readonly summary: ManifestPart
  /** By key. */
  readonly lines: readonly { readonly key: string; readonly line: string }[]
}

/** A plan's file as it was read, kept for the pages asked one after another. */
interface Reading {
  readonly plan: string
  readonly parts: readonly Part[]
}

const readingKeptMs = 60_000

export class Manifests {
  readonly #world: { readonly clock: Clock; readonly disk: Disk }
  readonly #directory: string
  readonly #instance: string
  readonly #onFatal: (error: Error) => void
  readonly #files = new Map<string, LineFile>()
  #reading: Reading | undefined
  #forget: Timer | undefined

  constructor(
    world: { readonly clock: Clock; readonly disk: Disk },
    directory: string,
    parts: { readonly instance: string; readonly onFatal: (error: Error) => void },
  ) {
    this.#world = world
    this.#directory = directory
    this.#instance = parts.instance
    this.#onFatal = parts.onFatal
  }

  append(plan: string, entry: ManifestEntry, done: Written): void {
    if (this.#reading?.plan === plan) this.#reading = undefined
    this.#fileOf(plan).append(writeEntry(entry), done)
  }

  /** Keys of every message the plan's file names, durably. */
  async keys(plan: string): Promise<KeySet> {
    await this.#fileOf(plan).open()
    const keys = new KeySet()
    await readLines(this.#world.disk, this.#path(plan), (line) => {
      const entry = readEntry(line)
      if (entry !== undefined) keys.add(transferKey({ instance: entry.source, number: entry.number }, entry.id))
    })
    return keys
  }

  async manifest(plan: string): Promise<Manifest> {
    const { parts } = await this.#read(plan)
    return { plan, instance: this.#instance, parts: parts.map(({ summary }) => summary) }
  }

  /** Lines of one part behind the key `after`. */
  async page(
    plan: string,
    part: Pick<ManifestPart, 'source' | 'target'>,
    after: string,
    limit: number,
  ): Promise<ManifestPage> {
    const { parts } = await this.#read(plan)
    const found = parts.find(({ summary }) => summary.source === part.source && summary.target === part.target)
    const lines = found?.lines ?? []
    const start = after === '' ? 0 : firstBehind(lines, after)
    const end = start + Math.max(1, Math.min(limit, manifestPageLinesMax))
    return { lines: lines.slice(start, end).map(({ line }) => line), more: end < lines.length }
  }

  /** Lets go of the files of plans that are over. */
  async keepOnly(plans: ReadonlySet<string>): Promise<void> {
    for (const [plan, file] of this.#files) {
      if (plans.has(plan)) continue
      this.#files.delete(plan)
      await file.close()
    }
  }

  async close(): Promise<void> {
    this.#forget?.cancel()
    await this.keepOnly(new Set())
  }

  #fileOf(plan: string): LineFile {
    let file = this.#files.get(plan)
    if (file === undefined) {
      file = new LineFile(this.#world.disk, this.#path(plan), this.#onFatal)
      this.#files.set(plan, file)
    }
    return file
  }

  #path(plan: string): string {
    // The name comes from a layout or from a request: nothing else may become a path.
    if (!transactionIdPattern.test(plan)) throw new Error(`${plan} is no plan`)
    return `${this.#directory}/${plan}.manifest`
  }

  async #read(plan: string): Promise<Reading> {
    if (this.#reading?.plan === plan) return this.#reading
    const entries = new Map<string, { readonly entry: ManifestEntry; readonly line: string }>()
    await readLines(this.#world.disk, this.#path(plan), (line) => {
      const entry = readEntry(line)
      if (entry !== undefined) entries.set(entryKey(entry), { entry, line })
    })
    const reading = { plan, parts: partsOf(entries) }
    this.#reading = reading
    this.#forget?.cancel()
    this.#forget = this.#world.clock.after(readingKeptMs, () => {
      this.#reading = undefined
    })
    return reading
  }
}

type Entries = ReadonlyMap<string, { readonly entry: ManifestEntry; readonly line: string }>

function partsOf(entries: Entries): Part[] {
  const groups = new Map<string, [string, { readonly entry: ManifestEntry; readonly line: string }][]>()
  for (const one of entries) {
    const name = `${one[1].entry.source}>${one[1].entry.target}`
    const group = groups.get(name)
    if (group === undefined) groups.set(name, [one])
    else group.push(one)
  }
  return [...groups.keys()].sort().map((name) => partOf(groups.get(name) ?? []))
}

function partOf(group: readonly (readonly [string, { readonly entry: ManifestEntry; readonly line: string }])[]): Part {
  const sorted = [...group].sort(([a], [b]) => (a < b ? -1 : 1))
  const { source, target } = sorted[0]?.[1].entry ?? { source: '', target: '' }
  let [bytes, recipients] = [0, 0]
  for (const [, { entry }] of sorted) {
    bytes += entry.bytes
    recipients += entry.recipients
  }
  const digest = sha256(sorted.map(([, { line }]) => `${line}\n`))
  return {
    summary: { source, target, messages: sorted.length, bytes, recipients, digest },
    lines: sorted.map(([key, { line }]) => ({ key, line })),
  }
}

function firstBehind(lines: Part['lines'], after: string): number {
  let [low, high] = [0, lines.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((lines[middle]?.key ?? '') <= after) low = middle + 1
    else high = middle
  }
  return low
}
