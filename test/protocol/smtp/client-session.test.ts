import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { SmtpClientOptions, SmtpTransaction } from '../../../services/protocol/smtp/client-session.ts'
import { SmtpClientSession } from '../../../services/protocol/smtp/client-session.ts'

/** A dialogue: `S ` what the server says, `C ` what the client must have sent, `E ` events, `!` what the owner does. */
type Script = readonly string[]

const transaction: SmtpTransaction = {
  sender: 'a@one.example',
  recipients: ['b@two.example', 'c@two.example'],
  bytes: 1000,
  utf8: false,
  eightBit: false,
}

function describeEvents(session: SmtpClientSession): string[] {
  const seen: string[] = []
  for (;;) {
    const event = session.next()
    if (event.kind === 'need-data') return seen
    if (event.kind === 'outcomes') {
      for (const outcome of event.outcomes) {
        seen.push(
          outcome.kind === 'delivered'
            ? `ok ${outcome.text}`
            : `${outcome.failure.class} ${outcome.failure.enhanced} ${outcome.failure.text}`,
        )
      }
    } else if (event.kind === 'failed') {
      const { stage, failure, unanswered } = event
      seen.push(
        `failed ${stage} ${failure.class} ${failure.enhanced} ${failure.text}${unanswered ? ' unanswered' : ''}`,
      )
    } else seen.push(event.kind)
  }
}

/** Runs a script; `cut` says how the server's bytes arrive. Returns everything the client did, in order. */
function play(
  script: Script,
  cut: (text: string) => readonly string[],
  options: Partial<SmtpClientOptions> = {},
): string[] {
  const session = new SmtpClientSession({ helloName: 'me.example', tls: 'never', ...options })
  const log: string[] = []
  const note = (): void => {
    for (const event of describeEvents(session)) log.push(`E ${event}`)
    const output = session.takeOutput()
    if (output !== '')
      log.push(
        ...output
          .split('\r\n')
          .slice(0, -1)
          .map((line) => `C ${line}`),
      )
  }
  for (const step of script) {
    if (step.startsWith('S ')) {
      for (const piece of cut(`${step.slice(2).replaceAll('|', '\r\n')}\r\n`)) {
        session.receive(Buffer.from(piece, 'latin1'))
        note()
      }
    } else if (step.startsWith('! ')) {
      act(session, step.slice(2))
      note()
    }
  }
  return log
}

function act(session: SmtpClientSession, action: string): void {
  const [verb = '', argument = ''] = action.split(' ')
  if (verb === 'start') session.start(argument === '' ? transaction : { ...transaction, ...JSON.parse(argument) })
  else if (verb === 'sent') session.bodySent()
  else if (verb === 'secured') session.secured()
  else if (verb === 'quit') session.quit()
  else if (verb === 'closed') session.closed('connection lost')
}

const hello: Script = [
  'S 220 hi',
  'C EHLO me.example',
  'S 250-two.example|250-pipelining|250-SIZE 5000|250 8BITMIME',
  'E ready',
]
const plain: Script = ['S 220 hi', 'C EHLO me.example', 'S 250 two.example', 'E ready']
const envelope: Script = [
  '! start',
  'C MAIL FROM:<a@one.example> SIZE=1000',
  'C RCPT TO:<b@two.example>',
  'C RCPT TO:<c@two.example>',
  'C DATA',
]

