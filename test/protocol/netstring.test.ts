import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import {
  byteStringOfChunks,
  encodeNetstring,
  NetstringReader,
  splitNetstrings,
} from '../../services/protocol/netstring.ts'
import { cuttings, randomBytes, randomSource } from '../support/split.ts'

interface Vectors {
  readonly ok: readonly { readonly value_hex: string; readonly encoded_hex: string }[]
  readonly bad_strict: readonly { readonly encoded: string; readonly why: string }[]
}
const vectors = JSON.parse(
  fs.readFileSync(new URL('../golden/vectors/netstring.json', import.meta.url), 'utf8'),
) as Vectors

function readAll(pieces: readonly Buffer[], bytesMax = 1000): string[] {
  const reader = new NetstringReader()
  const seen: string[] = []
  for (const piece of pieces) {
    reader.receive(piece)
    for (;;) {
      const event = reader.next({ bytesMax })
      if (event.kind === 'need-data') break
      if (event.kind === 'malformed') return [...seen, 'malformed']
      seen.push(byteStringOfChunks(event.chunks))
    }
  }
  return reader.atBoundary ? seen : [...seen, 'unfinished']
}

test('netstring: every good vector is written and read as observed', () => {
  assert.ok(vectors.ok.length >= 6)
  for (const vector of vectors.ok) {
    const value = Buffer.from(vector.value_hex, 'hex').toString('latin1')
    const encoded = Buffer.from(vector.encoded_hex, 'hex')
    assert.equal(encodeNetstring(value), encoded.toString('latin1'))
    for (const cut of cuttings(encoded)) assert.deepEqual(readAll(cut), [value])
  }
})

test('netstring: no bad vector is read as a value', () => {
  assert.ok(vectors.bad_strict.length >= 10)
  for (const vector of vectors.bad_strict) {
    for (const cut of cuttings(Buffer.from(vector.encoded, 'utf8'))) {
      const seen = readAll(cut)
      assert.ok(vector.encoded === '' ? seen.length === 0 : seen.length === 1, vector.why)
      if (vector.encoded !== '') assert.match(seen[0]!, /^(malformed|unfinished)$/, vector.why)
    }
  }
})

test('netstring: leading zeros pass only where allowed', () => {
  const reader = new NetstringReader('allow')
  reader.receive(Buffer.from('003:abc,'))
  const event = reader.next({ bytesMax: 10 })
  assert.equal(event.kind === 'netstring' && byteStringOfChunks(event.chunks), 'abc')
  assert.deepEqual(readAll([Buffer.from('003:abc,')]), ['malformed'])
})

test('netstring: the limits hold at their edge', () => {
  assert.deepEqual(readAll([Buffer.from('5:aaaaa,')], 5), ['aaaaa'])
  assert.deepEqual(readAll([Buffer.from('6:aaaaaa,')], 5), ['malformed'])
  assert.deepEqual(readAll([Buffer.from('12345678901:')], 2 ** 40), ['malformed'])
})

test('netstring: content past the kept limit is counted and dropped', () => {
  const reader = new NetstringReader()
  reader.receive(Buffer.from('6:aaaaaa,3:bcd,'))
  const limits = { bytesMax: 100, keptBytesMax: 5 }
  const big = reader.next(limits)
  assert.deepEqual(big, { kind: 'netstring', chunks: [], bytes: 6, oversize: true })
  assert.equal(reader.bufferedBytes, 6)
  const small = reader.next(limits)
  assert.equal(small.kind === 'netstring' && byteStringOfChunks(small.chunks), 'bcd')
})

test('netstring: random bytes never throw, hold no more than the limit, and read the same however cut', () => {
  const next = randomSource(7)
  for (let round = 0; round < 500; round++) {
    const noise = round % 2 === 0 ? randomBytes(next, 60) : Buffer.from(digits(next), 'latin1')
    const [whole, ...others] = cuttings(noise, round, 3)
    const expected = readAll(whole!, 20)
    for (const cut of others) assert.deepEqual(readAll(cut, 20), expected)
  }
})

function digits(next: () => number): string {
  let text = ''
  while (text.length < 60) {
    const length = Math.floor(next() * 9)
    text += next() < 0.9 ? encodeNetstring('y'.repeat(length)) : `${length}:y`
  }
  return text
}

test('netstring: inner lists must fill their outer netstring exactly', () => {
  assert.deepEqual(splitNetstrings('1:a,2:bc,'), { ok: true, contents: ['a', 'bc'] })
  assert.deepEqual(splitNetstrings(''), { ok: true, contents: [] })
  for (const bad of ['1:a', '2:a,', '1:a,x', ':a,', '01:a,', '1:ab', '-1:a,', '99999999999:a,']) {
    assert.equal(splitNetstrings(bad).ok, false, bad)
  }
})
