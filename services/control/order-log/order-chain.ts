/**
 * The lines of the audit log of orders: JSON, each with the hash of the line before and its own, so that no line can be changed, taken
 * out or put in without breaking the chain there. That lines are missing at the end only a hash noted elsewhere can show.
 *
 * An order is one line before it is carried out, and one after, with what became of it. Pure.
 */

import { sha256 } from '../../runtime/digest.ts'

export interface OrderEntry {
  /** From 1 on. */
  readonly number: number
  /** Unix milliseconds. */
  readonly at: number
  readonly kind: 'order' | 'outcome'
  /** Number of the order an outcome is of; 0 of an order. */
  readonly of: number
  readonly who: string
  readonly role: string
  readonly requestId: string
  readonly method: string
  /** JSON. */
  readonly arguments: string
  readonly reason: string
  readonly result: string
}

export interface ChainedEntry extends OrderEntry {
  readonly previous: string
  readonly hash: string
}

export interface ChainVerdict {
  readonly intact: boolean
  /** Whole ones. */
  readonly lines: number
  /** The first that is wrong, from 1 on; 0: none. */
  readonly brokenLine: number
  readonly why: string
  /** Of the last line; that of an empty log is `chainStart`. */
  readonly hash: string
}

export const chainStart = '0'.repeat(64)

export function chainEntry(entry: OrderEntry, previous: string): ChainedEntry {
  const chained = { ...inOrder(entry), previous }
  return { ...chained, hash: sha256([JSON.stringify(chained)]) }
}

/** Without the LF. */
export function writeChained(entry: ChainedEntry): string {
  return JSON.stringify({ ...inOrder(entry), previous: entry.previous, hash: entry.hash })
}

/** Undefined where the line is none; whether its hash is right is not looked at. */
export function readChained(line: string): ChainedEntry | undefined {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const entry = value as ChainedEntry
  const { kind, who, role, requestId, method, arguments: given, reason, result, previous, hash } = entry
  const texts = [kind, who, role, requestId, method, given, reason, result, previous, hash]
  const numbers = [entry.number, entry.at, entry.of]
  const whole = texts.every((text) => typeof text === 'string') && numbers.every(Number.isSafeInteger)
  return whole && writeChained(entry) === line ? entry : undefined
}

/** The whole log; what follows the last LF is no line yet. */
export function verifyChain(text: string): ChainVerdict {
  const lines = text.split('\n').slice(0, -1)
  let previous = chainStart
  for (const [index, line] of lines.entries()) {
    const why = lineProblem(line, index + 1, previous)
    if (why !== undefined) return { intact: false, lines: lines.length, brokenLine: index + 1, why, hash: previous }
    previous = readChained(line)?.hash ?? previous
  }
  return { intact: true, lines: lines.length, brokenLine: 0, why: '', hash: previous }
}

function lineProblem(line: string, number: number, previous: string): string | undefined {
  const entry = readChained(line)
  if (entry === undefined) return 'it is no entry'
  if (entry.number !== number) return `it is entry ${entry.number} in place of ${number}`
  if (entry.previous !== previous) return 'it does not follow the line before it'
  return chainEntry(entry, previous).hash === entry.hash ? undefined : 'it was changed after it was written'
}

function inOrder(entry: OrderEntry): OrderEntry {
  const { number, at, kind, of, who, role, requestId, method, arguments: given, reason, result } = entry
  return { number, at, kind, of, who, role, requestId, method, arguments: given, reason, result }
}
