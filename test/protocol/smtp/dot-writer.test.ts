import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { DotWriter } from '../../../services/protocol/smtp/dot-writer.ts'

type Form = 'lf' | 'crlf'

function written(form: Form, slices: readonly string[]): string {
  const writer = new DotWriter(form)
  let text = ''
  for (const slice of slices) {
    const bytes = writer.write(Buffer.from(slice, 'latin1'))
    if (bytes === 'bare') return 'bare'
    text += bytes.toString('latin1')
  }
  const end = writer.finish()
  return end === 'bare' ? 'bare' : text + end.toString('latin1')
}

/** What a receiver that knows only CR LF reads back, and what it finds after the end. */
function received(wire: string): { readonly text: string; readonly rest: string } {
  const lines = wire.split('\r\n')
  const end = lines.indexOf('.')
  const text = lines.slice(0, end).map((line) => `${line.startsWith('.') ? line.slice(1) : line}\r\n`)
  return { text: text.join(''), rest: lines.slice(end + 1).join('\r\n') }
}

const table: readonly [Form, string, string][] = [
  ['crlf', '', '.\r\n'],
  ['crlf', 'a\r\n', 'a\r\n.\r\n'],
  ['crlf', 'a', 'a\r\n.\r\n'],
  ['crlf', '.', '..\r\n.\r\n'],
  ['crlf', '.\r\n', '..\r\n.\r\n'],
  ['crlf', 'a\r\n.\r\nMAIL FROM:<x>\r\n', 'a\r\n..\r\nMAIL FROM:<x>\r\n.\r\n'],
  ['crlf', 'a.b\r\n..c\r\n', 'a.b\r\n...c\r\n.\r\n'],
  ['crlf', 'a\nb\r\n', 'bare'],
  ['crlf', 'a\n.\nb\r\n', 'bare'],
  ['crlf', 'a\rb\r\n', 'bare'],
  ['crlf', 'a\r\r\n.\r\r\n', 'bare'],
  ['crlf', 'a\r', 'bare'],
  ['crlf', '\n', 'bare'],
  ['lf', '', '.\r\n'],
  ['lf', 'a\n', 'a\r\n.\r\n'],
  ['lf', 'a', 'a\r\n.\r\n'],
  ['lf', '\n\n', '\r\n\r\n.\r\n'],
  ['lf', 'a\n.\nb\n', 'a\r\n..\r\nb\r\n.\r\n'],
  ['lf', '.a\n', '..a\r\n.\r\n'],
  ['lf', 'a\r\n.\r\nb\n', 'a\r\n..\r\nb\r\n.\r\n'],
  ['lf', 'a\rb\n', 'bare'],
  ['lf', 'a\r\r\n', 'bare'],
  ['lf', 'a\r', 'bare'],
  ['lf', 'a\r.\r\n', 'bare'],
  ['lf', '\0\u0080\u00ff\n', '\0\u0080\u00ff\r\n.\r\n'],
]

const mailText = fc
  .array(fc.constantFrom('\r', '\n', '\r\n', '.', 'a', '\0', '\u00ff'), { maxLength: 30 })
  .map((parts) => parts.join(''))

describe('dot writer', () => {
  for (const [form, text, wire] of table) {
    it(`${form} ${JSON.stringify(text)}`, () => {
      assert.equal(written(form, [text]), wire)
    })
  }

  it('gives the same bytes however the text is cut', () => {
    fc.assert(
      fc.property(fc.constantFrom<Form>('lf', 'crlf'), mailText, fc.array(fc.nat(30)), (form, text, cuts) => {
        const places = [...new Set(cuts)].sort((a, b) => a - b)
        const slices = [0, ...places].map((from, index) => text.slice(from, places[index]))
        assert.equal(written(form, slices), written(form, [text]))
        assert.equal(written(form, [...text]), written(form, [text]))
      }),
      { numRuns: 2000 },
    )
  })

  it('sends what the receiver reads back, one message and no line that did not exist', () => {
    fc.assert(
      fc.property(fc.constantFrom<Form>('lf', 'crlf'), mailText, (form, text) => {
        const wire = written(form, [text])
        const lines = form === 'lf' ? text.replaceAll('\r\n', '\n') : text.replaceAll('\r\n', '\u0100')
        const bare = form === 'lf' ? lines.includes('\r') : /[\r\n]/.test(lines)
        assert.equal(wire === 'bare', bare)
        if (bare) return
        const canonical = form === 'lf' ? lines.replaceAll('\n', '\r\n') : text
        const whole = canonical === '' || canonical.endsWith('\r\n') ? canonical : `${canonical}\r\n`
        assert.deepEqual(received(wire), { text: whole, rest: '' })
      }),
      { numRuns: 2000 },
    )
  })

  it('passes a slice that needs nothing as the same Buffer', () => {
    const slice = Buffer.from('a\r\nb.c\r\n')
    assert.equal(new DotWriter('crlf').write(slice), slice)
  })
})
