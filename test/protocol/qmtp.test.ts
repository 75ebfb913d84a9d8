import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import { byteStringOfChunks } from '../../services/protocol/netstring.ts'
import {
  defaultQmtpReplyLimits,
  defaultQmtpServerLimits,
  encodeQmtpHead,
  encodeQmtpReply,
  encodeQmtpTail,
  QmtpReplyReader,
  QmtpServerReader,
} from '../../services/protocol/qmtp.ts'
import { defaultAcceptanceLimits, judgePackage } from '../../services/queue/acceptance.ts'
import { cuttings, randomBytes, randomSource } from '../support/split.ts'

interface Case {
  readonly name: string
  readonly client_hex: string
  readonly exit: number
  readonly server_out: string
  readonly env: Readonly<Record<string, string>>
  readonly queued: readonly { readonly message_after_received_hex: string; readonly envelope_hex: string }[]
  readonly qmail_queue_exit?: number
}
const vectors = JSON.parse(fs.readFileSync(new URL('../golden/vectors/qmtp.json', import.meta.url), 'utf8')) as {
  readonly cases: readonly Case[]
  readonly client_must_survive: readonly { readonly name: string; readonly server_out: string }[]
}

/** What a session's bytes come to: packages in short, and how it ended. */
function readSession(pieces: readonly Buffer[], limits = defaultQmtpServerLimits): string[] {
  const reader = new QmtpServerReader(limits)
  const seen: string[] = []
  for (const piece of pieces) {
    reader.receive(piece)
    for (;;) {
      const event = reader.next()
      if (event.kind === 'need-data') break
      if (event.kind === 'malformed') return [...seen, 'malformed']
      const { form, body, bodyBytes, oversize, sender, recipients } = event.package
      seen.push(JSON.stringify([form, byteStringOfChunks(body), bodyBytes, oversize, sender, recipients]))
    }
  }
  return reader.atBoundary ? seen : [...seen, 'unfinished']
}

/** RELAYCLIENT and rcpthosts are an edge's business; these vectors depend on them. */
const elsewhere = new Set(['rcpthosts-mixed', 'rcpthosts-all-bad', 'relayclient-suffix'])

test('qmtp: the observed sessions parse to the messages and envelopes that were queued', () => {
  let checked = 0
  for (const vector of vectors.cases) {
    if (elsewhere.has(vector.name) || vector.qmail_queue_exit !== undefined) continue
    const bytes = Buffer.from(vector.client_hex, 'hex')
    const databytes = Number(vector.env['DATABYTES'] ?? 1e6)
    const lenient = vector.name.includes('lenient')
    const limits = {
      ...defaultQmtpServerLimits,
      messageBytesMax: databytes,
      leadingZeros: lenient ? 'allow' : 'refuse',
    } as const
    for (const cut of cuttings(bytes, 3, 3)) {
      const seen = readSession(cut, limits)
      const ending = vector.exit === 0 ? undefined : 'malformed'
      assert.equal(seen.at(-1) === 'malformed' ? 'malformed' : undefined, ending, vector.name)
      assert.deepEqual(queuedOf(seen, databytes), vector.queued.map(expectedOf), vector.name)
    }
    checked++
  }
  assert.ok(checked >= 15, `${checked} vectors`)
})

function queuedOf(seen: readonly string[], databytes: number): string[] {
  const queued: string[] = []
  for (const line of seen) {
    if (!line.startsWith('[')) continue
    const [form, body, bodyBytes, oversize, sender, recipients] = JSON.parse(line)
    const given = { form, body: [Buffer.from(body, 'latin1')], bodyBytes, oversize, sender, recipients }
    const judgement = judgePackage(given, { ...defaultAcceptanceLimits, messageBytesMax: databytes })
    if (judgement.refusal !== undefined || judgement.accepted.length === 0) continue
    const text = form === 'crlf' ? body.replaceAll('\r\n', '\n') : body
    queued.push(JSON.stringify([text, sender, judgement.accepted]))
  }
  return queued
}

function expectedOf(queued: Case['queued'][number]): string {
  const parts = Buffer.from(queued.envelope_hex, 'hex')
    .toString('latin1')
    .split('\0')
    .filter((part) => part !== '')
  const recipients = parts.slice(1).map((part) => part.slice(1))
  return JSON.stringify([
    Buffer.from(queued.message_after_received_hex, 'hex').toString('latin1'),
    parts[0]!.slice(1),
    recipients,
  ])
}

