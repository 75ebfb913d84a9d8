/**
 * Whether a receipt is true, from itself and the manifests beside it: signature, arithmetic, every manifest against its digest, what left
 * against what arrived. Pure and offline: the same check makes a receipt and reads it years later.
 */

import { type ManifestPart, readEntry } from '../../contract/manifest.ts'
import type { Audit } from '../../contract/operations.ts'
import type { Receipt } from '../../contract/receipt.ts'
import { sha256 } from '../../runtime/digest.ts'
import type { Verified } from '../../runtime/signature.ts'
import { lineDifferences, partName, unequalParts } from './manifest-comparison.ts'
import { type ManifestSide, manifestFileName, readReceipt } from './receipt-record.ts'

export interface ReceiptVerdict {
  readonly ok: boolean
  /** Undefined where it could not be read. */
  readonly receipt: Receipt | undefined
  /** Which key signed it. */
  readonly signer: string | undefined
  /** One line each; none where it is true. */
  readonly problems: readonly string[]
}

export interface ReceiptEvidence {
  /** `receipt.json` as it is on disk. */
  readonly text: string
  readonly verify: (text: string) => Verified
  /** The manifests beside it, by file name; undefined where there is no such file. */
  readonly manifest: (fileName: string) => string | undefined
}

export function checkReceipt({ text, verify, manifest }: ReceiptEvidence): ReceiptVerdict {
  const signed = verify(text)
  if (!signed.ok) return { ok: false, receipt: undefined, signer: undefined, problems: [signed.why] }
  const { signer } = signed
  const receipt = readReceipt(signed.document)
  if (typeof receipt === 'string') return { ok: false, receipt: undefined, signer, problems: [receipt] }
  const problems = [...receiptProblems(receipt), ...manifestProblems(receipt, manifest)]
  return { ok: problems.length === 0, receipt, signer, problems }
}

/** What does not add up in the receipt itself. */
export function receiptProblems(receipt: Receipt): readonly string[] {
  const { left, arrived, instance, audit } = receipt
  const problems = unequalParts(left, arrived).map((name) => `${name}: what left is not what arrived`)
  for (const total of ['messages', 'bytes', 'recipients'] as const) {
    const sum = left.reduce((before, part) => before + part[total], 0)
    if (sum !== receipt[total]) problems.push(`its parts have ${sum} ${total}, it says ${receipt[total]}`)
  }
  const foreign = left.find(({ source }) => source !== instance)
  if (foreign !== undefined) problems.push(`${partName(foreign)} is no part of what left ${instance}`)
  return [...problems, ...auditProblems(audit, receipt)]
}

function auditProblems(audit: Audit, { instance, recipients }: Receipt): readonly string[] {
  const problems: string[] = []
  const { accepted, takenOver, delivered, bounced, discarded, queued, handedOver } = audit
  if (audit.instance !== instance) problems.push(`its count is of instance ${audit.instance}, not of ${instance}`)
  if (queued !== 0) problems.push(`${queued} recipients were left in ${instance}`)
  const [came, went] = [accepted + takenOver, delivered + bounced + discarded + queued + handedOver]
  if (came !== went || !audit.balanced)
    problems.push(`${came} recipients came to ${instance} and ${went} are accounted for`)
  if (handedOver < recipients)
    problems.push(`${instance} counts ${handedOver} recipients handed over, less than ${recipients}`)
  return problems
}

function manifestProblems(receipt: Receipt, manifest: ReceiptEvidence['manifest']): readonly string[] {
  const problems: string[] = []
  for (const part of receipt.left) {
    const twin = receipt.arrived.find(({ target }) => target === part.target)
    const sides = [
      ['left', part],
      ['arrived', twin],
    ] as const
    const texts = sides.map(([side, its]) => (its === undefined ? undefined : sideLines(side, its, manifest, problems)))
    const [left, arrived] = texts
    if (left === undefined || arrived === undefined) continue
    for (const difference of lineDifferences(left, arrived)) problems.push(`${partName(part)}: ${difference}`)
  }
  return problems
}

/** The lines of one file; undefined where there is none. */
function sideLines(
  side: ManifestSide,
  part: ManifestPart,
  manifest: ReceiptEvidence['manifest'],
  problems: string[],
): readonly string[] | undefined {
  const name = manifestFileName(side, part)
  const text = manifest(name)
  if (text === undefined) {
    problems.push(`${name} is missing`)
    return undefined
  }
  const lines = text.split('\n').slice(0, -1)
  problems.push(...partProblems(part, lines).map((problem) => `${name}: ${problem}`))
  return lines
}

/** Where lines are not those the part speaks of. */
export function partProblems(part: ManifestPart, lines: readonly string[]): readonly string[] {
  const problems: string[] = []
  let [bytes, recipients] = [0, 0]
  for (const [index, line] of lines.entries()) {
    const entry = readEntry(line)
    if (entry === undefined) problems.push(`line ${index + 1} is no entry`)
    else if (entry.source !== part.source || entry.target !== part.target)
      problems.push(`line ${index + 1} is of another part`)
    bytes += entry?.bytes ?? 0
    recipients += entry?.recipients ?? 0
  }
  const found = { messages: lines.length, bytes, recipients }
  for (const total of ['messages', 'bytes', 'recipients'] as const) {
    if (found[total] !== part[total]) problems.push(`it has ${found[total]} ${total}, the receipt says ${part[total]}`)
  }
  if (sha256(lines.map((line) => `${line}\n`)) !== part.digest)
    problems.push('its digest is not the one of the receipt')
  return problems
}
