/**
 * Functions and their lengths, counted on formatted code: a function ends at the first line that closes at the column where
 * it began. There is no parser here, so a file that is not formatted gives wrong lengths; `npm run check` formats first.
 */

export interface FunctionLength {
  readonly name: string
  /** First line, from 1. */
  readonly line: number
  readonly lines: number
}

const beginnings = [
  /^(?:export )?(?:default )?(?:async )?function\*? ?([\w$]+)/,
  /^(?:(?:static|async|get|set|override|private|protected|public|readonly) )*\*?(#?[\w$]+)(?:<.*>)?\((?!.*;$)/,
  /^(?:export )?(?:const|let) ([\w$]+)\b.*=> \{$/,
]
/** Words before a parenthesis that declare no function, and the blocks of the test runner. */
const statements = new Set([
  'test',
  'describe',
  'it',
  'suite',
  'if',
  'for',
  'while',
  'switch',
  'catch',
  'return',
  'super',
  'await',
  'with',
  'function',
])

export function functionsOf(text: string): FunctionLength[] {
  const lines = text.split('\n')
  const found: FunctionLength[] = []
  for (const [index, line] of lines.entries()) {
    const indent = line.length - line.trimStart().length
    const name = nameOf(line.trimStart())
    if (name === undefined || !opensBody(lines, index, indent)) continue
    found.push({ name, line: index + 1, lines: endOf(lines, index, indent) - index + 1 })
  }
  return found
}

function nameOf(line: string): string | undefined {
  for (const beginning of beginnings) {
    const name = beginning.exec(line)?.[1]
    if (name !== undefined) return statements.has(name) ? undefined : name
  }
  return undefined
}

/** The signature ends in `{`, on this line or on the one that closes its parameters. */
function opensBody(lines: readonly string[], index: number, indent: number): boolean {
  if (lines[index]?.endsWith('{')) return true
  if (!lines[index]?.endsWith('(')) return false
  const close = lines.findIndex((line, at) => at > index && closesAt(line, indent, ')'))
  return close >= 0 && (lines[close]?.endsWith('{') ?? false)
}

function endOf(lines: readonly string[], index: number, indent: number): number {
  const end = lines.findIndex((line, at) => at > index && closesAt(line, indent, '}') && !line.endsWith('{'))
  return end < 0 ? lines.length - 1 : end
}

function closesAt(line: string, indent: number, bracket: string): boolean {
  return line.startsWith(`${' '.repeat(indent)}${bracket}`)
}
