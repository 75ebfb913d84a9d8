/** The target of a hand-over: nothing is taken twice, nothing is answered early, and what is not taken stays with its source. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import type { HandoverOffer } from '../../../services/contract/handover.ts'
import { readEntry } from '../../../services/contract/manifest.ts'
import { temporary } from '../../../services/protocol/failure.ts'
import { envelopeHash, readEnvelope } from '../../../services/queue/handover/envelope.ts'
import { refuseHello } from '../../../services/queue/handover/hello.ts'
import { sha256 } from '../../../services/runtime/digest.ts'
import { type Cleanup, temporaryDirectory } from '../../support/temporary-directory.ts'
import { drainLayout, hello, messageId, offerOf, Place, plan, planId } from './place.ts'

const body = Buffer.from('Subject: test\r\n\r\nhello\r\n')

async function open(t: Cleanup, home: string, instance: string): Promise<Place> {
  const place = new Place(home, instance)
  await place.store.open()
  t.after(() => place.close().catch(() => {}))
  return place
}

/** A message that was tried before, failed for one recipient and was delivered to another, as instance 02 has it. */
async function offered(t: Cleanup, given: { number?: number; held?: boolean } = {}): Promise<HandoverOffer> {
  const source = await open(t, temporaryDirectory(t), '02')
  for (let count = 1; count < (given.number ?? 1); count++) source.store.journal.takeNumber()
  const number = source.store.journal.takeNumber()
  const recipients = ['a@customer1.example', 'b@customer1.example', 'c@customer1.example']
  const message = {
    type: 'message',
    number,
    id: messageId,
    birthAt: 1000,
    form: 'crlf',
    sender: 's@x.example',
  } as const
  await source.append({ ...message, recipients }, body)
  const failure = temporary('peer', '4.2.2', 'mailbox full', 452)
  const deferrals = [{ index: 1, failure, remote: 'mx' }]
  const results = [
    { index: 0, status: 'delivered', failure: undefined, remote: 'mx' },
    { index: 2, status: 'failed', failure, remote: 'mx' },
  ] as const
  await source.append({ type: 'deferral', number, at: 5, dueAt: 401_000, deferrals })
  await source.append({ type: 'result', number, at: 6, results })
  if (given.held === true) await source.append({ type: 'hold', number, at: 7, held: true, why: 'by the postmaster' })
  const live = source.live.get(number)
  assert.ok(live)
  return offerOf(live, body)
}

test('taker: a message comes with its history, and its line is in the manifest when it is answered', async (t) => {
  const home = temporaryDirectory(t)
  const target = await open(t, home, '01')
  const offer = await offered(t, { number: 9, held: true })
  assert.equal(target.taker.refuse(hello), undefined)
  const answer = await target.offer(offer)
  assert.deepEqual(answer, { kind: 'taken', envelope: envelopeHash(offer.envelope), body: sha256([body]) })
  const lines = fs.readFileSync(`${home}/handover/${planId}.manifest`, 'utf8').split('\n')
  assert.deepEqual(readEntry(lines[0] ?? ''), {
    ...{ source: '02', number: 9, target: '01', id: messageId, bytes: body.length },
    ...{ envelope: envelopeHash(offer.envelope), body: sha256([body]), recipients: 2, dueAt: 1000, attempts: 1 },
  })
  const message = target.live.get(1)
  assert.deepEqual(
    [message?.birthAt, message?.held, message?.origin],
    [1000, 'by the postmaster', { instance: '02', number: 9 }],
  )
  assert.deepEqual(
    message?.recipients.map(({ status, attempts, dueAt, failure }) => [status, attempts, dueAt, failure?.text]),
    [
      ['delivered', 1, 1000, undefined],
      ['pending', 1, 401_000, 'mailbox full'],
      ['failed', 1, 1000, 'mailbox full'],
    ],
  )
  assert.deepEqual([target.live.totals.takenOver, target.live.totals.accepted], [2, 0])
  assert.deepEqual(
    target.ledger.map(({ event, to, recipients }) => [event, to, recipients?.length]),
    [['taken-over', '02', 2]],
  )
})

test('taker: what is offered again is answered again, and taken once; also at once, also by another life', async (t) => {
  const home = temporaryDirectory(t)
  const target = await open(t, home, '01')
  const offer = await offered(t)
  target.taker.refuse(hello)
  const answers = await Promise.all([target.offer(offer), target.offer(offer), target.offer(offer)])
  answers.push(await target.offer(offer))
  for (const answer of answers) assert.deepEqual(answer, answers[0])
  assert.deepEqual([answers[0]?.kind, target.live.size, target.taken.length], ['taken', 1, 1])
  for (const forgotten of ['nothing', 'journal', 'manifest'] as const) {
    if (forgotten === 'manifest') fs.rmSync(`${home}/handover/${planId}.manifest`)
    if (forgotten === 'journal') fs.renameSync(`${home}/journal`, `${home}/journal.aside`)
    const next = await open(t, home, '01')
    next.taker.refuse(hello)
    assert.equal((await next.offer(offer)).kind, 'taken', `${forgotten} is forgotten`)
    assert.equal(next.taken.length, 0)
    if (forgotten !== 'journal') continue
    fs.rmSync(`${home}/journal`, { recursive: true })
    fs.renameSync(`${home}/journal.aside`, `${home}/journal`)
  }
  const lines = fs.readFileSync(`${home}/handover/${planId}.manifest`, 'utf8').trim().split('\n')
  assert.equal(lines.length, 1, 'the line that was missing was written again')
})

