/** A receipt as text, and back: what is signed, and the names of the files beside it. Pure; a text that is no receipt is refused in words. */

import type { ManifestPart } from '../../contract/manifest.ts'
import { type Receipt, receiptVersion } from '../../contract/receipt.ts'

export const receiptFileName = 'receipt.json'

export type ManifestSide = 'left' | 'arrived'

/** `left-03-01.manifest`: what 03 says that it handed over to 01; `arrived-03-01.manifest`: what 01 says of it. */
export function manifestFileName(
  side: ManifestSide,
  { source, target }: Pick<ManifestPart, 'source' | 'target'>,
): string {
  return `${side}-${source}-${target}.manifest`
}

export function receiptDirectoryName(plan: string, instance: string): string {
  return `${plan}-${instance}`
}

export function writeReceipt(receipt: Receipt): string {
  return JSON.stringify(receipt, null, 1)
}

/** The receipt, or why it is none. Never throws. */
export function readReceipt(text: string): Receipt | string {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return 'it is no JSON'
  }
  if (typeof value !== 'object' || value === null) return 'it is no receipt'
  const receipt = value as Receipt
  if (receipt.version !== receiptVersion) return `it is no receipt of version ${receiptVersion}`
  const { cluster, plan, pool, instance, by, reason } = receipt
  const words = [cluster, plan, pool, instance, by, reason].every((word) => typeof word === 'string')
  const { epoch, fence, startedAt, sealedAt, messages, bytes, recipients } = receipt
  const numbers = [epoch, fence, startedAt, sealedAt, messages, bytes, recipients].every(Number.isSafeInteger)
  const parts = [receipt.left, receipt.arrived].every((side) => Array.isArray(side) && side.every(isPart))
  return words && numbers && parts && isAudit(receipt.audit) ? receipt : 'a field of it is missing or of another kind'
}

function isPart(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { source, target, digest, messages, bytes, recipients } = value as ManifestPart
  const words = [source, target, digest].every((word) => typeof word === 'string')
  return words && [messages, bytes, recipients].every(Number.isSafeInteger)
}

function isAudit(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const audit = value as Receipt['audit']
  const { accepted, delivered, bounced, discarded, queued, takenOver, handedOver, quarantined } = audit
  const counts = [accepted, delivered, bounced, discarded, queued, takenOver, handedOver, quarantined]
  return typeof audit.instance === 'string' && typeof audit.balanced === 'boolean' && counts.every(Number.isSafeInteger)
}
