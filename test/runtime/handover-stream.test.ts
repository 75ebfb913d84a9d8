/** The hand-over over gRPC: what arrives is what was offered, and no answer is ever better than what is known. */

import assert from 'node:assert/strict'
import { randomFillSync } from 'node:crypto'
import net from 'node:net'
import { describe, it } from 'node:test'
import {
  type HandoverAnswer,
  type HandoverHello,
  type HandoverLink,
  type HandoverOffer,
  type HandoverTaker,
  handoverVersion,
} from '../../services/contract/handover.ts'
import { sha256 } from '../../services/runtime/digest.ts'
import { dialHandover, handoverDialer } from '../../services/runtime/handover-dial.ts'
import { type HandoverListener, listenHandover } from '../../services/runtime/handover-server.ts'
import { handoverService } from '../../services/runtime/handover-wire.ts'
import { RpcClient } from '../../services/runtime/rpc-client.ts'
import type { RpcTls } from '../../services/runtime/rpc-identity.ts'
import { silentLog } from '../../services/runtime/silent-log.ts'
import type { Cleanup } from '../support/temporary-directory.ts'
import { dayMs, TestAuthority } from '../support/test-authority.ts'

const hello: HandoverHello = {
  version: handoverVersion,
  cluster: 'mail.example.com',
  plan: '01JZZZZZZZZZZZZZZZZZZZZZZZ',
  source: '02',
  target: '01',
  epoch: 7,
}

function offerOf(number: number, bodyBytes: number, cuts = 3): HandoverOffer {
  const whole = randomFillSync(Buffer.alloc(bodyBytes))
  const step = Math.ceil(bodyBytes / cuts)
  const body =
    bodyBytes === 0 ? [] : Array.from({ length: cuts }, (_, at) => whole.subarray(at * step, (at + 1) * step))
  return { number, envelope: Buffer.from(`envelope of ${number} \0\xff`, 'latin1'), body, bodyBytes }
}

/** What a target that is honest answers. */
function takenOf({ envelope, body }: HandoverOffer): HandoverAnswer {
  return { kind: 'taken', envelope: sha256([envelope]), body: sha256(body) }
}

const honest: HandoverTaker = {
  refuse: () => undefined,
  take: (_hello, offer, answered) => setImmediate(() => answered(takenOf(offer))),
}

async function serve(test: Cleanup, taker: HandoverTaker, tls?: RpcTls): Promise<HandoverListener> {
  const place = { host: '127.0.0.1', port: 0, taker, log: silentLog }
  const listener = await listenHandover(tls === undefined ? place : { ...place, tls: () => tls })
  test.after(() => listener.close())
  return listener
}

function offerOn(link: HandoverLink, offer: HandoverOffer): Promise<HandoverAnswer> {
  return new Promise((resolve) => link.offer(offer, resolve))
}

function dialTo(test: Cleanup, { address }: HandoverListener, tls?: RpcTls): HandoverLink {
  const link = tls === undefined ? dialHandover(address, hello) : handoverDialer(() => tls)(address, hello)
  test.after(() => link.close())
  return link
}

