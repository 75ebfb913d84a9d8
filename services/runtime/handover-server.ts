/**
 * The target's end of a hand-over: offers in from gRPC, to the taker, its answers out.
 *
 * Reading stops while the taker has too much it has not answered, so that a source is never faster than this disk. A taker that
 * throws ends its stream; the source then takes everything unanswered for unclear. What a source sends is judged before it is
 * believed: a hello first and once, sizes that add up, numbers that are not under way already.
 */

import { type HandoverHello, type HandoverOffer, type HandoverTaker, handoverVersion } from '../contract/handover.ts'
import { reportHandlerFailure } from './handler-failure.ts'
import {
  handoverMessageBytesMax,
  handoverService,
  type WireAnswer,
  type WireOffer,
  type WireRequest,
  type WireResponse,
  writeAnswer,
} from './handover-wire.ts'
import type { RpcSecurity } from './rpc-identity.ts'
import { failStream, listenRpc, type RpcDuplexStream } from './rpc-server.ts'
import type { Address, Log } from './world.ts'

export interface HandoverListenOptions {
  readonly host: string
  readonly port: number
  readonly taker: HandoverTaker
  readonly log: Log
  /** Absent: anybody who reaches the port; for loopback. */
  readonly tls?: RpcSecurity | undefined
}

export interface HandoverListener {
  readonly address: Address
  /** Ends every stream: what is unanswered becomes unclear at its source. */
  close(): Promise<void>
}

type Stream = RpcDuplexStream<WireRequest, WireResponse>

/** Past either, nothing more is read until half of it is answered. */
const unansweredBytesMax = 32 * 1024 * 1024
const unansweredOffersMax = 4096
/** A message may be larger here than the largest `message-size` conf-qmq takes, by the lines each tier adds. */
const bodyBytesMax = 1280 * 1024 * 1024

export function listenHandover(options: HandoverListenOptions): Promise<HandoverListener> {
  const { host, port, taker, log, tls } = options
  const open = (stream: Stream): void => new HandoverIntake(stream, taker, log).start()
  return listenRpc({
    place: { host, port, tls },
    log,
    offers: [{ service: handoverService(), handlers: { HandOver: { kind: 'duplex', open } } }],
    admit: () => undefined,
    messageBytesMax: handoverMessageBytesMax,
  })
}

/** A body of which parts are still to come. */
interface OpenOffer {
  readonly number: number
  readonly envelope: Buffer
  readonly bodyBytes: number
  readonly body: Buffer[]
  missing: number
}

class HandoverIntake {
  readonly #stream: Stream
  readonly #taker: HandoverTaker
  readonly #log: Log
  #hello: HandoverHello | undefined
  #open: OpenOffer | undefined
  readonly #unanswered = new Map<number, number>()
  #unansweredBytes = 0
  #answers: WireAnswer[] = []
  #flushing = false
  #ended = false

  constructor(stream: Stream, taker: HandoverTaker, log: Log) {
    this.#stream = stream
    this.#taker = taker
    this.#log = log
  }

  start(): void {
    this.#stream.on('data', (request: WireRequest) => this.#receive(request))
    this.#stream.on('end', () => this.#sourceEnded())
    this.#stream.on('cancelled', () => {
      this.#ended = true
    })
  }

  #receive(request: WireRequest): void {
    if (this.#ended) return
    try {
      if ('hello' in request) this.#greet(request.hello)
      else if (this.#hello === undefined) this.#fail('INVALID_ARGUMENT', 'the first message is not a hello')
      else if ('batch' in request) for (const offer of request.batch.offers) this.#begin(this.#hello, offer)
      else if ('part' in request) this.#continue(this.#hello, request.part.body)
      else this.#fail('INVALID_ARGUMENT', 'a message of a kind this version does not know')
      this.#holdBack()
    } catch (error) {
      this.#fail('INTERNAL', reportHandlerFailure(this.#log, 'hand-over', error).message)
    }
  }

  #greet(hello: HandoverHello): void {
    if (this.#hello !== undefined) {
      this.#fail('INVALID_ARGUMENT', 'a second hello')
      return
    }
    const versions = `this is hand-over version ${handoverVersion}, not ${hello.version}`
    const why = hello.version === handoverVersion ? this.#taker.refuse(hello) : versions
    if (why !== undefined) {
      this.#fail('FAILED_PRECONDITION', why)
      return
    }
    this.#hello = hello
    this.#stream.write({ welcome: {} })
  }

  #begin(hello: HandoverHello, { number, envelope, bodyBytes, body }: WireOffer): void {
    if (this.#ended) return
    if (bodyBytes > bodyBytesMax) {
      this.#fail('INVALID_ARGUMENT', `message ${number} has ${bodyBytes} bytes, at most ${bodyBytesMax}`)
      return
    }
    if (this.#open !== undefined || this.#unanswered.has(number)) {
      const why = this.#open !== undefined ? `inside message ${this.#open.number}` : 'while it is under way'
      this.#fail('INVALID_ARGUMENT', `message ${number} is offered ${why}`)
      return
    }
    this.#unanswered.set(number, envelope.length + bodyBytes)
    this.#unansweredBytes += envelope.length + bodyBytes
    this.#open = { number, envelope, bodyBytes, body: [], missing: bodyBytes }
    this.#continue(hello, body)
  }

  #continue(hello: HandoverHello, body: readonly Buffer[]): void {
    const open = this.#open
    if (open === undefined) {
      this.#fail('INVALID_ARGUMENT', 'a part of no message')
      return
    }
    for (const chunk of body) {
      open.body.push(chunk)
      open.missing -= chunk.length
    }
    if (open.missing < 0) this.#fail('INVALID_ARGUMENT', `message ${open.number} is longer than it was said to be`)
    if (open.missing !== 0) return
    this.#open = undefined
    const { number, envelope, bodyBytes } = open
    const offer: HandoverOffer = { number, envelope, bodyBytes, body: open.body }
    this.#taker.take(hello, offer, (answer) => this.#answered(writeAnswer(number, answer)))
  }

  #answered(answer: WireAnswer): void {
    const bytes = this.#unanswered.get(answer.number)
    if (bytes === undefined) return
    this.#unanswered.delete(answer.number)
    this.#unansweredBytes -= bytes
    if (this.#ended) return
    this.#answers.push(answer)
    if (this.#flushing) return
    this.#flushing = true
    setImmediate(() => this.#flush())
  }

  /** Answers of one turn leave together. */
  #flush(): void {
    this.#flushing = false
    if (this.#ended) return
    const answers = this.#answers
    this.#answers = []
    this.#stream.write({ answers: { answers } })
    this.#resumeOrEnd()
  }

  /** Never inside a body: its rest must come. */
  #holdBack(): void {
    if (this.#open !== undefined) return
    const { size } = this.#unanswered
    if (this.#unansweredBytes > unansweredBytesMax || size > unansweredOffersMax) this.#stream.pause()
  }

  #resumeOrEnd(): void {
    const { size } = this.#unanswered
    if (this.#stream.readableEnded && size === 0) this.#stream.end()
    else if (this.#unansweredBytes <= unansweredBytesMax / 2 && size <= unansweredOffersMax / 2) this.#stream.resume()
  }

  #sourceEnded(): void {
    if (!this.#ended && this.#unanswered.size === 0 && !this.#flushing) this.#stream.end()
  }

  #fail(code: 'INVALID_ARGUMENT' | 'FAILED_PRECONDITION' | 'INTERNAL', why: string): void {
    if (this.#ended) return
    this.#ended = true
    failStream(this.#stream, code, why)
  }
}