const stories: Readonly<Record<string, { readonly script: Script; readonly options?: Partial<SmtpClientOptions> }>> = {
  'pipelined, and again on the same connection without RSET': {
    script: [
      ...hello,
      ...envelope,
      'S 250 2.1.0 ok|250 2.1.5 ok|250 2.1.5 ok|354 go',
      'E send-body',
      '! sent',
      'S 250-2.0.0 queued|250 2.0.0 as 17',
      'E ok 250 2.0.0 queued as 17',
      'E ok 250 2.0.0 queued as 17',
      'E ready',
      ...envelope,
    ],
  },
  'one command at a time where PIPELINING is not offered': {
    script: [
      ...plain,
      '! start',
      'C MAIL FROM:<a@one.example>',
      'S 250 ok',
      'C RCPT TO:<b@two.example>',
      'S 250 ok',
      'C RCPT TO:<c@two.example>',
      'S 450 later',
      'C DATA',
      'S 354 go',
      'E send-body',
      '! sent',
      'S 250 done',
      'E ok 250 done',
      'E temporary 4.0.0 450 later',
      'E ready',
    ],
  },
  'HELO after a refused EHLO; no extension is used': {
    script: [
      'S 220 hi',
      'C EHLO me.example',
      'S 502 what',
      'C HELO me.example',
      'S 250 ok',
      'E ready',
      '! start',
      'C MAIL FROM:<a@one.example>',
    ],
  },
  'mixed RCPT replies, each kept': {
    script: [
      ...hello,
      ...envelope,
      'S 250 ok|550 5.1.1 no such user|250 ok|354 go',
      'E send-body',
      '! sent',
      'S 250 done',
      'E permanent 5.1.1 550 5.1.1 no such user',
      'E ok 250 done',
      'E ready',
    ],
  },
  '354 for nobody is ended by the lone dot': {
    script: [
      ...hello,
      ...envelope,
      'S 250 ok|550 5.1.1 no|450 4.2.0 busy|354 go',
      'C .',
      'S 554 no recipients',
      'E permanent 5.1.1 550 5.1.1 no',
      'E temporary 4.2.0 450 4.2.0 busy',
      'E ready',
      ...envelope,
    ],
  },
  'all RCPT and DATA refused: the next transaction begins with RSET': {
    script: [
      ...hello,
      ...envelope,
      'S 250 ok|550 no|550 no|503 no recipients',
      'E permanent 5.0.0 550 no',
      'E permanent 5.0.0 550 no',
      'E ready',
      '! start',
      'C RSET',
      ...envelope.slice(1),
      'S 250 reset|250 ok|250 ok|250 ok|354 go',
      'E send-body',
      '! sent',
      'S 250 x',
      'E ok 250 x',
      'E ok 250 x',
      'E ready',
    ],
  },
  'a refused RSET is the host, not the mail': {
    script: [
      ...hello,
      ...envelope,
      'S 250 ok|550 no|550 no|503 no recipients',
      'E permanent 5.0.0 550 no',
      'E permanent 5.0.0 550 no',
      'E ready',
      '! start',
      'C RSET',
      ...envelope.slice(1),
      'S 500 what|250 ok|250 ok|250 ok|354 go',
      'E failed envelope temporary 4.0.0 RSET was answered 500 what unanswered',
    ],
  },
  'MAIL refused': {
    script: [
      ...plain,
      '! start',
      'C MAIL FROM:<a@one.example>',
      'S 553 5.1.8 bad sender',
      'E permanent 5.1.8 553 5.1.8 bad sender',
      'E permanent 5.1.8 553 5.1.8 bad sender',
      'E ready',
    ],
  },
  'MAIL refused and 354 all the same': {
    script: [
      ...hello,
      ...envelope,
      'S 452 full|503 no|503 no|354 go',
      'C .',
      'S 250 ok',
      'E temporary 4.0.0 452 full',
      'E temporary 4.0.0 452 full',
      'E ready',
    ],
  },
  'DATA refused': {
    script: [
      ...hello,
      ...envelope,
      'S 250 ok|250 ok|550 5.1.1 no|451 4.7.1 greylisted',
      'E temporary 4.7.1 451 4.7.1 greylisted',
      'E permanent 5.1.1 550 5.1.1 no',
      'E ready',
    ],
  },
  'the reply after the final dot is what counts': {
    script: [
      ...hello,
      ...envelope,
      'S 250 ok|250 ok|250 ok|354 go',
      'E send-body',
      '! sent',
      'S 554 5.7.1 spam',
      'E permanent 5.7.1 554 5.7.1 spam',
      'E permanent 5.7.1 554 5.7.1 spam',
      'E ready',
    ],
  },
  'connection lost after the final dot: a duplicate is possible': {
    script: [
      ...hello,
      ...envelope,
      'S 250 ok|550 no|250 ok|354 go',
      'E send-body',
      '! sent',
      '! closed',
      'E permanent 5.0.0 550 no',
      'E temporary 4.4.2 connection lost; the message may have arrived, a duplicate is possible',
      'E failed final-dot temporary 4.4.2 connection lost; the message may have arrived, a duplicate is possible',
    ],
  },
  'connection lost in the body': {
    script: [
      ...hello,
      ...envelope,
      'S 250 ok|250 ok|250 ok|354 go',
      'E send-body',
      '! closed',
      'E temporary 4.4.2 connection lost',
      'E temporary 4.4.2 connection lost',
      'E failed body temporary 4.4.2 connection lost',
    ],
  },
  'connection lost before MAIL was answered': {
    script: [...hello, ...envelope, '! closed', 'E failed envelope temporary 4.4.2 connection lost unanswered'],
  },
  '421 to MAIL': {
    script: [...hello, ...envelope, 'S 421 4.4.2 idle', 'E failed envelope temporary 4.4.2 421 4.4.2 idle unanswered'],
  },
  '421 at a recipient': {
    script: [
      ...hello,
      ...envelope,
      'S 250 ok|550 no|421 bye',
      'E permanent 5.0.0 550 no',
      'E temporary 4.0.0 421 bye',
      'E failed envelope temporary 4.0.0 421 bye',
    ],
  },
  '421 while idle': { script: [...hello, 'S 421 bye', 'E failed ready temporary 4.0.0 421 bye'] },
  '421 as greeting': { script: ['S 421 busy', 'E failed greeting temporary 4.0.0 421 busy'] },
  'a refusing greeting is the host, not the mail': {
    script: ['S 554 5.3.2 go away', 'E failed greeting temporary 4.3.2 greeting was answered 554 5.3.2 go away'],
  },
  'an answer in the middle of the body': {
    script: [
      ...hello,
      ...envelope,
      'S 250 ok|250 ok|250 ok|354 go',
      'E send-body',
      'S 552 5.3.4 too big',
      'E permanent 5.3.4 552 5.3.4 too big (answered in the middle of the message)',
      'E permanent 5.3.4 552 5.3.4 too big (answered in the middle of the message)',
      'E failed body permanent 5.3.4 552 5.3.4 too big (answered in the middle of the message)',
    ],
  },
  'a positive answer before the final dot delivers nothing': {
    script: [
      ...hello,
      ...envelope,
      'S 250 ok|250 ok|250 ok|354 go',
      'E send-body',
      'S 250 sure',
      'E temporary 4.0.0 250 sure (answered in the middle of the message)',
      'E temporary 4.0.0 250 sure (answered in the middle of the message)',
      'E failed body temporary 4.0.0 250 sure (answered in the middle of the message)',
    ],
  },
  'too large for the server: refused without a word sent': {
    script: [
      ...hello,
      '! start {"bytes":5001}',
      "E permanent 5.3.4 message exceeds the server's limit of 5000 bytes",
      "E permanent 5.3.4 message exceeds the server's limit of 5000 bytes",
      'E ready',
    ],
  },
  'LIMITS RCPTMAX makes several rounds of one transaction': {
    script: [
      'S 220 hi',
      'C EHLO me.example',
      'S 250-x|250-PIPELINING|250 LIMITS MAILMAX=9 RCPTMAX=1',
      'E ready',
      '! start',
      'C MAIL FROM:<a@one.example>',
      'C RCPT TO:<b@two.example>',
      'C DATA',
      'S 250 ok|250 ok|354 go',
      'E send-body',
      '! sent',
      'S 250 first',
      'C MAIL FROM:<a@one.example>',
      'C RCPT TO:<c@two.example>',
      'C DATA',
      'S 250 ok|250 ok|354 go',
      'E send-body',
      '! sent',
      'S 451 second',
      'E ok 250 first',
      'E temporary 4.0.0 451 second',
      'E ready',
    ],
  },
  'SMTPUTF8 needed and not offered; the others go': {
    script: [
      ...plain,
      '! start {"recipients":["\u00c3\u00a4@two.example","c@two.example"]}',
      'C MAIL FROM:<a@one.example>',
      'S 250 ok',
      'C RCPT TO:<c@two.example>',
      'S 250 ok',
      'C DATA',
      'S 354 go',
      'E send-body',
      '! sent',
      'S 250 ok',
      'E permanent 5.6.7 SMTPUTF8 is needed and the server does not offer it',
      'E ok 250 ok',
      'E ready',
    ],
  },
  'SMTPUTF8 and BODY where offered and needed': {
    script: [
      'S 220 hi',
      'C EHLO me.example',
      'S 250-x|250-PIPELINING|250-SMTPUTF8|250 8BITMIME',
      'E ready',
      '! start {"sender":"","eightBit":true,"recipients":["\u00c3\u00a4@two.example"]}',
      'C MAIL FROM:<> BODY=8BITMIME SMTPUTF8',
      'C RCPT TO:<\u00c3\u00a4@two.example>',
      'C DATA',
    ],
  },
  'no address smuggles a parameter, a line or a recipient': {
    script: [
      ...plain,
      `! start ${JSON.stringify({ recipients: ['b@two.example\r\nRSET', 'b@two.example>\u00a0SIZE=1', 'b@x>,<c', 'b', 'b\0@x', '"b\\@x'] })}`,
      'C MAIL FROM:<a@one.example>',
      'S 250 ok',
      'C RCPT TO:<"\\"b\\\\"@x>',
      'S 550 no',
      ...Array.from({ length: 5 }, () => 'E permanent 5.1.3 recipient address cannot be sent by SMTP'),
      'E permanent 5.0.0 550 no',
      'E ready',
    ],
  },
  'no sender smuggles anything either': {
    script: [
      ...plain,
      '! start {"sender":"a@b\\r\\nRCPT"}',
      'E permanent 5.1.7 sender address cannot be sent by SMTP',
      'E permanent 5.1.7 sender address cannot be sent by SMTP',
      'E ready',
    ],
  },
  'control bytes of a reply do not leave the session': {
    script: [
      ...hello,
      ...envelope,
      'S 550 a\u001b[2Jb\0\rc|550 x|550 x|503 x',
      'E permanent 5.0.0 550 a?[2Jb??c',
      'E permanent 5.0.0 550 a?[2Jb??c',
      'E ready',
    ],
  },
  'STARTTLS, then everything anew': {
    options: { tls: 'opportunistic' },
    script: [
      'S 220 hi',
      'C EHLO me.example',
      'S 250-x|250-PIPELINING|250 STARTTLS',
      'C STARTTLS',
      'S 220 go',
      'E starttls',
      '! secured',
      'C EHLO me.example',
      'S 250 x',
      'E ready',
      '! start',
      'C MAIL FROM:<a@one.example>',
    ],
  },
  'STARTTLS refused: on in the clear': {
    options: { tls: 'opportunistic' },
    script: ['S 220 hi', 'C EHLO me.example', 'S 250-x|250 STARTTLS', 'C STARTTLS', 'S 454 not now', 'E ready'],
  },
  'STARTTLS refused where it is required': {
    options: { tls: 'required' },
    script: [
      'S 220 hi',
      'C EHLO me.example',
      'S 250-x|250 STARTTLS',
      'C STARTTLS',
      'S 554 5.7.0 no',
      'E failed starttls temporary 4.7.0 STARTTLS was answered 554 5.7.0 no',
    ],
  },
  'STARTTLS stripped where it is required': {
    options: { tls: 'required' },
    script: [
      'S 220 hi',
      'C EHLO me.example',
      'S 250-x|250 XXXXXXXX',
      'E failed hello temporary 4.7.4 TLS is required here and the server does not offer it',
    ],
  },
  'quit ends it': { script: [...hello, '! quit', 'C QUIT', 'S 221 bye', '! closed'] },
}

