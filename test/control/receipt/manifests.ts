/** Instances that answer for a plan, for tests of receipts: two entries left 03 for 01, one for 02. */

import type { Json, RequestResult } from '../../../services/contract/coordination.ts'
import { type ManifestEntry, type ManifestPart, writeEntry } from '../../../services/contract/manifest.ts'
import type { Audit } from '../../../services/contract/operations.ts'
import { sha256 } from '../../../services/runtime/digest.ts'
import { plan } from '../drain/plan-views.ts'

export function entry(number: number, target: string, change: Partial<ManifestEntry> = {}): ManifestEntry {
  const hash = String(number).repeat(64).slice(0, 64)
  const id = '01ARZ3NDEKTSV4RRFFQ69G5FAV'
  return {
    source: '03',
    number,
    target,
    id,
    envelope: hash,
    body: hash,
    bytes: 100,
    recipients: 2,
    dueAt: 5,
    attempts: 1,
    ...change,
  }
}

export function partOf(entries: readonly ManifestEntry[]): ManifestPart {
  const [{ source, target } = { source: '', target: '' }] = entries
  const sum = (field: 'bytes' | 'recipients') => entries.reduce((before, one) => before + one[field], 0)
  const digest = sha256(entries.map((one) => `${writeEntry(one)}\n`))
  return { source, target, messages: entries.length, bytes: sum('bytes'), recipients: sum('recipients'), digest }
}

export const audit: Audit = {
  ...{ instance: '03', accepted: 10, delivered: 4, bounced: 0, discarded: 0, queued: 0, takenOver: 0, handedOver: 6 },
  ...{ balanced: true, quarantined: 0 },
}

/** What each instance has of the plan, by instance. */
export interface Held {
  readonly entries: Readonly<Record<string, readonly ManifestEntry[]>>
  readonly audit: Audit
}

export const agreeing: Held = {
  entries: {
    '03': [entry(1, '01'), entry(2, '01'), entry(3, '02')],
    '01': [entry(1, '01'), entry(2, '01')],
    '02': [entry(3, '02')],
  },
  audit,
}

export interface Asked {
  readonly instance: string
  readonly operation: string
}

/** Answers as instances do, a page of `pageLines` at a time. Those without entries are not there. */
export function answering({ entries, audit: counted }: Held, asked: Asked[] = [], pageLines = 1) {
  return async (instance: string, operation: string, value: Json): Promise<RequestResult> => {
    asked.push({ instance, operation })
    const own = entries[instance]
    if (own === undefined) return { kind: 'no-responder' }
    const reply = (answer: object): RequestResult => ({ kind: 'reply', value: answer as Json })
    if (operation === 'audit') return reply(counted)
    const names = [...new Set(own.map(({ source, target }) => `${source}>${target}`))]
    const of = (name: string) => own.filter(({ source, target }) => `${source}>${target}` === name)
    if (operation === 'manifest') return reply({ plan, instance, parts: names.map((name) => partOf(of(name))) })
    const { source, target, after } = value as { source: string; target: string; after: string }
    const lines = of(`${source}>${target}`)
    const start = after === '' ? 0 : lines.findIndex(({ number }) => `${source}>${number}` === after) + 1
    const page = lines.slice(start, start + pageLines).map(writeEntry)
    return reply({ lines: page, more: start + pageLines < lines.length })
  }
}
