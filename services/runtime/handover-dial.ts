/**
 * The source's end of a hand-over: offers out over gRPC, answers in by number.
 *
 * Nothing leaves before the target has welcomed us. From then on an offer that was given to the connection may have been taken,
 * whatever happens next: if the stream ends without its answer it is `unclear`, never `refused`. What was not given to it yet is `refused`.
 * A link that has ended stays ended; its owner dials the next one. A target that is there and silent is found out by
 * `silenceTimeoutMs`, one that is gone by the connection's own pings.
 */

import type { DialHandover, HandoverAnswer, HandoverHello, HandoverLink, HandoverOffer } from '../contract/handover.ts'
import {
  batchBytesMax,
  batchOffersMax,
  handoverMessageBytesMax,
  handoverService,
  largeOffer,
  offerBytes,
  readAnswer,
  type WireOffer,
  type WireRequest,
  type WireResponse,
} from './handover-wire.ts'
import { RpcClient, type RpcDuplex, type RpcFailure } from './rpc-client.ts'
import type { RpcSecurity } from './rpc-identity.ts'

type Answered = (answer: HandoverAnswer) => void

interface Waiting {
  readonly offer: HandoverOffer
  readonly answered: Answered
}

const welcomeTimeoutMs = 10_000
/** Without any answer while some are owed. A target makes each message durable first, and may be behind. */
const silenceTimeoutMs = 120_000

/** Without TLS: for loopback. */
export const dialHandover: DialHandover = handoverDialer(undefined)

export function handoverDialer(tls: RpcSecurity | undefined): DialHandover {
  return ({ host, port }, hello) => {
    const client = new RpcClient({ host, port, tls }, handoverService(), handoverMessageBytesMax)
    return new StreamLink(client, hello)
  }
}

class StreamLink implements HandoverLink {
  readonly #client: RpcClient
  readonly #stream: RpcDuplex
  /** Not given to the connection yet, in order. */
  #waiting: Waiting[] = []
  readonly #sent = new Map<number, Answered>()
  /** The rest of a large offer that is being sent. */
  #parts: Generator<WireRequest> | undefined
  #welcomed = false
  #blocked = false
  #pumping = false
  #ended: string | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(client: RpcClient, hello: HandoverHello) {
    this.#client = client
    this.#stream = client.open('HandOver', { timeoutMs: 0 }, (failure) => this.#lost(failure))
    this.#stream.on('data', (response: WireResponse) => this.#receive(response))
    this.#stream.on('drain', () => {
      this.#blocked = false
      this.#pump()
    })
    this.#stream.write({ hello })
    this.#expect(welcomeTimeoutMs, 'the target does not answer')
  }

  offer(offer: HandoverOffer, answered: Answered): void {
    if (this.#ended !== undefined) {
      const why = this.#ended
      setImmediate(() => answered({ kind: 'refused', why }))
      return
    }
    const { number, envelope } = offer
    if (envelope.length > handoverMessageBytesMax / 2) {
      const why = `the envelope of message ${number} is too long to be handed over: ${envelope.length} bytes`
      setImmediate(() => answered({ kind: 'refused', why }))
      return
    }
    this.#waiting.push({ offer, answered })
    this.#pumpSoon()
  }

  close(): void {
    this.#end('the link was closed')
  }

  #receive(response: WireResponse): void {
    if (this.#ended !== undefined) return
    if ('welcome' in response) {
      this.#welcomed = true
      this.#expect(0, '')
      this.#pump()
      return
    }
    if (!('answers' in response)) return
    for (const answer of response.answers.answers) {
      const answered = this.#sent.get(answer.number)
      this.#sent.delete(answer.number)
      answered?.(readAnswer(answer))
    }
    this.#expectAnswers()
  }

  /** Offers of one turn leave together. */
  #pumpSoon(): void {
    if (this.#pumping) return
    this.#pumping = true
    setImmediate(() => {
      this.#pumping = false
      this.#pump()
    })
  }

  #pump(): void {
    while (this.#welcomed && !this.#blocked && this.#ended === undefined) {
      const request = this.#nextRequest()
      if (request === undefined) return
      this.#blocked = !this.#stream.write(request)
      if (this.#timer === undefined) this.#expectAnswers()
    }
  }

  #nextRequest(): WireRequest | undefined {
    const part = this.#parts?.next()
    if (part?.done === false) return part.value
    this.#parts = undefined
    const [first] = this.#waiting
    if (first === undefined) return undefined
    if (offerBytes(first.offer) <= batchBytesMax) return { batch: { offers: this.#takeBatch() } }
    this.#waiting.shift()
    if (!this.#markSent(first)) return this.#nextRequest()
    this.#parts = largeOffer(first.offer)
    return this.#parts.next().value as WireRequest
  }

  #takeBatch(): WireOffer[] {
    const offers: WireOffer[] = []
    let bytes = 0
    let count = 0
    for (const waiting of this.#waiting) {
      bytes += offerBytes(waiting.offer)
      if (bytes > batchBytesMax || count === batchOffersMax) break
      count++
      if (this.#markSent(waiting)) offers.push(waiting.offer)
    }
    this.#waiting.splice(0, count)
    return offers
  }

  /** False where the same message is under way already: what becomes of that one is not known, so neither is this. */
  #markSent({ offer, answered }: Waiting): boolean {
    if (this.#sent.has(offer.number)) {
      answered({ kind: 'unclear', why: 'the message is offered on this link already' })
      return false
    }
    this.#sent.set(offer.number, answered)
    return true
  }

  #expectAnswers(): void {
    this.#expect(this.#sent.size === 0 ? 0 : silenceTimeoutMs, 'the target has stopped answering')
  }

  #expect(timeoutMs: number, why: string): void {
    clearTimeout(this.#timer)
    this.#timer = timeoutMs === 0 ? undefined : setTimeout(() => this.#end(why), timeoutMs).unref()
  }

  #lost(failure: RpcFailure | undefined): void {
    this.#end(failure === undefined ? 'the target has ended the stream' : failure.why)
  }

  #end(why: string): void {
    if (this.#ended !== undefined) return
    this.#ended = why
    clearTimeout(this.#timer)
    this.#stream.cancel()
    this.#client.close()
    const [sent, waiting] = [[...this.#sent.values()], this.#waiting]
    this.#sent.clear()
    this.#waiting = []
    this.#parts = undefined
    for (const answered of sent) answered({ kind: 'unclear', why })
    for (const { answered } of waiting) answered({ kind: 'refused', why })
  }
}