describe('a hand-over stream', { concurrency: true }, () => {
  it('carries messages of every size whole, and their answers', async (test) => {
    const heard: HandoverHello[] = []
    const taker: HandoverTaker = {
      refuse: (said) => {
        heard.push(said)
        return undefined
      },
      take: honest.take,
    }
    const link = dialTo(test, await serve(test, taker))
    const sizes = [0, 1, 10_240, 262_143, 262_144, 262_145, 1_000_000, 40 * 1024 * 1024, 10]
    const offers = sizes.map((size, index) => offerOf(index + 1, size, size > 1 ? 3 : 1))
    const answers = await Promise.all(offers.map((offer) => offerOn(link, offer)))
    assert.deepEqual(answers, offers.map(takenOf))
    const [said] = heard
    assert.deepEqual({ ...said }, hello)
  })

  it('passes refusals and doubts on as they are', async (test) => {
    const answers: HandoverAnswer[] = [
      { kind: 'refused', why: 'no room' },
      { kind: 'unclear', why: 'the disk failed' },
      { kind: 'absent', why: 'never seen' },
    ]
    const taker: HandoverTaker = {
      refuse: () => undefined,
      take: (_hello, { number }, answered) => answered(answers[number] as HandoverAnswer),
    }
    const link = dialTo(test, await serve(test, taker))
    assert.deepEqual(await Promise.all(answers.map((_, number) => offerOn(link, offerOf(number, 5)))), answers)
  })

  it('sends nothing to a target that does not want the source', async (test) => {
    let taken = 0
    const taker: HandoverTaker = { refuse: () => 'this is instance 05', take: () => taken++ }
    const link = dialTo(test, await serve(test, taker))
    assert.deepEqual(await offerOn(link, offerOf(1, 5)), { kind: 'refused', why: 'this is instance 05' })
    assert.deepEqual(await offerOn(link, offerOf(2, 5)), { kind: 'refused', why: 'this is instance 05' })
    assert.equal(taken, 0)
  })

  it('says refused where nobody listens', async (test) => {
    const listener = await serve(test, honest)
    await listener.close()
    const answer = await offerOn(dialTo(test, listener), offerOf(1, 5))
    assert.equal(answer.kind, 'refused')
  })

  it('says unclear of what was sent and refused of what was not, when the target goes', async (test) => {
    const numbers: number[] = []
    const { promise: held, resolve: hold } = Promise.withResolvers<void>()
    const taker: HandoverTaker = {
      refuse: () => undefined,
      take: (_hello, { number }) => {
        numbers.push(number)
        if (numbers.length === 3) hold()
      },
    }
    const listener = await serve(test, taker)
    const link = dialTo(test, listener)
    const sent = [1, 2, 3].map((number) => offerOn(link, offerOf(number, 5)))
    await held
    await listener.close()
    assert.deepEqual(
      (await Promise.all(sent)).map(({ kind }) => kind),
      ['unclear', 'unclear', 'unclear'],
    )
    assert.equal((await offerOn(link, offerOf(4, 5))).kind, 'refused')
  })

  it('says unclear of what was sent when the source itself closes', async (test) => {
    const { promise: seen, resolve: see } = Promise.withResolvers<void>()
    const link = dialTo(test, await serve(test, { refuse: () => undefined, take: () => see() }))
    const sent = offerOn(link, offerOf(1, 5))
    await seen
    const unsent = offerOn(link, offerOf(2, 5))
    link.close()
    assert.equal((await sent).kind, 'unclear')
    assert.equal((await unsent).kind, 'refused')
  })

  it('never says refused of a message that is offered twice at once', async (test) => {
    const answers: ((answer: HandoverAnswer) => void)[] = []
    const { promise: seen, resolve: see } = Promise.withResolvers<void>()
    const taker: HandoverTaker = {
      refuse: () => undefined,
      take: (_hello, _offer, answered) => {
        answers.push(answered)
        see()
      },
    }
    const link = dialTo(test, await serve(test, taker))
    const first = offerOn(link, offerOf(1, 5))
    await seen
    assert.equal((await offerOn(link, offerOf(1, 5))).kind, 'unclear')
    for (const answered of answers) answered({ kind: 'taken', envelope: 'e', body: 'b' })
    assert.deepEqual(await first, { kind: 'taken', envelope: 'e', body: 'b' })
    assert.equal(answers.length, 1)
  })

  it('ends the stream of a taker that throws, in doubt', async (test) => {
    const taker: HandoverTaker = {
      refuse: () => undefined,
      take: () => {
        throw new Error('broken')
      },
    }
    const link = dialTo(test, await serve(test, taker))
    assert.deepEqual(await offerOn(link, offerOf(1, 5)), { kind: 'unclear', why: 'broken' })
  })

  it('stops reading while the taker is behind, and goes on after', async (test) => {
    const pending: (() => void)[] = []
    let arrived = 0
    const { promise: full, resolve: fill } = Promise.withResolvers<void>()
    const taker: HandoverTaker = {
      refuse: () => undefined,
      take: (_hello, offer, answered) => {
        arrived += offer.bodyBytes
        pending.push(() => answered(takenOf(offer)))
        if (arrived >= 32 * 1024 * 1024) fill()
      },
    }
    const link = dialTo(test, await serve(test, taker))
    const offers = Array.from({ length: 96 }, (_, number) => offerOf(number, 1024 * 1024))
    const answers = Promise.all(offers.map((offer) => offerOn(link, offer)))
    await full
    // What one more turn of both ends brings is bounded by the window of the stream, not by what waits at the source.
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve))
    assert.ok(arrived < 48 * 1024 * 1024, `${arrived} bytes were read without an answer`)
    const release = (): void => {
      for (const answer of pending.splice(0)) answer()
    }
    const timer = setInterval(release, 1)
    test.after(() => clearInterval(timer))
    assert.deepEqual(await answers, offers.map(takenOf))
  })
})

