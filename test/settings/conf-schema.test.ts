/** The JSON Schema for editors: every field described, unknown keys refused, defaults as an operator would write them. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { confJsonSchema } from '../../services/settings/conf-schema.ts'
import { edgeLimitTable, handoffLimitTable, limitKey, poolLimitTable } from '../../services/settings/limits.ts'

interface Form {
  readonly description?: string
  readonly default?: unknown
  readonly type?: string
  readonly properties?: { readonly [key: string]: Form }
  readonly additionalProperties?: Form | false
  readonly items?: Form
  readonly required?: readonly string[]
}

const schema = confJsonSchema() as Form

function formAt(...path: readonly string[]): Form | undefined {
  return path.reduce<Form | undefined>(
    (form, key) => form?.properties?.[key] ?? (form?.additionalProperties || undefined),
    schema,
  )
}

function visit(form: Form, path: string, see: (form: Form, path: string) => void): void {
  see(form, path)
  for (const [key, inner] of Object.entries(form.properties ?? {})) visit(inner, `${path}.${key}`, see)
  if (form.items !== undefined) visit(form.items, `${path}[]`, see)
  if (typeof form.additionalProperties === 'object') visit(form.additionalProperties, `${path}.*`, see)
}

test('every field says what it is, and sections are closed', () => {
  let seen = 0
  visit(schema, '', (form, path) => {
    seen++
    assert.ok((form.description ?? '').length > 5, path)
    if (form.properties !== undefined) assert.equal(form.additionalProperties, false, path)
  })
  assert.ok(seen > 60, String(seen))
})

test('what must be written is required, and defaults are written as in the file', () => {
  assert.deepEqual(schema.required?.toSorted(), ['cluster', 'edge', 'pools', 'version'])
  const pool = formAt('pools', 'ANY')
  assert.deepEqual(pool?.required?.toSorted(), ['ids', 'role'])
  assert.equal(formAt('pools', 'ANY', 'lifetime')?.default, '7d')
  assert.equal(formAt('edge', 'limits', 'message-bytes-max')?.default, '25MiB')
  assert.equal(formAt('edge', 'limits', 'hops-max')?.default, 100)
})

test('every limit of the contract can be set, and its default is within its bounds', () => {
  for (const [section, table] of [
    ['limits', edgeLimitTable],
    ['handoff', handoffLimitTable],
  ] as const) {
    const keys = Object.keys(formAt('edge', section)?.properties ?? {})
    assert.deepEqual(keys, Object.keys(table).map(limitKey))
  }
  for (const table of [edgeLimitTable, handoffLimitTable, poolLimitTable]) {
    for (const [name, { standard, min, max, why }] of Object.entries(table)) {
      assert.ok(min <= standard && standard <= max && why.endsWith('.'), name)
    }
  }
  assert.equal(limitKey('connectionsPerClientMax'), 'connections-per-client-max')
  assert.equal(limitKey('unclearRetryMs'), 'unclear-retry')
})
