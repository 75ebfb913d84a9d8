/** Every standard that code cites stands in the index, with our status; every number in the index is cited or planned. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readRepositoryFile, sourcesBelow } from './source-files.ts'

const index = readRepositoryFile('services/protocol/standards.txt')
const entries = index
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'))
  .map((line) => line.split(/ {2,}/))
const statuses = new Set(['yes', 'part', 'no'])

test('the index is well formed and sorted', () => {
  assert.ok(entries.length > 10)
  for (const [name, status, title] of entries) {
    assert.match(name ?? '', /^(RFC \d{3,5}|[A-Za-z][\w-]*)$/, `${name}: a number or a name`)
    assert.ok(statuses.has(status ?? ''), `${name}: status ${status}`)
    assert.ok((title ?? '').length > 5, `${name}: no title`)
  }
  const numbers = entries.flatMap(([name]) => (name?.startsWith('RFC ') ? Number(name.slice(4)) : []))
  assert.deepEqual(
    numbers,
    [...new Set(numbers)].sort((a, b) => a - b),
  )
})

test('every cited standard is in the index', () => {
  const known = new Set(entries.map(([name]) => name))
  const files = [...sourcesBelow('services'), ...sourcesBelow('test')]
  let citations = 0
  const unknown: string[] = []
  for (const file of files) {
    for (const match of file.text.matchAll(/\bRFC ?(\d{3,5})\b/g)) {
      citations++
      if (!known.has(`RFC ${match[1]}`)) unknown.push(`${file.path}: ${match[0]}`)
    }
  }
  assert.ok(citations > 10, `only ${citations} citations seen`)
  assert.deepEqual(unknown, [])
})

/** `rfc822` is a type of MIME and of delivery reports, not a citation. */
test('citations have one form', () => {
  const odd = sourcesBelow('services').flatMap((file) =>
    [...file.text.matchAll(/\b(?:rfc ?(?!822\b)\d{3,5}|RFC-?\d{3,5}|RFC \d+ ?(?:section|sec\.?|§) ?[\d.]+)/g)].map(
      (match) => `${file.path}: ${match[0]}`,
    ),
  )
  assert.deepEqual(odd, [])
})
