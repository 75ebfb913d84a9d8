import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { LineFeedWriter } from '../../services/mailbox/line-feed-writer.ts'

type Form = 'lf' | 'crlf'

function written(form: Form, slices: readonly string[]): string {
  const writer = new LineFeedWriter(form)
  const pieces = slices.flatMap((slice) => writer.write(Buffer.from(slice, 'latin1')))
  return Buffer.concat([...pieces, ...writer.finish()]).toString('latin1')
}

const table: readonly [Form, string, string][] = [
  ['crlf', '', ''],
  ['crlf', 'a\r\nb\r\n', 'a\nb\n'],
  ['crlf', 'a', 'a\n'],
  ['crlf', 'a\rb\nc\r\r\nd\r\n', 'a\rb\nc\r\nd\n'],
  ['crlf', 'a\r', 'a\r\n'],
  ['crlf', '\r\n', '\n'],
  ['lf', 'a\r\nb\n', 'a\r\nb\n'],
  ['lf', 'a', 'a\n'],
]

describe('line feed writer', () => {
  for (const [form, text, kept] of table) {
    it(`${form} ${JSON.stringify(text)}`, () => {
      assert.equal(written(form, [text]), kept)
      assert.equal(written(form, [...text]), kept)
    })
  }

  it('gives the same bytes however the text is cut', () => {
    const text = fc.array(fc.constantFrom('\r', '\n', '\r\n', 'a'), { maxLength: 30 }).map((parts) => parts.join(''))
    fc.assert(
      fc.property(fc.constantFrom<Form>('lf', 'crlf'), text, fc.nat(30), fc.nat(30), (form, whole, a, b) => {
        const [first, second] = a < b ? [a, b] : [b, a]
        const slices = [whole.slice(0, first), whole.slice(first, second), whole.slice(second)]
        assert.equal(written(form, slices), written(form, [whole]))
      }),
      { numRuns: 2000 },
    )
  })
})
