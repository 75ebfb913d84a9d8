/** The YAML door: positions, the scalars of ids, what is refused, and texts made to do harm. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { readYaml, yamlLimits } from '../../services/settings/yaml-document.ts'

function problemsOf(text: string): string[] {
  const reading = readYaml(text)
  assert.equal(reading.ok, false, text.slice(0, 80))
  return reading.ok ? [] : reading.problems.map((problem) => `${problem.line}:${problem.column} ${problem.message}`)
}

function readValue(text: string): unknown {
  const reading = readYaml(text)
  assert.ok(reading.ok, reading.ok ? '' : JSON.stringify(reading.problems))
  return JSON.parse(JSON.stringify(reading.document.value ?? null))
}

test('a number is one only if it is written as we would write it', () => {
  const text =
    'a: 00\nb: 08\nc: 01-09\nd: 7\ne: "7"\nf: 1e3\ng: 0x10\nh: 1_000\ni: -0\nj: 12:30\nk: yes\nl: true\nm: -5\nn: 0o7\no: .inf'
  assert.deepEqual(readValue(text), {
    ...{ a: '00', b: '08', c: '01-09', d: 7, e: '7', f: '1e3', g: '0x10', h: '1_000', i: '-0', j: '12:30' },
    ...{ k: 'yes', l: true, m: -5, n: '0o7', o: '.inf' },
  })
})

test('an empty value is an absent one', () => {
  assert.deepEqual(readValue('a:\nb: ~\nc: null\nd: ""'), { d: '' })
  assert.equal(readValue(''), null)
  assert.equal(readValue('# nothing\n'), null)
})

test('positions count from one and fall back to the section around', () => {
  const reading = readYaml('a: 1\nb:\n  - x\n  - { c: 2 }\n')
  assert.ok(reading.ok)
  const { document } = reading
  assert.deepEqual(document.positionOf(['a'], 'value'), { line: 1, column: 4 })
  assert.deepEqual(document.positionOf(['a'], 'key'), { line: 1, column: 1 })
  assert.deepEqual(document.positionOf(['b', 0], 'value'), { line: 3, column: 5 })
  assert.deepEqual(document.positionOf(['b', 1, 'c'], 'value'), { line: 4, column: 10 })
  assert.deepEqual(document.positionOf(['b', 'missing'], 'value'), { line: 2, column: 1 })
  assert.deepEqual(document.positionOf(['missing'], 'value'), { line: 1, column: 1 })
})

test('refused with line and column', () => {
  const rows: [string, RegExp][] = [
    ['a: 1\nb: 2\na: 3\n', /^3:1 a is written twice, first on line 1/],
    ['a: &x 1\n', /^1:\d+ this is an anchor/],
    ['a: &x 1\nb: *x\n', /2:4 this is an alias/],
    ['b: 1\n<<: { a: 1 }\n', /^2:1 this is a merge key/],
    ['a: !!binary aGk=\n', /^1:\d+ this has a tag/],
    ['a: !js/function x\n', /^1:\d+ this (has a tag|is not YAML)/],
    ['a: 1\n__proto__: { x: 1 }\n', /^2:1 __proto__ cannot be a key/],
    ['? [a]\n: 1\n', /^1:\d+ the key of this line/],
    ['a: 1\n\tb: 2\n', /^2:1 a tab indents/],
    ['a: "x\n', /this is not YAML/],
    ['a: [1, 2\nb: 3\n', /this is not YAML/],
    ['a: 1\n---\nb: 2\n', /this is not YAML/],
    ['a: 1\u0000\n', /^1:5 the file has bytes that are not text/],
    ['a: \ufffd\n', /^1:4 the file has bytes that are not text/],
  ]
  for (const [text, words] of rows) assert.match(problemsOf(text).join('\n'), words, JSON.stringify(text))
})

test('every fault is reported, up to a bound', () => {
  assert.equal(problemsOf('a: 1\na: 2\nb: *x\nc: &y 1\n').length >= 3, true)
  const many = `k: 1\n${'k: 1\n'.repeat(5000)}`
  assert.equal(problemsOf(many).length, yamlLimits.problemsMax)
})

test('texts made to do harm are refused soon', () => {
  const laughs = [
    'a: &a [x,x,x,x,x,x,x,x,x]',
    ...'bcdefghi'
      .split('')
      .map((name, index) =>
        `${name}: &${name} [${'abcdefgh'[index]}]`.replace(
          /\[(.)\]/,
          (_, inner) => `[${Array(9).fill(`*${inner}`).join(',')}]`,
        ),
      ),
  ]
  const corpus = [
    laughs.join('\n'),
    '['.repeat(100_000),
    `${'['.repeat(50_000)}${']'.repeat(50_000)}`,
    '{a: '.repeat(30_000),
    '- '.repeat(60_000),
    '? '.repeat(60_000),
    '&a '.repeat(40_000),
    Array.from({ length: 400 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n'),
    `a: [${'1,'.repeat(60_000)}]`,
    `${'x'.repeat(yamlLimits.textBytesMax)}: 1`,
    `a: ${'"'.repeat(100_000)}`,
    '%YAML 9.9\n---\na: 1',
    '%TAG ! tag:x,2000:\n---\na: !y 1',
  ]
  for (const text of corpus) {
    const begun = performance.now()
    const reading = readYaml(text)
    if (!text.startsWith('%YAML')) assert.equal(reading.ok, false, text.slice(0, 40))
    assert.ok(performance.now() - begun < 5000, text.slice(0, 40))
  }
})

test('a directive does not change what values mean', () => {
  const reading = readYaml('%YAML 1.1\n---\na: 010\nb: yes\nc: 12:30\n')
  if (reading.ok) assert.deepEqual({ ...(reading.document.value as object) }, { a: '010', b: 'yes', c: '12:30' })
})

test('nothing makes it throw', () => {
  const pieces = fc.constantFrom(
    'a',
    ': ',
    '\n',
    '  ',
    '- ',
    '[',
    ']',
    '{',
    '}',
    ',',
    '&x ',
    '*x',
    '!t ',
    '"',
    "'",
    '|\n',
    '#',
    '?',
    '<<',
    '\t',
    '%',
    '---',
    '00',
    'é',
  )
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 60 }), fc.string({ maxLength: 20 }), (parts, tail) => {
      const reading = readYaml(parts.join('') + tail)
      if (reading.ok) return
      assert.ok(reading.problems.length > 0)
      for (const { line, column } of reading.problems) assert.ok(line >= 1 && column >= 1)
    }),
    { numRuns: 2000 },
  )
})
