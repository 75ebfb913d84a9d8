/**
 * A problem in conf-qmq: where it is, what is wrong, what to write instead; and its translation from zod's issues.
 */

import { confJsonSchema } from './conf-schema.ts'
import { meantInstead, shown } from './reading.ts'
import type { KeyPath, Position } from './yaml-document.ts'

export interface Problem extends Position {
  readonly file: string
  /** `pools.INTERNET.sla`; '' for the whole file. */
  readonly path: string
  readonly message: string
  readonly remedy: string
}

/** `conf-qmq:12:10: pools.INTERNET.sla: 900 has no unit: ...; write 15m ...` */
export function writeProblem(problem: Problem): string {
  const where = `${problem.file}:${problem.line}:${problem.column}`
  const path = problem.path === '' ? '' : `${problem.path}: `
  return `${where}: ${path}${problem.message}; ${problem.remedy}`
}

/** What `explainIssue` needs of a zod issue. */
export interface SchemaIssue {
  readonly code: string
  readonly path: readonly PropertyKey[]
  readonly message: string
  readonly expected?: string | undefined
  readonly keys?: readonly string[] | undefined
  readonly params?: { readonly remedy?: unknown; readonly missing?: unknown } | undefined
}

export interface Explained {
  readonly path: KeyPath
  /** Whether the key or the value is at fault. */
  readonly of: 'key' | 'value'
  readonly message: string
  readonly remedy: string
}

/** One issue may name several unknown keys, each with its own line. */
export function explainIssue(issue: SchemaIssue, around: KeyPath): readonly Explained[] {
  const path = [...around, ...issue.path.map((step) => (typeof step === 'number' ? step : String(step)))]
  if (issue.params?.missing === true || issue.expected === 'nonoptional') {
    const name = String(path.at(-1) ?? '')
    return [
      { path, of: 'value', message: 'this is missing', remedy: `add ${name}: (${schemaAt(path)?.description ?? ''})` },
    ]
  }
  if (issue.code === 'custom') {
    return [{ path, of: 'value', message: issue.message, remedy: String(issue.params?.remedy ?? '') }]
  }
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(path)
    return (issue.keys ?? []).map((key) => {
      const message = `${shown(key)} is not known ${path.length === 0 ? 'at the top' : `in ${path.join('.')}`}`
      return { path: [...path, key], of: 'key', message, remedy: meantInstead(key, known) }
    })
  }
  const form = schemaAt(path)
  const example =
    form?.type === 'array' ? 'write a list, such as [one, two]' : 'write lines of `key: value` below it, indented'
  const kind = form?.type === 'array' ? 'a list' : 'a section'
  return [{ path, of: 'value', message: `this must be ${kind}`, remedy: example }]
}

/** The part of JSON Schema we look into. */
interface JsonForm {
  readonly type?: string
  readonly description?: string
  readonly properties?: { readonly [key: string]: JsonForm }
  readonly additionalProperties?: JsonForm | boolean
  readonly items?: JsonForm
  readonly anyOf?: readonly JsonForm[]
}

let schema: JsonForm | undefined

function schemaAt(path: KeyPath): JsonForm | undefined {
  schema ??= confJsonSchema() as JsonForm
  let form: JsonForm | undefined = schema
  for (const step of path) {
    form = sectionIn(form)
    if (form === undefined) return undefined
    const { properties: inside, additionalProperties: other } = form
    if (typeof step === 'number') form = form.items
    else if (inside !== undefined && Object.hasOwn(inside, step)) form = inside[step]
    else form = typeof other === 'object' ? other : undefined
  }
  return form
}

/** Of a value that may also be one word, the form with keys. */
function sectionIn(form: JsonForm | undefined): JsonForm | undefined {
  return form?.anyOf?.find(({ properties }) => properties !== undefined) ?? form
}

function knownKeys(path: KeyPath): readonly string[] {
  return Object.keys(sectionIn(schemaAt(path))?.properties ?? {})
}
