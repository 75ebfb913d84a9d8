/** What is said of an order: before it what it would do, after it what became of it. */

import type { PlanStatus } from '../contract/cluster-status.ts'
import type { Receipt } from '../contract/receipt.ts'
import { readReceipt } from '../control/receipt/receipt-record.ts'
import type { ControlClient } from './control-client.ts'
import { bytesText } from './plan-progress.ts'
import { shortDuration } from './text-table.ts'
import type { Context } from './verb.ts'

export interface Preview {
  readonly leaving: readonly string[]
  readonly targets: readonly string[]
  readonly added: readonly string[]
  readonly messages: number
  readonly bytes: number
  readonly oldestAgeMs: number
  readonly seconds: number
  readonly rate: string
  readonly slaRisk: number
  readonly notes: readonly string[]
}

export interface OrderReply {
  readonly result: {
    readonly changed: boolean
    readonly why: string
    readonly epoch: number
    readonly plan: string
    readonly preview: Preview | null
  }
}

/** The last line of `-o json`. */
export interface ScaleOutcome {
  readonly pool: string
  readonly from: number
  readonly to: number
  readonly messages: number
  readonly bytes: number
  readonly seconds: number
  /** Id of the plan, for `qmq audit verify`; '' where nothing was moved. */
  readonly receipt: string
  readonly receipts: readonly string[]
  /** Every instance that left has a receipt, and each one is true. */
  readonly verified: boolean
  /** Every instance's count is right, those that left included. */
  readonly balanced: boolean
}

export function previewText(head: string, { why, preview }: OrderReply['result']): string {
  if (preview === null) return `${head}: ${why}`
  const { leaving, targets, added, messages, bytes, oldestAgeMs, seconds, rate, slaRisk, notes } = preview
  const lines = [head]
  if (added.length > 0) lines.push(`  new: ${added.join(', ')}`)
  if (leaving.length > 0) {
    const oldest = messages === 0 ? '' : `, the oldest ${shortDuration(oldestAgeMs)} old`
    lines.push(`  leaving: ${leaving.join(', ')}; their mail goes to ${targets.join(', ')}`)
    lines.push(`  to move: ${messages} messages, ${bytesText(bytes)}${oldest}`)
    lines.push(`  takes about ${seconds.toFixed(1)} s (${rate})`)
  }
  if (slaRisk > 0) lines.push(`  ${slaRisk} messages would pass the service level of the pool meanwhile`)
  return [...lines, ...notes.map((note) => `  ${note}`)].join('\n')
}

/** Asked only where mail would move, of a person at a terminal. */
export async function confirmed({ terminal }: Context, { preview }: OrderReply['result']): Promise<boolean> {
  if (terminal === undefined || preview === null || preview.leaving.length === 0) return true
  return /^y(es)?$/i.test((await terminal.ask('Go on? [y/N] ')).trim())
}

interface ReceiptReply {
  readonly text: string
  readonly verified: boolean
}

export async function outcomeOf(
  client: ControlClient,
  plan: PlanStatus,
  { from, to }: { readonly from: number; readonly to: number },
): Promise<ScaleOutcome> {
  const receipts = await Promise.all(
    plan.receipts.map((name) => client.ask<ReceiptReply>('ClusterService', 'GetReceipt', { name })),
  )
  const parked = plan.progress.filter(({ standing }) => standing === 'parked').length
  const whole = plan.receipts.length + parked === plan.leaving.length
  const verified = whole && receipts.every((asked) => asked.kind === 'reply' && asked.value.verified)
  const audit = await client.ask<{ balanced: boolean }>('ClusterService', 'Audit', {})
  const signed = receipts.flatMap((asked) => (asked.kind === 'reply' ? receiptIn(asked.value.text) : []))
  // An instance that was started again in between tells only what it moved since; its receipt tells all.
  const isTold = signed.length === plan.leaving.length
  const messages = isTold ? sumOf(signed, ({ messages }) => messages) : plan.moved
  const movedBytes = isTold ? sumOf(signed, ({ bytes }) => bytes) : plan.movedBytes
  const seconds = plan.endedAt === 0 ? 0 : (plan.endedAt - plan.startedAt) / 1000
  return {
    ...{ pool: plan.pool, from, to, messages, bytes: movedBytes, seconds },
    ...{ receipt: plan.receipts.length === 0 ? '' : plan.id, receipts: plan.receipts, verified },
    balanced: audit.kind === 'reply' && audit.value.balanced,
  }
}

function receiptIn(text: string): Receipt[] {
  try {
    const { document }: { readonly document?: unknown } = JSON.parse(text)
    const receipt = readReceipt(String(document))
    return typeof receipt === 'string' ? [] : [receipt]
  } catch {
    return []
  }
}

function sumOf(receipts: readonly Receipt[], of: (receipt: Receipt) => number): number {
  return receipts.reduce((sum, receipt) => sum + of(receipt), 0)
}

export function finalText(
  { pool, from, to, messages, bytes, seconds, receipt, verified, balanced }: ScaleOutcome,
  why: string,
): string {
  if (why !== '') return why
  const moved =
    receipt === ''
      ? ''
      : `; ${messages} messages (${bytesText(bytes)}) moved in ${seconds.toFixed(1)} s, receipt ${receipt}`
  const doubts = [...(verified ? [] : ['the receipts are NOT verified']), ...(balanced ? [] : ['mail is NOT balanced'])]
  return [`${pool} has ${to === 1 ? '1 instance' : `${to} instances`}, before ${from}${moved}`, ...doubts].join('; ')
}
