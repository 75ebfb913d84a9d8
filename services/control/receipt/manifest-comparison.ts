/**
 * What left against what arrived, part by part and, where a part differs, entry by entry. Pure. Two manifests that agree prove that
 * the mail moved whole; anything else is named, and nothing is sealed off over it.
 */

import { entryKey, type ManifestEntry, type ManifestPart, readEntry } from '../../contract/manifest.ts'

/** Differences told one by one; the rest is counted. */
export const differencesToldMax = 20

export function partName({ source, target }: Pick<ManifestPart, 'source' | 'target'>): string {
  return `${source} to ${target}`
}

/** The parts that do not agree, by name. */
export function unequalParts(left: readonly ManifestPart[], arrived: readonly ManifestPart[]): readonly string[] {
  const there = new Map(arrived.map((part) => [partName(part), part]))
  const unequal = left.filter((part) => !isSamePart(part, there.get(partName(part)))).map(partName)
  const known = new Set(left.map(partName))
  return [...unequal, ...[...there.keys()].filter((name) => !known.has(name))]
}

/** One line for each entry that is not the same on both sides. */
export function lineDifferences(left: readonly string[], arrived: readonly string[]): readonly string[] {
  const there = new Map(arrived.map((line) => [keyOf(line), line]))
  const found: string[] = []
  for (const line of left) {
    const key = keyOf(line)
    const other = there.get(key)
    there.delete(key)
    if (other === undefined) found.push(`${key} left and did not arrive`)
    else if (other !== line) found.push(`${key} arrived with another ${changedFields(line, other).join(', ')}`)
  }
  for (const key of there.keys()) found.push(`${key} arrived and did not leave`)
  const more = found.length - differencesToldMax
  return more <= 0 ? found : [...found.slice(0, differencesToldMax), `and ${more} more`]
}

function isSamePart(one: ManifestPart, other: ManifestPart | undefined): boolean {
  if (other === undefined) return false
  const { messages, bytes, recipients, digest } = one
  return (
    messages === other.messages && bytes === other.bytes && recipients === other.recipients && digest === other.digest
  )
}

function keyOf(line: string): string {
  const entry = readEntry(line)
  return entry === undefined ? `the line ${line.slice(0, 80)}` : entryKey(entry)
}

function changedFields(line: string, other: string): readonly string[] {
  const [one, two] = [readEntry(line), readEntry(other)]
  if (one === undefined || two === undefined) return ['form']
  return (Object.keys(one) as (keyof ManifestEntry)[]).filter((field) => one[field] !== two[field])
}