test('qmtp: refusals come with the words and in the order of the observed server', () => {
  for (const name of ['nul-in-recipient', 'nul-in-sender', 'recipient-1000', 'databytes-lf-over', 'recipient-999']) {
    const vector = vectors.cases.find((candidate) => candidate.name === name)
    assert.ok(vector, name)
    const messageBytesMax = Number(vector.env['DATABYTES'] ?? 1e6)
    const reader = new QmtpServerReader({ ...defaultQmtpServerLimits, messageBytesMax })
    reader.receive(Buffer.from(vector.client_hex, 'hex'))
    const event = reader.next()
    assert.equal(event.kind, 'package', name)
    if (event.kind !== 'package') continue
    const judgement = judgePackage(event.package, { ...defaultAcceptanceLimits, messageBytesMax })
    const common = judgement.refusal ?? { letter: 'K', text: 'ok TIME qp PID' }
    const replies = judgement.refusals.map((refusal) => {
      const { letter, text } = refusal ?? common
      return encodeQmtpReply(letter, text)
    })
    // The vectors' lengths are those of the real time and process id, before they were replaced by words.
    assert.equal(replies.join(''), vector.server_out.replaceAll('23:Kok TIME qp PID', '15:Kok TIME qp PID'), name)
  }
})

test('qmtp: what the client writes, the server reads back, whatever the bytes and the cut', () => {
  const next = randomSource(11)
  for (let round = 0; round < 200; round++) {
    const form = round % 2 === 0 ? 'lf' : 'crlf'
    const body = randomBytes(next, Math.floor(next() * 200))
    const sender = randomBytes(next, Math.floor(next() * 30)).toString('latin1')
    const recipients = Array.from({ length: Math.floor(next() * 4) }, () => randomBytes(next, 9).toString('latin1'))
    const bytes = Buffer.concat([
      Buffer.from(encodeQmtpHead(form, body.length), 'latin1'),
      body,
      Buffer.from(encodeQmtpTail(sender, recipients), 'latin1'),
    ])
    const expected = JSON.stringify([form, body.toString('latin1'), body.length, false, sender, recipients])
    for (const cut of cuttings(Buffer.concat([bytes, bytes]), round, 2)) {
      assert.deepEqual(readSession(cut), [expected, expected])
    }
  }
})

test('qmtp: random bytes never throw and end the same however cut', () => {
  const next = randomSource(5)
  for (let round = 0; round < 300; round++) {
    const noise = Buffer.concat([Buffer.from('5:\nabcd,0:,', 'latin1'), randomBytes(next, 50)])
    const [whole, ...others] = cuttings(noise, round, 2)
    const expected = readSession(whole!)
    for (const cut of others) assert.deepEqual(readSession(cut), expected)
  }
})

test('qmtp: a message over the limit is dropped, and the next package is read', () => {
  const limits = { ...defaultQmtpServerLimits, messageBytesMax: 4 }
  const seen = readSession([Buffer.from('6:\naaaaa,1:s,4:1:r,,5:\nbbbb,1:s,4:1:r,,', 'latin1')], limits)
  assert.deepEqual(seen, ['["lf","",5,true,"s",["r"]]', '["lf","bbbb",4,false,"s",["r"]]'])
})

test('qmtp: replies are read whatever the cut, and a broken one ends the session', () => {
  const bytes = Buffer.from('23:Kok 1700000000 qp 12345,9:Zlater on,6:Dnever,', 'latin1')
  for (const cut of cuttings(bytes)) {
    const reader = new QmtpReplyReader(defaultQmtpReplyLimits)
    const seen: string[] = []
    for (const piece of cut) {
      reader.receive(piece)
      for (let event = reader.next(); event.kind === 'reply'; event = reader.next())
        seen.push(event.letter + event.text)
    }
    assert.deepEqual(seen, ['Kok 1700000000 qp 12345', 'Zlater on', 'Dnever'])
  }
  const survived = new Map(vectors.client_must_survive.map((one) => [one.name, one.server_out]))
  assert.ok(survived.size >= 3)
  for (const [name, output] of survived) {
    const reader = new QmtpReplyReader(defaultQmtpReplyLimits)
    reader.receive(Buffer.from(`${output.replace('TIME', '1700000000').replace('PID', '12345')}6:Dnever,`, 'latin1'))
    let event = reader.next()
    const letters: string[] = []
    for (; event.kind === 'reply'; event = reader.next()) letters.push(event.letter)
    if (name.includes('bad')) assert.equal(event.kind, 'malformed', name)
    else assert.equal(event.kind, 'need-data', name)
  }
})
