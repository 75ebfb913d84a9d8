import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { byteStringOf } from '../../../services/protocol/byte-string.ts'
import { formatPath, parsePath } from '../../../services/protocol/smtp/address.ts'

const forward = { kind: 'forward', utf8: false } as const
const reverse = { kind: 'reverse', utf8: false } as const

function read(text: string, options: { kind: 'forward' | 'reverse'; utf8: boolean } = forward): string {
  const result = parsePath(text, 0, options)
  if (result.kind === 'refused') return `refused: ${result.why}`
  assert.equal(result.end, text.length)
  return result.address
}

describe('paths', () => {
  /** L is ours, R is foreign. A form either is refused or keeps its meaning: the domain after the last `@`. */
  const forms: readonly [path: string, address: string][] = [
    ['<u@R.example>', 'u@R.example'],
    ['<u%R@L.example>', 'u%R@L.example'],
    ['<u%R@[192.0.2.1]>', 'u%R@[192.0.2.1]'],
    ['<u%R>', 'refused: syntax'],
    ['<"u@R">', 'refused: syntax'],
    ['<"u%R">', 'refused: syntax'],
    ['<"u@R"@L.example>', 'u@R@L.example'],
    ['<u@R@L>', 'refused: syntax'],
    ['<u@L@R>', 'refused: syntax'],
    ['<@L:u@R>', 'u@R'],
    ['<@[192.0.2.1]:u@R>', 'u@R'],
    ['<@L,@R:u@R>', 'u@R'],
    ['<@L,u@R>', 'refused: syntax'],
    ['<@L:@R>', 'refused: syntax'],
    ['<@L>', 'refused: syntax'],
    ['<R!u>', 'refused: syntax'],
    ['<R!u@L>', 'R!u@L'],
    ['<L!R!u@L>', 'L!R!u@L'],
    ['<u@[IPv6:::1]>', 'u@[IPv6:::1]'],
    ['<u@[IPv6:::ffff:127.0.0.1]>', 'u@[IPv6:::ffff:127.0.0.1]'],
    ['<u@R.>', 'refused: syntax'],
    ['<u@.R>', 'refused: syntax'],
    ['<u@R..x>', 'refused: syntax'],
    ['<u@R\0.L>', 'refused: syntax'],
    ['<u@L\n@R>', 'refused: syntax'],
    ['<u@R(comment)>', 'refused: syntax'],
    ['<(c)u@R>', 'refused: syntax'],
    ['<u @R>', 'refused: syntax'],
    ['< u@R>', 'refused: syntax'],
    ['<u@ R>', 'refused: syntax'],
    ['<u@R >', 'refused: syntax'],
    ['<"u"@L>', 'u@L'],
    ['<"a\\"b\\\\c d"@L>', 'a"b\\c d@L'],
    ['<"a\\>b"@L>', 'a>b@L'],
    ['<"\r\nRCPT"@L>', 'refused: syntax'],
    ['<"\\\n"@L>', 'refused: syntax'],
    ['<""@L>', '@L'],
    ['<"a"b@L>', 'refused: syntax'],
    ['<"a@L>', 'refused: syntax'],
    ['<u@0x7f.1>', 'u@0x7f.1'],
    ['<.u..v.@L>', '.u..v.@L'],
    ['<u@L;u@R>', 'refused: syntax'],
    ['<postmaster>', 'postmaster'],
    ['<PostMaster>', 'PostMaster'],
    ['<"postmaster">', 'refused: syntax'],
    ['<somebody>', 'refused: syntax'],
    ['<>', 'refused: syntax'],
    ['<@>', 'refused: syntax'],
    ['<u@>', 'refused: syntax'],
    ['u@R', 'refused: syntax'],
    ['<u@R', 'refused: syntax'],
    ['<u@[x]y>', 'refused: syntax'],
    ['<\xfc@R>', 'refused: needs-utf8'],
    [`<${'u'.repeat(890)}@L.example>`, `${'u'.repeat(890)}@L.example`],
    [`<${'u'.repeat(900)}@L>`, 'refused: too-long'],
    [`<u@${'d'.repeat(256)}>`, 'refused: too-long'],
  ]
  for (const [path, address] of forms) {
    it(`reads ${JSON.stringify(path.slice(0, 40))}`, () => assert.equal(read(path), address))
  }

  it('reads the empty sender only as a sender', () => {
    assert.equal(read('<>', reverse), '')
    assert.equal(read('<postmaster>', reverse), 'refused: syntax')
    assert.equal(read('<#@[]>', reverse), '#@[]')
  })

  it('reads UTF-8 only where it is asked for and valid', () => {
    const address = byteStringOf('\u00fc@\u00e4.example')
    assert.equal(read(`<${address}>`, { kind: 'forward', utf8: true }), address)
    assert.equal(read('<\xfc@R>', { kind: 'forward', utf8: true }), 'refused: syntax')
  })

  it('writes a path that reads back as the same address', () => {
    const local = fc
      .string({ unit: 'binary-ascii', maxLength: 20 })
      .map((text) => text.replace(/[\x00-\x1f\x7f]/g, '~'))
    const label = fc.stringMatching(/^[a-z0-9_-]{1,8}$/)
    const domain = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'))
    fc.assert(
      fc.property(local, domain, (localPart, domainPart) => {
        const address = `${localPart}@${domainPart}`
        assert.equal(read(formatPath(address)), address)
      }),
    )
    assert.equal(formatPath(''), '<>')
    assert.equal(formatPath('#@[]'), '<#@[]>')
    assert.equal(formatPath('a..b@x'), '<"a..b"@x>')
    assert.equal(formatPath('postmaster'), '<postmaster>')
    assert.equal(formatPath('a b@x@y'), '<"a b@x"@y>')
  })

  it('never throws and reads in one pass whatever comes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        const result = parsePath(`<${text}>`, 0, { kind: 'reverse', utf8: true })
        if (result.kind === 'path') assert.ok(!/[\x00-\x1f\x7f]/.test(result.address))
      }),
    )
    assert.equal(parsePath(`<${'@a,'.repeat(100_000)}`, 0, forward).kind, 'refused')
  })
})
