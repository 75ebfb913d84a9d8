import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { BounceOptions } from '../../services/bounce/bounce-policy.ts'
import { QmailBouncePolicy } from '../../services/bounce/bounce-policy.ts'
import type { FailedMessage } from '../../services/contract/bounce.ts'
import type { Body } from '../../services/contract/delivery.ts'
import { permanent, temporary } from '../../services/protocol/failure.ts'
import { readQsbmf, truncationMark } from '../../services/protocol/qsbmf.ts'

const at = Date.UTC(2026, 10, 23, 3, 25, 59)
const noMailbox = permanent('sender', '5.1.1', 'Sorry, no mailbox here by that name.')
const loops = permanent('sender', '5.4.6', 'This message is looping: it already has my Delivered-To line.')

function policy(changes: Partial<BounceOptions> = {}): QmailBouncePolicy {
  const doubleBounceTo = 'postmaster@test.example'
  return new QmailBouncePolicy({ host: 'test.example', doubleBounceTo, format: 'qsbmf', bounceBytesMax: 0, ...changes })
}

function bodyOf(text: string, form: 'lf' | 'crlf' = 'lf'): Body {
  const bytes = Buffer.from(text, 'latin1')
  return { form, bytes: bytes.length, slice: async (position, length) => bytes.subarray(position, position + length) }
}

function message(sender: string, body: Body, ...failed: FailedMessage['failed']): FailedMessage {
  return { id: '01JDB0000000000000000000AA', sender, birthAt: at - 1000, failed, body }
}

async function composed(from: QmailBouncePolicy, failed: FailedMessage, now = at): Promise<string> {
  const decision = from.decide(failed)
  assert.equal(decision.kind, 'send')
  const text = await from.compose(failed, decision as typeof decision & { kind: 'send' }, 'BOUNCE-ID-b', now)
  return text.toString('latin1')
}

/** No line end but CR LF, no line too long for SMTP but what the message itself brought. */
function assertSendable(text: string): void {
  assert.doesNotMatch(text, /[^\r]\n|\r[^\n]/)
}

describe('bounce levels', () => {
  const failed = { address: 'x@y', failure: noMailbox, remote: '', at }
  const table: readonly [string, string][] = [
    ['bob@test.example', 'send <> bob@test.example'],
    ['list-owner-@test.example-@[]', 'send <> list-owner-@test.example'],
    ['', 'send <#@[]> postmaster@test.example'],
    ['#@[]', 'discard triple bounce'],
  ]
  for (const [sender, expected] of table) {
    it(`${JSON.stringify(sender)}: ${expected}`, () => {
      const decision = policy().decide(message(sender, bodyOf(''), failed))
      const words =
        decision.kind === 'send' ? `send <${decision.sender}> ${decision.recipient}` : `discard ${decision.why}`
      assert.equal(words, expected)
    })
  }
})

