/**
 * The result of reading one setting: its value, or what is wrong and what to write instead.
 *
 * Readers never throw and never guess; who calls them knows the file and the line.
 */

export type Reading<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly message: string; readonly remedy: string }

export function right<Value>(value: Value): Reading<Value> {
  return { ok: true, value }
}

export function wrong(message: string, remedy: string): Reading<never> {
  return { ok: false, message, remedy }
}

/** What was written, short enough for a message and safe to print. */
export function shown(input: unknown): string {
  if (input === undefined || input === null) return 'nothing'
  if (Array.isArray(input)) return 'a list'
  if (typeof input === 'object') return 'a section'
  const text = String(input).replace(/[^\x20-\x7e]/g, '?')
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

/** The candidate a person most likely meant: at most a third of its letters differ. */
export function nearestName(written: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Number.POSITIVE_INFINITY
  for (const candidate of candidates) {
    const distance = editDistance(written.slice(0, 64).toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return bestDistance <= Math.max(1, Math.floor(written.length / 3)) ? best : undefined
}

/** What to write instead of a name that is not among the known ones. */
export function meantInstead(written: string, known: readonly string[]): string {
  const nearest = nearestName(written, known)
  return nearest === undefined ? `known here: ${known.join(', ')}` : `did you mean ${nearest}?`
}

/** Insertions, deletions, replacements and swaps of neighbours that turn `from` into `to`. */
function editDistance(from: string, to: string): number {
  const rows: number[][] = [Array.from({ length: to.length + 1 }, (_, column) => column)]
  for (let row = 1; row <= from.length; row++) {
    const line = [row]
    for (let column = 1; column <= to.length; column++) {
      const cost = from[row - 1] === to[column - 1] ? 0 : 1
      const replaced = rows[row - 1]![column - 1]! + cost
      let least = Math.min(rows[row - 1]![column]! + 1, line[column - 1]! + 1, replaced)
      if (row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]) {
        least = Math.min(least, rows[row - 2]![column - 2]! + 1)
      }
      line.push(least)
    }
    rows.push(line)
  }
  return rows[from.length]![to.length]!
}