test('taker: numbers that begin anew are other messages', async (t) => {
  const target = await open(t, temporaryDirectory(t), '01')
  const offer = await offered(t)
  target.taker.refuse(hello)
  await target.offer(offer)
  const envelope = readEnvelope(offer.envelope)
  assert.ok(envelope)
  const other = await open(t, temporaryDirectory(t), '02')
  const record = { ...envelope.record, type: 'message', number: 1, id: `${messageId}-1`, recipients: ['d@x'] } as const
  const message = await other.append(record, body)
  assert.ok(message)
  await target.offer(offerOf(message, body))
  assert.deepEqual(
    [...target.live.all()].map(({ id }) => id),
    [messageId, `${messageId}-1`],
  )
})

test('taker: who takes no more still answers for what it has, and says of the rest that it is not here', async (t) => {
  const target = await open(t, temporaryDirectory(t), '01')
  const offer = await offered(t)
  const later = await offered(t, { number: 2 })
  target.taker.refuse(hello)
  await target.offer(offer)
  const changes: [string, () => void][] = [
    ['disk nearly full', () => (target.refusing = 'disk nearly full')],
    ['cancelled', () => (target.layout = drainLayout({ plans: [{ ...plan, state: 'cancelling' }] }))],
    [
      'leaves itself',
      () => {
        const layout = drainLayout()
        const instances = layout.instances.map((one) =>
          one.id === '01' ? { ...one, standing: 'cordoned' as const } : one,
        )
        target.layout = { ...layout, instances }
      },
    ],
  ]
  for (const [what, change] of changes) {
    target.refusing = undefined
    target.layout = drainLayout()
    change()
    assert.equal((await target.offer(offer)).kind, 'taken', what)
    assert.equal((await target.offer(later)).kind, 'absent', what)
  }
  assert.equal(target.live.size, 1)
})

test('taker: what did not come whole is refused, bit by bit', async (t) => {
  const target = await open(t, temporaryDirectory(t), '01')
  const offer = await offered(t)
  target.taker.refuse(hello)
  for (let at = 4; at < offer.envelope.length; at += 3) {
    const envelope = Buffer.from(offer.envelope)
    envelope[at] = (envelope[at] ?? 0) ^ 4
    assert.equal((await target.offer({ ...offer, envelope })).kind, 'refused', `envelope byte ${at}`)
  }
  const short = { ...offer, body: [body.subarray(1)], bodyBytes: body.length - 1 }
  const other = { ...offer, body: [Buffer.from(body).fill(0x41, 3, 4)] }
  for (const one of [short, other, { ...offer, bodyBytes: 3 }]) assert.equal((await target.offer(one)).kind, 'refused')
  assert.equal(target.live.size, 0)
})

test('taker: the last link of a source is the one that is listened to', async (t) => {
  const target = await open(t, temporaryDirectory(t), '01')
  const offer = await offered(t)
  assert.equal((await target.offer(offer)).kind, 'unclear', 'no hello')
  target.taker.refuse(hello)
  const next = { ...hello }
  target.taker.refuse(next)
  assert.equal((await target.offer(offer)).kind, 'unclear', 'of a link that was replaced')
  assert.equal((await target.offer(offer, next)).kind, 'taken')
  target.taker.close()
  assert.equal((await target.offer(offer, next)).kind, 'unclear')
  assert.equal(target.taker.refuse(hello), 'this queue is stopping')
})

test('taker: only sources the layout sends are served', () => {
  const cases: [Partial<typeof hello>, RegExp | undefined][] = [
    [{}, undefined],
    [{ version: 2 }, /version 2/],
    [{ cluster: 'other.example' }, /another cluster/],
    [{ target: '02' }, /instance 01/],
    [{ source: '07' }, /no instance 07/],
    [{ source: '00' }, /00 does not leave/],
    [{ plan: `${planId.slice(0, -1)}X` }, /no plan/],
  ]
  for (const [change, expected] of cases) {
    const why = refuseHello(drainLayout(), '01', { ...hello, ...change })
    if (expected === undefined) assert.equal(why, undefined)
    else assert.match(why ?? '', expected)
  }
  assert.match(refuseHello(drainLayout(), '00', { ...hello, target: '00' }) ?? '', /does not hand over to instance 00/)
})