// What notqmail delivered, without the two lines qmail-local adds and the one qmail-send adds to its bounces.
describe('QSBMF as qmail-send writes it', () => {
  it('single bounce, two recipients', async () => {
    const body = bodyOf(
      'Received: (qmail 12307 invoked by uid 0); 23 Nov 2026 03:25:59 -0000\nSubject: to nobody\n\nhi\n',
    )
    const failed = ['nouser2@test.example', 'nouser@test.example'].map((address) => ({
      address,
      failure: noMailbox,
      remote: 'maildir',
      at,
    }))
    const text = await composed(policy(), message('bob@test.example', body, ...failed))
    assert.equal(
      text.replaceAll('\r\n', '\n'),
      "Date: 23 Nov 2026 03:25:59 -0000\nFrom: MAILER-DAEMON@test.example\nTo: bob@test.example\nSubject: failure notice\n\nHi. This is the qmail-send program at test.example.\nI'm afraid I wasn't able to deliver your message to the following addresses.\nThis is a permanent error; I've given up. Sorry it didn't work out.\n\n<nouser2@test.example>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n<nouser@test.example>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n--- Below this line is a copy of the message.\n\nReturn-Path: <bob@test.example>\nReceived: (qmail 12307 invoked by uid 0); 23 Nov 2026 03:25:59 -0000\nSubject: to nobody\n\nhi\n",
    )
    assertSendable(text)
    assert.deepEqual(
      readQsbmf(Buffer.from(text, 'latin1'))?.failed.map(({ address }) => address),
      ['nouser2@test.example', 'nouser@test.example'],
    )
  })

  it('double bounce, of a loop', async () => {
    const body = bodyOf(
      'Received: (qmail 13771 invoked by uid 0); 23 Nov 2026 03:26:11 -0000\nSubject: loop\nDelivered-To: bob@test.example\n\nhi\n',
    )
    const failed = message('', body, { address: 'bob@test.example', failure: loops, remote: '', at })
    const text = await composed(policy(), failed, at + 12_000)
    assert.equal(
      text.replaceAll('\r\n', '\n'),
      'Date: 23 Nov 2026 03:26:11 -0000\nFrom: MAILER-DAEMON@test.example\nTo: postmaster@test.example\nSubject: failure notice\n\nHi. This is the qmail-send program at test.example.\nI tried to deliver a bounce message to this address, but the bounce bounced!\n\n<bob@test.example>:\nThis message is looping: it already has my Delivered-To line. (#5.4.6)\n\n--- Below this line is the original bounce.\n\nReturn-Path: <>\nReceived: (qmail 13771 invoked by uid 0); 23 Nov 2026 03:26:11 -0000\nSubject: loop\nDelivered-To: bob@test.example\n\nhi\n',
    )
  })

  it('quotes an odd return path', async () => {
    const failed = message('a b%c\u00ffd@test.example', bodyOf('x\n'), {
      address: 'x@y',
      failure: noMailbox,
      remote: '',
      at,
    })
    assert.match(await composed(policy(), failed), /^Return-Path: <"a b%c\u00ffd"@test\.example>\r$/m)
  })
})

const hostile =
  '550 5.1.1 no\r\nBcc: victim@example.org\r\n\r\n<victim@example.org>:\r\nforged \u001b[31mred\u001b[0m \0 \u009b ' +
  'x'.repeat(1_000_000)

describe('bounces of both formats under attack', () => {
  for (const format of ['qsbmf', 'dsn'] as const) {
    it(`${format}: remote words, addresses and body forge nothing`, async () => {
      const failed = message(
        'bob\r\nBcc: victim@example.org@test.example',
        bodyOf('Subject: x\r\n\r\na\nb\rc\r\n\u00ff\0end', 'crlf'),
        {
          address: 'x\r\n\r\n--- Below\r\n@y',
          failure: permanent('peer', '5.1.1', hostile),
          remote: 'smtp mx.example[192.0.2.1]:25',
          at,
        },
        { address: 'z@y', failure: temporary('self', '4.4.1', '\r\n\r\n'), remote: '', at },
      )
      const text = await composed(policy({ format }), failed)
      assertSendable(text)
      const header = text.slice(0, text.indexOf('\r\n\r\n'))
      assert.doesNotMatch(header, /^Bcc/m)
      assert.doesNotMatch(text, /^Bcc/m)
      assert.doesNotMatch(text.slice(0, -100), /\u001b|\0/)
      assert.ok(text.length < 12_000, `${text.length} bytes`)
      assert.ok(text.includes('a?b?c\r\n\u00ff\0end\r\n'), 'the copy keeps its bytes but bare line ends')
      if (format === 'qsbmf') {
        assert.ok(text.includes('\r\n  550 5.1.1 no\r\n  Bcc: victim@example.org\r\n  <victim@example.org>:\r\n'))
        const reading = readQsbmf(Buffer.from(text, 'latin1'))
        assert.deepEqual(
          reading?.failed.map(({ address }) => address),
          ['x____--- Below__@y', 'z@y'],
        )
      }
    })

    it(`${format}: quotes no more than the limit, cut at a line end`, async () => {
      const line = `${'0123456789'.repeat(7)}\n`
      const failed = message('bob@test.example', bodyOf(`Subject: long\n\n${line.repeat(10_000)}`), {
        address: 'x@y',
        failure: noMailbox,
        remote: '',
        at,
      })
      const text = await composed(policy({ format, bounceBytesMax: 1000 }), failed)
      assert.ok(text.length < 3000, `${text.length} bytes`)
      assert.equal(text.split(line.trim()).length - 1, 13)
      if (format === 'qsbmf') assert.ok(text.endsWith(`\r\n${truncationMark}\r\n`))
      else assert.match(text, /^Only the beginning of the message is attached\.\r$/m)
    })

    it(`${format}: names a bounded number of recipients`, async () => {
      const failed = message(
        'bob@test.example',
        bodyOf('x\n'),
        ...Array.from({ length: 30 }, (_, index) => ({ address: `u${index}@y`, failure: noMailbox, remote: '', at })),
      )
      const text = await composed(policy({ format, recipientsMax: 10 }), failed)
      assert.match(text, /20 more/)
      assert.doesNotMatch(text, /u10@y/)
    })
  }
})

