import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import {
  formatReply,
  type Reply,
  type ReplyEvent,
  ReplyReader,
  reply,
  replyText,
} from '../../../services/protocol/smtp/reply.ts'

function readAll(chunks: readonly string[], limits = { replyLineBytesMax: 100, replyLinesMax: 4 }): ReplyEvent[] {
  const reader = new ReplyReader(limits)
  const events: ReplyEvent[] = []
  for (const chunk of chunks) {
    reader.receive(Buffer.from(chunk, 'latin1'))
    for (let event = reader.next(); event.kind !== 'need-data'; event = reader.next()) {
      if (events.at(-1)?.kind === 'malformed') break
      events.push(event)
    }
    assert.ok(reader.bufferedBytes <= limits.replyLineBytesMax)
  }
  return events
}

describe('SMTP replies', () => {
  it('writes one line and several', () => {
    assert.equal(formatReply(reply(250, '2.1.0', 'ok')), '250 2.1.0 ok\r\n')
    assert.equal(formatReply({ code: 250, lines: ['a', 'b'] }), '250-a\r\n250 b\r\n')
    assert.equal(formatReply(reply(354, '', '')), '354 \r\n')
  })

  it('lets no text begin a second line', () => {
    assert.equal(formatReply(reply(550, '5.1.1', 'no\r\n250 yes\x1b[0m')), '550 5.1.1 no??250 yes?[0m\r\n')
  })

  it('joins lines for logs', () => {
    assert.equal(replyText({ code: 550, enhanced: '5.1.1', lines: ['no', 'such'] }), '550 5.1.1 no such')
    assert.equal(
      replyText({ code: 250, lines: ['mx.example', 'PIPELINING', 'SIZE'] }),
      '250 mx.example PIPELINING SIZE',
    )
    assert.equal(replyText({ code: 250, lines: [] }), '250 ')
  })

  const readings: readonly [input: string, replies: readonly Reply[]][] = [
    ['250 ok\r\n', [{ code: 250, lines: ['ok'] }]],
    ['250\r\n', [{ code: 250, lines: [''] }]],
    ['250 ok\n', [{ code: 250, lines: ['ok'] }]],
    ['250-a\r\n250-b\n250 c\r\n', [{ code: 250, lines: ['a', 'b', 'c'] }]],
    ['550 5.1.1 no\r\n', [{ code: 550, enhanced: '5.1.1', lines: ['no'] }]],
    ['550-5.1.1 no\r\n550 5.1.1 way\r\n', [{ code: 550, enhanced: '5.1.1', lines: ['no', 'way'] }]],
    ['550 2.1.1 no\r\n', [{ code: 550, lines: ['2.1.1 no'] }]],
    ['220 5.example\r\n', [{ code: 220, lines: ['5.example'] }]],
    [
      '250 a\r\n354 b\r\n',
      [
        { code: 250, lines: ['a'] },
        { code: 354, lines: ['b'] },
      ],
    ],
  ]
  for (const [input, expected] of readings) {
    it(`reads ${JSON.stringify(input)}`, () => {
      const events = expected.map((one) => ({ kind: 'reply', reply: one }))
      assert.deepEqual(readAll([input]), events)
      assert.deepEqual(readAll([...input]), events)
    })
  }

  const broken = [
    'hello\r\n',
    '25 x\r\n',
    '950 x\r\n',
    '250_x\r\n',
    '250-a\r\n251 b\r\n',
    '250-a\r\n'.repeat(5),
    `250 ${'x'.repeat(200)}`,
  ]
  for (const input of broken) {
    it(`refuses ${JSON.stringify(input.slice(0, 20))}`, () => {
      assert.equal(readAll([input]).at(-1)?.kind, 'malformed')
      assert.equal(readAll([...input, '250 ok\r\n']).at(-1)?.kind, 'malformed')
    })
  }

  it('keeps the split law and its limits on any input', () => {
    const words = fc.oneof(
      fc.constantFrom('250 ok\r\n', '250-more\r\n', '550 5.1.1 x\n', '\r', '\n', '421 '),
      fc.string({ unit: 'binary-ascii', maxLength: 8 }),
    )
    fc.assert(
      fc.property(fc.array(words, { maxLength: 20 }), (parts) => {
        const whole = new ReplyReader({ replyLineBytesMax: 100, replyLinesMax: 4 })
        whole.receive(Buffer.from(parts.join(''), 'latin1'))
        const events: ReplyEvent[] = []
        for (let event = whole.next(); event.kind === 'reply'; event = whole.next()) events.push(event)
        const last = whole.next()
        if (last.kind === 'malformed') events.push(last)
        assert.deepEqual(readAll([...parts.join('')]), events)
      }),
    )
  })
})
