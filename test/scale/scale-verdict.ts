/**
 * What a scaling run proves, from outside: the ledger of what was acknowledged and what arrived, the journals read after the end, and
 * the receipts.
 *
 * Lost: acknowledged, neither arrived nor queued anywhere. Queued twice: pending at two instances at once, which nothing excuses.
 * Duplicates are judged as in `crash/verdict.ts`, each with its reason. Settled unanswered: the next hop's answer was lost, and yet the
 * recipient counts as delivered. Changed: a deferred recipient that has another due time than before without an attempt that was due, or
 * fewer attempts. Nothing was cut: answers were to be lost and none was, so that the run shows nothing of it.
 */

import type { QueuedMessage } from '../../services/contract/operations.ts'
import type { OutsideLedger } from '../crash/outside-ledger.ts'
import { deliveryKey, judge } from '../crash/verdict.ts'
import type { CutTallies } from './fuse.ts'

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
  /** What every instance has in its queue, those that left included: as they say while they run, or by their journals. */
  readonly queued: readonly QueuedMessage[]
  /** Seen, and seen again a while later, before instances left. */
  readonly deferrals: readonly Deferral[]
  /** When the last queue was looked at. */
  readonly endedAt: number
  readonly receipts: readonly ReceiptCheck[]
  /** `plan instance` of everybody who left. */
  readonly left: readonly string[]
  readonly balanced: boolean
  readonly cuts: CutTallies
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
  readonly explained: readonly string[]
  readonly unexplained: readonly string[]
  readonly settledUnanswered: readonly string[]
  readonly queuedTwice: readonly string[]
  /** Deferred recipients compared with how they stood before. */
  readonly deferralsKept: number
  readonly changed: readonly string[]
  readonly receipts: number
  readonly receiptProblems: readonly string[]
  readonly balanced: boolean
  readonly cuts: CutTallies
}

export function judgeScale(evidence: ScaleEvidence): ScaleVerdict {
  const { ledger, receipts, balanced, cuts } = evidence
  const { lost, ...judged } = judge(ledger)
  const pending = pendingIn(evidence)
  const waiting = new Set(pending.map(({ delivery }) => delivery))
  const { changed, compared } = changesOf(evidence)
  return {
    ...judged,
    queued: waiting.size,
    lost: lost.filter((delivery) => !waiting.has(delivery)),
    settledUnanswered: settledUnanswered(ledger, waiting),
    queuedTwice: queuedTwice(pending),
    deferralsKept: compared - changed.length,
    changed,
    receipts: receipts.length,
    receiptProblems: receiptProblemsOf(evidence),
    balanced,
    cuts,
  }
}

export function holdsScale(verdict: ScaleVerdict): boolean {
  const { lost, damaged, stray, unexplained, settledUnanswered, queuedTwice, changed, receiptProblems } = verdict
  const faults = [lost, damaged, stray, unexplained, settledUnanswered, queuedTwice, changed, receiptProblems]
  return verdict.balanced && !wasNothingCut(verdict.cuts) && faults.every((list) => list.length === 0)
}

export function wasNothingCut(cuts: CutTallies): boolean {
  const all = Object.values(cuts)
  return all.some(({ armed }) => armed > 0) && all.every(({ lost }) => lost === 0)
}

/** An acknowledged recipient in a queue. */
interface Pending {
  readonly id: string
  readonly delivery: string
  readonly instance: string
}

function pendingIn({ queued, tokens }: ScaleEvidence): readonly Pending[] {
  return queued.flatMap(({ id, instance, recipients }) => {
    const token = tokens.get(id)
    const open = token === undefined ? [] : recipients.filter(({ status }) => status !== 'delivered')
    return open.map(({ address }) => ({ id, instance, delivery: deliveryKey(token ?? '', address) }))
  })
}

/** What a client sent again is another message, with an id of its own. */
function queuedTwice(pending: readonly Pending[]): readonly string[] {
  const places = Map.groupBy(pending, ({ id, delivery }) => `${id} ${delivery}`)
  return [...places.values()]
    .filter((found) => found.length > 1)
    .map((found) => `${found[0]?.delivery} ${found.map(({ instance }) => instance)}`)
}

/** A copy whose answer was lost, of which no other came, and which nobody means to deliver again. */
function settledUnanswered({ incidents, arrivals, messages }: OutsideLedger, waiting: ReadonlySet<string>): string[] {
  const lost = new Set(incidents.flatMap(({ kind, target, at }) => (kind === 'unanswered' ? [`${target} ${at}`] : [])))
  if (lost.size === 0) return []
  const last = new Map(arrivals.map((arrival) => [deliveryKey(arrival.token, arrival.recipient), arrival]))
  return [...last].flatMap(([delivery, { token, at }]) => {
    const isOwed = messages.get(token)?.ackedAt !== undefined
    return isOwed && lost.has(`${token} ${at}`) && !waiting.has(delivery) ? [delivery] : []
  })
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