describe('delivery status notification', () => {
  it('has the parts and fields RFC 3464 asks for', async () => {
    const failed = message(
      'bob@test.example',
      bodyOf('Subject: x\n\n\u00e4\n'),
      {
        address: 'x@y',
        failure: permanent('peer', '5.7.1', '550 5.7.1 go away'),
        remote: 'smtp mx.y[192.0.2.1]:25',
        at,
      },
      { address: 'z@y', failure: temporary('peer', '4.4.1', 'cannot connect'), remote: 'smtp 192.0.2.7:25', at },
    )
    const text = await composed(policy({ format: 'dsn' }), failed)
    assertSendable(text)
    assert.equal(
      text.replaceAll('\r\n', '\n'),
      [
        'Date: 23 Nov 2026 03:25:59 -0000',
        'From: Mail Delivery System <MAILER-DAEMON@test.example>',
        'To: bob@test.example',
        'Subject: failure notice',
        'Message-ID: <BOUNCE-ID-b@test.example>',
        'Auto-Submitted: auto-replied',
        'MIME-Version: 1.0',
        'Content-Type: multipart/report; report-type=delivery-status;',
        ' boundary="=_BOUNCE-ID-b"',
        'Content-Transfer-Encoding: 8bit',
        '',
        '--=_BOUNCE-ID-b',
        'Content-Type: text/plain; charset=utf-8',
        'Content-Transfer-Encoding: 8bit',
        '',
        'This is the mail system at test.example.',
        '',
        'Your message could not be delivered to the addresses below, and will not be tried again.',
        '',
        '<x@y>:',
        '    550 5.7.1 go away',
        '',
        '<z@y>:',
        '    cannot connect',
        '',
        '--=_BOUNCE-ID-b',
        'Content-Type: message/delivery-status',
        'Content-Transfer-Encoding: 7bit',
        '',
        'Reporting-MTA: dns; test.example',
        'Arrival-Date: 23 Nov 2026 03:25:58 -0000',
        '',
        'Final-Recipient: rfc822; x@y',
        'Action: failed',
        'Status: 5.7.1',
        'Remote-MTA: dns; mx.y',
        'Diagnostic-Code: smtp; 550 5.7.1 go away',
        'Last-Attempt-Date: 23 Nov 2026 03:25:59 -0000',
        '',
        'Final-Recipient: rfc822; z@y',
        'Action: failed',
        'Status: 5.4.1',
        'Remote-MTA: dns; 192.0.2.7',
        'Diagnostic-Code: x-qmq; cannot connect',
        'Last-Attempt-Date: 23 Nov 2026 03:25:59 -0000',
        '',
        '--=_BOUNCE-ID-b',
        'Content-Type: message/rfc822',
        'Content-Transfer-Encoding: 8bit',
        '',
        'Subject: x',
        '',
        '\u00e4',
        '',
        '--=_BOUNCE-ID-b--',
        '',
      ].join('\n'),
    )
  })

  it('finds a boundary the message does not hold', async () => {
    const body = bodyOf('Subject: x\n\n--=_BOUNCE-ID-b\n--=_BOUNCE-ID-b_--\n')
    const failed = message('bob@test.example', body, { address: 'x@y', failure: noMailbox, remote: '', at })
    const text = await composed(policy({ format: 'dsn' }), failed)
    assert.match(text, /boundary="=_BOUNCE-ID-b__"/)
  })

  it('names an internationalised address as RFC 6533 does', async () => {
    const failed = message('bob@test.example', bodyOf('x\n'), {
      address: '\u00c3\u00a4@y',
      failure: noMailbox,
      remote: '',
      at,
    })
    const text = await composed(policy({ format: 'dsn' }), failed)
    assert.match(text, /report-type=global-delivery-status/)
    assert.match(text, /^Final-Recipient: utf-8; \u00c3\u00a4@y\r$/m)
  })
})