describe('what a target does not believe', { concurrency: true }, () => {
  const greeting = { hello }
  const wrong: readonly [name: string, requests: readonly object[], why: RegExp][] = [
    ['an offer before the hello', [{ batch: { offers: [{ number: 1 }] } }], /not a hello/],
    ['a second hello', [greeting, greeting], /second hello/],
    ['another version', [{ hello: { ...hello, version: 2 } }], /version 1, not 2/],
    ['a part of nothing', [greeting, { part: { body: [Buffer.from('x')] } }], /part of no message/],
    [
      'a body longer than it was said to be',
      [greeting, { batch: { offers: [{ number: 1, bodyBytes: 2, body: [Buffer.from('abc')] }] } }],
      /longer than it was said/,
    ],
    [
      'an offer inside another',
      [greeting, { batch: { offers: [{ number: 1, bodyBytes: 2 }, { number: 2 }] } }],
      /2 is offered inside message 1/,
    ],
    ['a body of any size', [greeting, { batch: { offers: [{ number: 1, bodyBytes: 2 ** 40 }] } }], /at most/],
    ['a message of no kind', [greeting, {}], /does not know/],
  ]
  for (const [name, requests, why] of wrong) {
    it(name, async (test) => {
      let taken = 0
      const { address } = await serve(test, { refuse: () => undefined, take: () => taken++ })
      const client = new RpcClient(address, handoverService(), 1024 * 1024)
      test.after(() => client.close())
      const text = await new Promise<string>((resolve) => {
        const stream = client.open('HandOver', { timeoutMs: 0 }, (failure) => resolve(failure?.why ?? 'ended well'))
        stream.on('data', () => {})
        for (const request of requests) stream.write(request)
      })
      assert.match(text, why)
      assert.equal(taken, 0)
    })
  }
})

describe('a hand-over with certificates', { concurrency: true }, () => {
  const queue = (id: string): string => `qmq://mail.example.com/tier/queue/${id}`
  const isQueue = (names: readonly string[]): boolean =>
    names.some((name) => name.startsWith('qmq://mail.example.com/tier/queue/'))

  it('is open to queue instances of the cluster alone, from both ends', async (test) => {
    const [authority, other] = [await TestAuthority.make(test), await TestAuthority.make(test, 2)]
    const target = await serve(test, honest, await authority.tls([queue('01')], isQueue))
    const ask = (tls?: RpcTls) => offerOn(dialTo(test, target, tls), offerOf(1, 5))
    assert.equal((await ask(await authority.tls([queue('02')], isQueue))).kind, 'taken')
    const viewer = await ask(await authority.tls(['qmq://mail.example.com/role/viewer'], isQueue))
    assert.match(JSON.stringify(viewer), /nobody of this cluster: qmq:\/\/mail.example.com\/role\/viewer/)
    const posing = await ask(
      await authority.tls([], isQueue, { otherNames: ['DNS:qmq//mail.example.com/tier/queue/02'] }),
    )
    assert.match(JSON.stringify(posing), /a certificate without a name/)
    const byAnother = { ...(await other.tls([queue('02')], isQueue)), ca: authority.certificate }
    const ended = await authority.tls([queue('02')], isQueue, { endsAt: Date.now() - dayMs / 2 })
    for (const stranger of [byAnother, ended]) {
      assert.equal((await ask(stranger)).kind, 'refused')
    }
    assert.equal((await ask()).kind, 'refused', 'without TLS')
  })

  it('is not begun with a server that is no queue instance', async (test) => {
    const authority = await TestAuthority.make(test)
    const target = await serve(test, honest, await authority.tls(['qmq://mail.example.com/tier/edge/e1']))
    const answer = await offerOn(dialTo(test, target, await authority.tls([queue('02')], isQueue)), offerOf(1, 5))
    assert.match(JSON.stringify(answer), /"refused".*tier\/edge\/e1/)
  })
})

it('a port that is taken is said with the code of the system', async (test) => {
  const taken = net.createServer().listen(0, '127.0.0.1')
  test.after(() => {
    taken.close()
  })
  await new Promise((resolve) => taken.once('listening', resolve))
  const { port } = taken.address() as net.AddressInfo
  const listening = listenHandover({ host: '127.0.0.1', port, taker: honest, log: silentLog })
  await assert.rejects(listening, { code: 'EADDRINUSE' })
})
