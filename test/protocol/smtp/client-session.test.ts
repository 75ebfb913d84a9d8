import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { SmtpClientOptions } from '../../../services/protocol/smtp/client-session.ts'
import { SmtpClientSession } from '../../../services/protocol/smtp/client-session.ts'
import type { Script } from './client-stories.ts'
import { stories, transaction } from './client-stories.ts'

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
