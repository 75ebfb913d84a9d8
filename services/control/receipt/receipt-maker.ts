/**
 * Makes the receipt of an instance that is sealed: asks it and every target for what they have of the plan, compares, and signs only
 * what agrees entry by entry. Asking changes nothing, so a leader may die anywhere in it and the next one asks again.
 *
 * An instance that does not answer is waited for; one that says something else than its peer is a dispute, which a person must look at.
 */

import type { Json, RequestResult } from '../../contract/coordination.ts'
import type { DrainPlan, Layout } from '../../contract/layout.ts'
import {
  entryKey,
  type Manifest,
  type ManifestPage,
  type ManifestPart,
  manifestPageLinesMax,
  readEntry,
} from '../../contract/manifest.ts'
import type { Audit, OperationName } from '../../contract/operations.ts'
import { type Receipt, receiptVersion } from '../../contract/receipt.ts'
import { lineDifferences, partName, unequalParts } from './manifest-comparison.ts'
import { partProblems, receiptProblems } from './receipt-check.ts'
import { type ManifestSide, manifestFileName } from './receipt-record.ts'

export type Ask = (instance: string, operation: OperationName, value: Json) => Promise<RequestResult>

export type ReceiptMaking =
  /** File name to text of each manifest. */
  | { readonly kind: 'made'; readonly receipt: Receipt; readonly manifests: ReadonlyMap<string, string> }
  | { readonly kind: 'disputed'; readonly why: string }
  | { readonly kind: 'unheard'; readonly why: string }

export interface ReceiptWish {
  readonly layout: Layout
  readonly plan: DrainPlan
  readonly instance: string
  readonly fence: number
  /** The store's clock, unix milliseconds. */
  readonly now: number
}

/** Lines of one plan and instance that one receipt can hold. */
export const receiptLinesMax = 2_000_000

/** Rejects only with `Unheard` inside; callers see values. */
export async function makeReceipt(ask: Ask, wish: ReceiptWish): Promise<ReceiptMaking> {
  try {
    return await new ReceiptMaker(ask, wish).make()
  } catch (error) {
    if (error instanceof Unheard) return { kind: 'unheard', why: error.message }
    throw error
  }
}

/** Somebody did not answer. */
class Unheard extends Error {}

class ReceiptMaker {
  readonly #ask: Ask
  readonly #wish: ReceiptWish
  #lines = 0

  constructor(ask: Ask, wish: ReceiptWish) {
    this.#ask = ask
    this.#wish = wish
  }

  async make(): Promise<ReceiptMaking> {
    const { instance } = this.#wish
    const left = (await this.#manifestOf(instance)).parts.filter(({ source }) => source === instance)
    const arrived: ManifestPart[] = []
    for (const target of this.#targets(left)) {
      const { parts } = await this.#manifestOf(target)
      arrived.push(...parts.filter((part) => part.source === instance && part.target === target))
    }
    const manifests = new Map<string, string>()
    const differences = await this.#compareLines(left, arrived, manifests)
    if (differences.length > 0) return { kind: 'disputed', why: differences.join('; ') }
    const receipt = this.#receipt(left, arrived, (await this.#answer(instance, 'audit', {})) as unknown as Audit)
    const problems = receiptProblems(receipt)
    return problems.length > 0 ? { kind: 'disputed', why: problems.join('; ') } : { kind: 'made', receipt, manifests }
  }

  /** Every target of the plan is asked, also those that the source says nothing of: one may have what nobody says left. */
  #targets(left: readonly ManifestPart[]): readonly string[] {
    return [...new Set([...this.#wish.plan.targets, ...left.map(({ target }) => target)])]
  }

  async #compareLines(
    left: readonly ManifestPart[],
    arrived: readonly ManifestPart[],
    manifests: Map<string, string>,
  ): Promise<readonly string[]> {
    const names = new Set([...left, ...arrived].map(partName))
    const unequal = new Set(unequalParts(left, arrived))
    const differences: string[] = []
    for (const name of names) {
      const own = await this.#fetch(
        'left',
        this.#wish.instance,
        left.find((part) => partName(part) === name),
        manifests,
        differences,
      )
      const twin = arrived.find((part) => partName(part) === name)
      const there = await this.#fetch('arrived', twin?.target ?? '', twin, manifests, differences)
      const found = lineDifferences(own, there)
      differences.push(...found.map((difference) => `${name}: ${difference}`))
      if (unequal.has(name) && found.length === 0) differences.push(`${name}: the totals differ`)
    }
    return differences
  }

  /** The lines of one side of a part, checked against what the side says of them in sum. */
  async #fetch(
    side: ManifestSide,
    of: string,
    part: ManifestPart | undefined,
    manifests: Map<string, string>,
    differences: string[],
  ): Promise<readonly string[]> {
    if (part === undefined) return []
    const lines = await this.#linesOf(of, part)
    manifests.set(manifestFileName(side, part), lines.map((line) => `${line}\n`).join(''))
    differences.push(...partProblems(part, lines).map((problem) => `${side} ${partName(part)}: ${problem}`))
    return lines
  }

  async #linesOf(instance: string, { source, target }: ManifestPart): Promise<readonly string[]> {
    const { id: plan } = this.#wish.plan
    const lines: string[] = []
    for (let after = ''; ; ) {
      const value = { plan, source, target, after, limit: manifestPageLinesMax }
      const page = (await this.#answer(instance, 'manifest-lines', value)) as unknown as ManifestPage
      if (!Array.isArray(page.lines)) throw new Unheard(`${instance} answers what is no page of a manifest`)
      lines.push(...page.lines)
      this.#lines += page.lines.length
      if (this.#lines > receiptLinesMax) throw new Unheard(`more than ${receiptLinesMax} lines for one receipt`)
      const last = page.lines.at(-1)
      const entry = last === undefined ? undefined : readEntry(last)
      if (page.more !== true || entry === undefined) return lines
      after = entryKey(entry)
    }
  }

  async #manifestOf(instance: string): Promise<Manifest> {
    const manifest = (await this.#answer(instance, 'manifest', { plan: this.#wish.plan.id })) as unknown as Manifest
    if (!Array.isArray(manifest.parts)) throw new Unheard(`${instance} answers what is no manifest`)
    return manifest
  }

  async #answer(instance: string, operation: OperationName, value: Json): Promise<Json> {
    const result = await this.#ask(instance, operation, value)
    if (result.kind === 'reply' && typeof result.value === 'object' && result.value !== null) return result.value
    const why =
      result.kind === 'refused' ? result.why : result.kind === 'timeout' ? 'no answer in time' : 'it is not there'
    throw new Unheard(`${instance} does not give its ${operation}: ${why}`)
  }

  #receipt(left: readonly ManifestPart[], arrived: readonly ManifestPart[], audit: Audit): Receipt {
    const { layout, plan, instance, fence, now } = this.#wish
    const sum = (total: 'messages' | 'bytes' | 'recipients') => left.reduce((before, part) => before + part[total], 0)
    return {
      ...{ version: receiptVersion, cluster: layout.cluster, plan: plan.id, pool: plan.pool, instance },
      ...{ by: plan.by, reason: plan.reason, epoch: layout.epoch, fence, startedAt: plan.startedAt, sealedAt: now },
      ...{ messages: sum('messages'), bytes: sum('bytes'), recipients: sum('recipients'), left, arrived, audit },
    }
  }
}
