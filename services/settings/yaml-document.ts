/**
 * YAML as conf-qmq uses it: sections, lists and scalars, each with its line and column. The only door to the yaml package.
 *
 * Refused: anchors, aliases, merge keys, tags, duplicate keys, keys that are not plain words, several documents, and
 * anything past the limits. A plain scalar is a number only if it is written as we would write that number, so that the
 * instance ids 00, 08 and 09 stay what the operator wrote. An empty value is an absent one. Never throws.
 */

import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type ParsedNode,
  parseDocument,
  stringify,
} from 'yaml'
import { shown } from './reading.ts'

export interface YamlLimits {
  readonly textBytesMax: number
  readonly depthMax: number
  readonly nodesMax: number
  readonly problemsMax: number
}

export const yamlLimits: YamlLimits = { textBytesMax: 128 * 1024, depthMax: 16, nodesMax: 50_000, problemsMax: 50 }

export type KeyPath = readonly (string | number)[]

/** Both count from 1. */
export interface Position {
  readonly line: number
  readonly column: number
}

export interface YamlProblem extends Position {
  readonly path: KeyPath
  readonly message: string
  readonly remedy: string
}

export interface YamlDocument {
  /** Objects without prototype, arrays, strings, numbers, booleans, undefined. */
  readonly value: unknown
  /** Of the value at `path`, or of its key; where there is none, of the nearest section around it. */
  positionOf(path: KeyPath, of: 'key' | 'value'): Position
}

export type YamlReading =
  | { readonly ok: true; readonly document: YamlDocument }
  | { readonly ok: false; readonly problems: readonly YamlProblem[] }

export function readYaml(text: string, limits: YamlLimits = yamlLimits): YamlReading {
  const refused = refusedText(text, limits)
  if (refused !== undefined) return { ok: false, problems: [refused] }
  const lines = new LineCounter()
  const options = { lineCounter: lines, prettyErrors: false, uniqueKeys: false, keepSourceTokens: false } as const
  const parsed = parseDocument(text, { ...options, version: '1.2', schema: 'core', merge: false, logLevel: 'error' })
  const positionAt = (offset: number): Position => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
  const walk = new Walk(limits, positionAt)
  const linesAtFault = new Set<number>()
  for (const error of parsed.errors) {
    const { line } = positionAt(error.pos[0])
    if (linesAtFault.size === linesAtFault.add(line).size) continue
    const message = `this is not YAML: ${firstSentence(error.message)}`
    walk.report(error.pos[0], [], message, 'mend the line, its indentation or its quotes')
  }
  const value = parsed.errors.length > 0 ? undefined : walk.value(parsed.contents, [], 0)
  if (walk.problems.length > 0) return { ok: false, problems: walk.problems }
  return { ok: true, document: { value, positionOf: (path, of) => walk.positionOf(path, of) } }
}

/** Any JSON value as YAML that is read back as the same, by this reader and by any other. Ends in LF. */
export function writeYaml(value: unknown): string {
  return stringify(value, { version: '1.2', schema: 'core', aliasDuplicateObjects: false, lineWidth: 0 })
}

/** Looks at the text alone, before a parser spends memory on it. */
function refusedText(text: string, limits: YamlLimits): YamlProblem | undefined {
  const at = (offset: number, message: string, remedy: string): YamlProblem => {
    const before = text.slice(0, offset)
    const line = before.split('\n').length
    return { line, column: offset - before.lastIndexOf('\n'), path: [], message, remedy }
  }
  if (Buffer.byteLength(text) > limits.textBytesMax) {
    return at(0, `the file is larger than ${limits.textBytesMax} bytes`, 'check that this is the right file')
  }
  const control = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\ufffd]/.exec(text)
  if (control !== null) return at(control.index, 'the file has bytes that are not text', 'write plain UTF-8 text')
  const tab = /^ *\t+ *[^\s#]/m.exec(text)
  if (tab !== null) return at(tab.index, 'a tab indents this line', 'indent with spaces')
  return undefined
}

function firstSentence(message: string): string {
  return shown(message.split('\n')[0] ?? '').replace(/[.:]$/, '')
}

