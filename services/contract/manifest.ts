/**
 * The manifest of a plan: one entry per message handed over, written by the instance it left and by the one it came to, each from what it
 * has itself. Two manifests that agree entry by entry prove that the mail moved whole, with its history.
 *
 * As a file: one line per entry, `writeEntry`, sorted by `entryKey`, each ending in LF; its digest is the SHA-256 of those bytes. Lines may
 * come twice and in any order while a plan is under way.
 */

export interface ManifestEntry {
  /** The instance it left, and its number there: the key of the hand-over. */
  readonly source: string
  readonly number: number
  readonly target: string
  readonly id: string
  /** SHA-256, hexadecimal: of the envelope record as it was handed over, and of header and text. */
  readonly envelope: string
  readonly body: string
  readonly bytes: number
  /** Recipients not settled yet. */
  readonly recipients: number
  /** The earliest due time and the most attempts of those. Unix milliseconds. */
  readonly dueAt: number
  readonly attempts: number
}

/** What an instance answers to `manifest`: entries of this instance as source, or as target, by peer. */
export interface Manifest {
  readonly plan: string
  readonly instance: string
  readonly parts: readonly ManifestPart[]
}

export interface ManifestPart {
  readonly source: string
  readonly target: string
  readonly messages: number
  readonly bytes: number
  readonly recipients: number
  /** Of the lines of this part. */
  readonly digest: string
}

/** Some lines of a part, in order of their keys. */
export interface ManifestPage {
  /** Without LF. */
  readonly lines: readonly string[]
  readonly more: boolean
}

export const manifestPageLinesMax = 1000

/** `01>42`: message 42 of instance 01. */
export function entryKey({ source, number }: Pick<ManifestEntry, 'source' | 'number'>): string {
  return `${source}>${number}`
}

/** Without the LF. Keys in this order. */
export function writeEntry(entry: ManifestEntry): string {
  const { source, number, target, id, envelope, body, bytes, recipients, dueAt, attempts } = entry
  return JSON.stringify({ source, number, target, id, envelope, body, bytes, recipients, dueAt, attempts })
}

/** Undefined where the line is none. */
export function readEntry(line: string): ManifestEntry | undefined {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const entry = value as ManifestEntry
  const texts = [entry.source, entry.target, entry.id, entry.envelope, entry.body]
  const numbers = [entry.number, entry.bytes, entry.recipients, entry.dueAt, entry.attempts]
  const isWhole = texts.every((text) => typeof text === 'string') && numbers.every(Number.isSafeInteger)
  return isWhole && writeEntry(entry) === line ? entry : undefined
}
