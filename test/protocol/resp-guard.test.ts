/** What passes the guard, what does not, and that neither depends on how the bytes were cut. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { RespGuard } from '../../services/protocol/resp-guard.ts'

const limits = { lineBytesMax: 40, textBytesMax: 20, arrayItemsMax: 3 }

function verdict(bytes: string, cut: number): string | undefined {
  const guard = new RespGuard(limits)
  const buffer = Buffer.from(bytes, 'latin1')
  for (let at = 0; at < buffer.length; at += cut) {
    const why = guard.receive(buffer.subarray(at, at + cut))
    if (why !== undefined) return why
  }
  return undefined
}

describe('the guard before the Redis parser', () => {
  const passing = [
    '+OK\r\n',
    '+\r\n',
    '-ERR no\r\n',
    ':0\r\n:-12\r\n',
    '$0\r\n\r\n',
    '$5\r\na\r\nbc\r\n+OK\r\n',
    '*0\r\n:1\r\n',
    '*2\r\n$6\r\npassed\r\n:0\r\n',
    '*3\r\n:1\r\n:0\r\n:1\r\n*1\r\n-ERR\r\n',
    '$20\r\n01234567890123456789\r\n',
  ]
  const refused: readonly (readonly [string, RegExp])[] = [
    ['$-1\r\n', /a null/],
    ['*-1\r\n', /a null/],
    ['_\r\n', /no known type/],
    ['>1\r\n', /no known type/],
    ['%1\r\n', /no known type/],
    ['HTTP/1.1 200 OK\r\n', /no known type/],
    ['\r\n', /no known type/],
    ['\u0000', /no known type/],
    ['+OK\n', /CR LF/],
    ['+OK\rX', /CR LF/],
    ['+OK\r\r\n', /CR LF/],
    [`+${'x'.repeat(60)}`, /a line longer/],
    [':\r\n', /a number/],
    [':1x\r\n', /a number/],
    [':1e3\r\n', /a number/],
    [':99999999999999999\r\n', /a number/],
    ['$21\r\n', /length of 21/],
    ['$999999999\r\n', /length of 999999999/],
    ['*4\r\n', /length of 4/],
    ['*1\r\n*1\r\n', /an array inside/],
    ['*2\r\n:1\r\n$-1\r\n', /a null/],
    [':1\r\n*1\r\n>1\r\n', /no known type/],
  ]

  it('lets pass what our scripts can answer, however it is cut', () => {
    for (const bytes of passing)
      for (let cut = 1; cut <= bytes.length; cut++) assert.equal(verdict(bytes, cut), undefined, bytes)
  })

  it('refuses the rest at the byte that shows it, however it is cut', () => {
    for (const [bytes, why] of refused) {
      for (let cut = 1; cut <= bytes.length; cut++)
        assert.match(verdict(bytes, cut) ?? 'passed', why, JSON.stringify(bytes))
      assert.match(verdict(`+OK\r\n${bytes}`, 3) ?? 'passed', why, JSON.stringify(bytes))
    }
  })

  it('never throws and says the same of any bytes, however they are cut', () => {
    const letters = [...'+-:$*_>012\r\nx']
    const bytes = fc.array(fc.constantFrom(...letters), { maxLength: 60 }).map((list) => list.join(''))
    fc.assert(
      fc.property(bytes, fc.integer({ min: 1, max: 9 }), (text, cut) => {
        assert.equal(verdict(text, cut), verdict(text, 1))
      }),
      { numRuns: 2000 },
    )
  })
})
