/**
 * What a scaling run proves, from outside: the ledger of what was acknowledged and what arrived, the journals read after the end, and
 * the receipts.
 *
 * Lost: acknowledged, neither arrived nor queued anywhere. Queued twice: pending at two instances at once, which nothing excuses.
 * Duplicates are judged as in `crash/verdict.ts`: only the death of a queue process in the window of RFC 1047 explains one. Changed: a
 * deferred recipient that has another due time than before without an attempt that was due, or fewer attempts.
 */

import type { QueuedMessage } from '../../services/contract/operations.ts'
import type { OutsideLedger } from '../crash/outside-ledger.ts'
import { deliveryKey, judge } from '../crash/verdict.ts'

/** A deferred recipient as an instance listed it. */
export interface Deferral {
  readonly id: string
  readonly address: string
  readonly attempts: number
  readonly dueAt: number
}

export interface ReceiptCheck {
  readonly plan: string
  readonly instance: string
  readonly messages: number
  /** Of the manifests it speaks of, so that two receipts of one instance can be compared. */
  readonly digest: string
  /** `qmq audit verify` said so. */
  readonly verified: boolean
}

export interface ScaleEvidence {
  readonly ledger: OutsideLedger
  /** Tokens by message id. */
  readonly tokens: ReadonlyMap<string, string>
  /** Every home's journal at the end, instances that left included. */
  readonly queued: readonly QueuedMessage[]
  /** Seen, and seen again a while later, before instances left. */
  readonly deferrals: readonly Deferral[]
  /** When the last journal was read. */
  readonly endedAt: number
  readonly receipts: readonly ReceiptCheck[]
  /** `plan instance` of everybody who left. */
  readonly left: readonly string[]
  readonly balanced: boolean
}

export interface ScaleVerdict {
  readonly sent: number
  readonly acked: number
  readonly arrived: number
  /** Recipients acknowledged and still waiting in a queue. */
  readonly queued: number
  readonly lost: readonly string[]
  readonly damaged: readonly string[]
  readonly stray: readonly string[]
  readonly duplicates: number
  readonly unexplained: readonly string[]
  readonly queuedTwice: readonly string[]
  /** Deferred recipients compared with how they stood before. */
  readonly deferralsKept: number
  readonly changed: readonly string[]
  readonly receipts: number
  readonly receiptProblems: readonly string[]
  readonly balanced: boolean
}

export function judgeScale(evidence: ScaleEvidence): ScaleVerdict {
  const { ledger, receipts, balanced } = evidence
  const { sent, acked, arrived, lost, damaged, stray, duplicates, unexplained } = judge(ledger)
  const waiting = pendingOf(evidence)
  const queuedTwice = [...waiting].filter(([, places]) => places.length > 1).map(([key, places]) => `${key} ${places}`)
  const { changed, compared } = changesOf(evidence)
  return {
    ...{ sent, acked, arrived, queued: waiting.size },
    lost: lost.filter((delivery) => !waiting.has(delivery)),
    ...{ damaged, stray, duplicates, unexplained, queuedTwice },
    deferralsKept: compared - changed.length,
    changed,
    receipts: receipts.length,
    receiptProblems: receiptProblemsOf(evidence),
    balanced,
  }
}

export function holdsScale(verdict: ScaleVerdict): boolean {
  const { lost, damaged, stray, unexplained, queuedTwice, changed, receiptProblems, balanced } = verdict
  const faults = [lost, damaged, stray, unexplained, queuedTwice, changed, receiptProblems]
  return balanced && faults.every((list) => list.length === 0)
}

/** Where each acknowledged delivery waits, by token and recipient. */
function pendingOf({ queued, tokens }: ScaleEvidence): ReadonlyMap<string, readonly string[]> {
  const places = new Map<string, string[]>()
  for (const { id, instance, recipients } of queued) {
    const token = tokens.get(id)
    if (token === undefined) continue
    for (const { address, status } of recipients) {
      if (status === 'delivered') continue
      const key = deliveryKey(token, address)
      const known = places.get(key)
      if (known === undefined) places.set(key, [instance])
      else known.push(instance)
    }
  }
  return places
}

function changesOf({ queued, deferrals, endedAt }: ScaleEvidence): {
  readonly changed: readonly string[]
  readonly compared: number
} {
  const now = new Map(
    queued.flatMap(({ id, recipients }) => recipients.map((recipient) => [`${id} ${recipient.address}`, recipient])),
  )
  const changed: string[] = []
  let compared = 0
  for (const before of deferrals) {
    const key = `${before.id} ${before.address}`
    const after = now.get(key)
    // What is not queued any more is for the other lists to judge.
    if (after === undefined || after.status === 'delivered') continue
    compared++
    const tried = after.attempts > before.attempts && before.dueAt <= endedAt
    const same = after.attempts === before.attempts && after.dueAt === before.dueAt
    if (same || tried) continue
    const was = `${before.attempts} attempts, due ${before.dueAt}`
    changed.push(`${key}: ${was}, now ${after.attempts} attempts, due ${after.dueAt}`)
  }
  return { changed, compared }
}

function receiptProblemsOf({ receipts, left }: ScaleEvidence): readonly string[] {
  const problems: string[] = []
  const digests = new Map<string, string>()
  for (const { plan, instance, digest, verified } of receipts) {
    const key = `${plan} ${instance}`
    if (!verified) problems.push(`${key}: does not verify`)
    const other = digests.get(key)
    if (other !== undefined && other !== digest) problems.push(`${key}: two receipts that disagree`)
    digests.set(key, digest)
  }
  for (const key of left) if (!digests.has(key)) problems.push(`${key}: left without a receipt`)
  return problems
}
