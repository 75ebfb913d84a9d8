/**
 * The receipts of a cluster: signed, first entered into coordination where only the first one counts, then kept on this process's disk
 * with the manifests. A leader who died in between is followed by one that finds the entry and keeps the same text; so there are never
 * two receipts of one instance that say different things. Only what is in both places counts as made.
 */

import { type Coordination, type Json, receiptKey } from '../../contract/coordination.ts'
import type { Receipt } from '../../contract/receipt.ts'
import { errorText } from '../../protocol/failure.ts'
import type { Signer, Verifier } from '../../runtime/signature.ts'
import { checkReceipt, type ReceiptVerdict } from './receipt-check.ts'
import type { ReceiptMaking } from './receipt-maker.ts'
import { readReceipt, writeReceipt } from './receipt-record.ts'
import type { ReceiptName, ReceiptStore } from './receipt-store.ts'

/** Entries in coordination; older ones are only on disk. */
export const receiptRecordsMax = 64

interface ReceiptBookParts {
  readonly coordination: Coordination
  readonly store: ReceiptStore
  readonly signer: Signer
  readonly verifier: Verifier
}

export interface JudgedReceipt {
  /** Signed. */
  readonly text: string
  readonly verdict: ReceiptVerdict
}

export type ReceiptEntered =
  | { readonly kind: 'entered'; readonly sealedAt: number }
  /** Why there is none yet, in words. */
  | { readonly kind: 'not-yet'; readonly why: string }

export class ReceiptBook {
  readonly #parts: ReceiptBookParts
  /** Of receipts known to be in both places, by key. */
  readonly #known = new Map<string, number>()

  constructor(parts: ReceiptBookParts) {
    this.#parts = parts
  }

  /** When the instance was sealed, where its receipt is made. Rejects where the store cannot be reached. */
  async sealedAt(name: ReceiptName): Promise<number | undefined> {
    const key = receiptKey(name.plan, name.instance)
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const kept = await this.#parts.store.read(name)
    const entered = await this.#entered(name)
    if (kept === undefined || (entered !== undefined && entered !== kept)) return undefined
    const receipt = this.#open(kept, name)
    if (typeof receipt === 'string') return undefined
    // The store began anew: what is on disk is entered again.
    if (entered === undefined && (await this.#enter(name, kept)) !== kept) return undefined
    this.#remember(key, receipt.sealedAt)
    return receipt.sealedAt
  }

  /** Enters what was made, or, where another leader was first, keeps what that one said. Rejects where store or disk fail. */
  async enter(name: ReceiptName, { receipt, manifests }: ReceiptMaking & { kind: 'made' }): Promise<ReceiptEntered> {
    const { store, signer } = this.#parts
    const own = (await store.read(name)) ?? signer.sign(writeReceipt(receipt))
    const text = (await this.#entered(name)) ?? (await this.#enter(name, own))
    if (text === undefined) return { kind: 'not-yet', why: 'coordination did not take the receipt' }
    const entered = this.#open(text, name)
    if (typeof entered === 'string')
      return { kind: 'not-yet', why: `the receipt in coordination is not to be believed: ${entered}` }
    if (!isSameMail(entered, receipt)) return { kind: 'not-yet', why: 'another leader’s receipt says something else' }
    await store.keep(name, text, manifests)
    this.#remember(receiptKey(name.plan, name.instance), entered.sealedAt)
    return { kind: 'entered', sealedAt: entered.sealedAt }
  }

  /** The signed text, from disk or from coordination. */
  async read(name: ReceiptName): Promise<string | undefined> {
    return (await this.#parts.store.read(name)) ?? (await this.#entered(name))
  }

  /** Undefined where there is none. Rejects where neither disk nor coordination answers. */
  async judged(name: ReceiptName): Promise<JudgedReceipt | undefined> {
    const { store, verifier } = this.#parts
    const text = await this.read(name)
    if (text === undefined) return undefined
    const manifests = await store.manifests(name)
    const evidence = { text, verify: verifier.verify, manifest: (file: string) => manifests.get(file) }
    return { text, verdict: checkReceipt(evidence) }
  }

  /** On this disk, and in coordination where that can be reached. */
  async list(): Promise<readonly ReceiptName[]> {
    const kept = await this.#parts.store.list()
    const entries = await this.#parts.coordination.list('receipt/').catch(() => [])
    const named = entries.flatMap(({ key }) => {
      const [, plan, instance] = key.split('/')
      return plan === undefined || instance === undefined ? [] : [{ plan, instance }]
    })
    const all = new Map([...kept, ...named].map((name) => [receiptKey(name.plan, name.instance), name]))
    return [...all.values()]
  }

  /** Takes the oldest entries out of coordination. Best effort. */
  async tidy(): Promise<void> {
    const entries = await this.#parts.coordination.list('receipt/')
    const surplus = entries
      .map(({ key }) => key)
      .toSorted()
      .slice(0, Math.max(0, entries.length - receiptRecordsMax))
    for (const key of surplus) await this.#parts.coordination.delete(key)
  }

  async #entered({ plan, instance }: ReceiptName): Promise<string | undefined> {
    const entry = await this.#parts.coordination.get(receiptKey(plan, instance))
    return entry === undefined ? undefined : JSON.stringify(entry.value)
  }

  /** What is entered now: this text, or that of whoever was first. */
  async #enter(name: ReceiptName, text: string): Promise<string | undefined> {
    const key = receiptKey(name.plan, name.instance)
    const result = await this.#parts.coordination.create(key, JSON.parse(text) as Json)
    if (result.kind === 'written') return text
    return await this.#entered(name)
  }

  #open(text: string, name: ReceiptName): Receipt | string {
    const verified = this.#parts.verifier.verify(text)
    if (!verified.ok) return verified.why
    const receipt = readReceipt(verified.document)
    if (typeof receipt === 'string') return receipt
    return receipt.plan === name.plan && receipt.instance === name.instance ? receipt : 'it is of another instance'
  }

  #remember(key: string, sealedAt: number): void {
    if (this.#known.size >= receiptRecordsMax) this.#known.clear()
    this.#known.set(key, sealedAt)
  }
}

/** Who saw it and when may differ, what moved may not. */
function isSameMail(one: Receipt, other: Receipt): boolean {
  const of = ({ left, arrived, messages, bytes, recipients }: Receipt) =>
    JSON.stringify({ left, arrived, messages, bytes, recipients })
  return of(one) === of(other)
}

/** In words. */
export function enterTrouble(error: unknown): ReceiptEntered {
  return { kind: 'not-yet', why: `the receipt cannot be kept: ${errorText(error)}` }
}