const whole = (text: string): readonly string[] => [text]
const bytes = (text: string): readonly string[] => [...text]

describe('SMTP client session', () => {
  for (const [name, { script, options }] of Object.entries(stories)) {
    const expected = script.filter((step) => step.startsWith('C ') || step.startsWith('E '))
    it(name, () => {
      assert.deepEqual(play(script, whole, options), expected)
    })
    it(`${name} (byte by byte)`, () => {
      assert.deepEqual(play(script, bytes, options), expected)
    })
  }

  for (const late of ['220 go\r\n250 injected\r\n', '220 go\r\nx']) {
    it(`fails on ${JSON.stringify(late)} after STARTTLS, in one piece or two`, () => {
      for (const cut of [[late], [late.slice(0, 8), late.slice(8)]]) {
        const session = new SmtpClientSession({ helloName: 'me', tls: 'opportunistic' })
        session.receive(Buffer.from('220 hi\r\n250-x\r\n250 STARTTLS\r\n'))
        assert.deepEqual(describeEvents(session), [])
        const events: string[] = []
        for (const piece of cut) {
          session.receive(Buffer.from(piece))
          events.push(...describeEvents(session))
        }
        assert.match(events.at(-1) ?? '', /^failed .* temporary 4\.7\.5 server spoke in the clear after STARTTLS$/)
      }
    })
  }

  it('cuts the connection of a server that sends a line without an end', () => {
    const session = new SmtpClientSession({ helloName: 'me', tls: 'never' })
    for (let sent = 0; sent < 1024; sent++) session.receive(Buffer.alloc(1024, 'x'))
    assert.deepEqual(describeEvents(session), [
      'failed greeting temporary 4.5.0 server broke the protocol: reply line too long',
    ])
  })

  it('answers every recipient exactly once, whatever the server says', () => {
    const line = fc.oneof(
      fc.constantFrom(
        '220 x',
        '250 x',
        '250-x',
        '354 x',
        '421 x',
        '450 x',
        '550 x',
        'x',
        '250 PIPELINING',
        '250-PIPELINING',
        '250 STARTTLS',
      ),
      fc.string({ unit: 'binary', maxLength: 8 }),
    )
    fc.assert(
      fc.property(fc.array(line, { maxLength: 25 }), fc.boolean(), (lines, greet) => {
        const session = new SmtpClientSession({ helloName: 'me', tls: 'never' })
        const opening = greet ? ['220 x', '250-x', '250 PIPELINING'] : []
        let owed = 0
        let answered = 0
        let unanswered = 0
        const pump = (): void => {
          for (let event = session.next(); event.kind !== 'need-data'; event = session.next()) {
            if (event.kind === 'ready') {
              owed++
              session.start(transaction)
            } else if (event.kind === 'send-body') session.bodySent()
            else if (event.kind === 'outcomes') {
              assert.equal(event.outcomes.length, transaction.recipients.length)
              answered++
            } else if (event.kind === 'failed' && event.unanswered) unanswered++
          }
        }
        for (const text of [...opening, ...lines]) {
          session.receive(Buffer.from(`${text}\r\n`, 'latin1'))
          pump()
        }
        session.closed('gone')
        pump()
        assert.equal(answered + unanswered, owed)
      }),
      { numRuns: 3000 },
    )
  })
})