class Walk {
  readonly problems: YamlProblem[] = []
  readonly #limits: YamlLimits
  readonly #positionAt: (offset: number) => Position
  readonly #keys = new Map<string, Position>()
  readonly #values = new Map<string, Position>()
  #nodes = 0

  constructor(limits: YamlLimits, positionAt: (offset: number) => Position) {
    this.#limits = limits
    this.#positionAt = positionAt
  }

  report(offset: number, path: KeyPath, message: string, remedy: string): void {
    if (this.problems.length >= this.#limits.problemsMax) return
    this.problems.push({ ...this.#positionAt(offset), path, message, remedy })
  }

  value(node: Node | ParsedNode | null, path: KeyPath, depth: number): unknown {
    if (node === null) return undefined
    const offset = node.range?.[0] ?? 0
    this.#values.set(JSON.stringify(path), this.#positionAt(offset))
    if (++this.#nodes > this.#limits.nodesMax || depth > this.#limits.depthMax) {
      if (this.#nodes <= this.#limits.nodesMax)
        this.report(offset, path, `sections go deeper than ${this.#limits.depthMax}`, 'flatten the file')
      else if (this.#nodes === this.#limits.nodesMax + 1)
        this.report(
          offset,
          path,
          `the file has more than ${this.#limits.nodesMax} values`,
          'check that this is the right file',
        )
      return undefined
    }
    if (isAlias(node)) return this.#refuse(offset, path, 'this is an alias (*)', 'write the value itself')
    if (node.anchor !== undefined)
      return this.#refuse(offset, path, 'this is an anchor (&)', 'remove it and write each value where it belongs')
    if (node.tag !== undefined)
      return this.#refuse(offset, path, `this has a tag (${shown(node.tag)})`, 'remove the tag')
    if (isMap(node)) return this.#section(node.items, path, depth)
    if (isSeq(node)) return node.items.map((item, index) => this.value(item as Node, [...path, index], depth + 1))
    if (isScalar(node)) return node.type === 'PLAIN' ? plainValue(String(node.source ?? '')) : node.value
    return this.#refuse(offset, path, 'this is neither a section, a list nor a value', 'write one of these')
  }

  #section(items: readonly { key: unknown; value: unknown }[], path: KeyPath, depth: number): unknown {
    const section = Object.create(null) as Record<string, unknown>
    for (const { key, value } of items) {
      const node = key as Node | null
      const offset = node?.range?.[0] ?? (value as Node | null)?.range?.[0] ?? 0
      const name =
        isScalar(node) && node.anchor === undefined && node.tag === undefined ? String(node.source ?? '') : undefined
      if (name === undefined || name === '')
        this.report(offset, path, 'the key of this line is not a plain word', 'write `key: value`')
      else if (name === '<<') this.report(offset, path, 'this is a merge key (<<)', 'write the values themselves')
      else if (name === '__proto__') this.report(offset, path, '__proto__ cannot be a key', 'choose another name')
      else if (Object.hasOwn(section, name)) {
        const first = this.#keys.get(JSON.stringify([...path, name]))
        this.report(
          offset,
          [...path, name],
          `${shown(name)} is written twice, first on line ${first?.line ?? 1}`,
          'keep one of them',
        )
      } else {
        this.#keys.set(JSON.stringify([...path, name]), this.#positionAt(offset))
        section[name] = this.value(value as Node | null, [...path, name], depth + 1)
      }
    }
    return section
  }

  #refuse(offset: number, path: KeyPath, message: string, remedy: string): undefined {
    this.report(offset, path, message, remedy)
    return undefined
  }

  positionOf(path: KeyPath, of: 'key' | 'value'): Position {
    const key = JSON.stringify(path)
    const own =
      of === 'value' ? (this.#values.get(key) ?? this.#keys.get(key)) : (this.#keys.get(key) ?? this.#values.get(key))
    if (own !== undefined) return own
    return path.length === 0 ? { line: 1, column: 1 } : this.positionOf(path.slice(0, -1), 'key')
  }
}

function plainValue(source: string): unknown {
  if (source === '' || source === '~' || source === 'null') return undefined
  if (source === 'true') return true
  if (source === 'false') return false
  return /^(0|-?[1-9]\d{0,14})$/.test(source) ? Number(source) : source
}
