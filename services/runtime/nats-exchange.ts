/**
 * Requests, services and news over NATS subjects.
 *
 * Of several that serve one subject the newest answers, although the server knows no order among them: each says when it
 * began, one that hears of a newer one keeps silent, and speaks again when that one leaves or no longer answers. An answer longer
 * than a message travels in parts. What stands (services, subscriptions) is taken up again on the next link.
 */

import type { Json, RequestResult, Subscription } from '../contract/coordination.ts'
import { errorText } from '../protocol/failure.ts'
import { inboxRoot } from './nats-buckets.ts'
import type { LinkHeaders, LinkMessage, NatsLink } from './nats-link.ts'
import type { Clock, Timer } from './world.ts'

export interface NatsExchangeParts {
  readonly clock: Clock
  /** Unlike that of any other client. */
  readonly identity: string
  /** Where answers come back; nobody else may listen there. */
  readonly inbox: string
}

const servingHeader = 'qmq-serving'
const leavingHeader = 'qmq-leaving'
const seekingHeader = 'qmq-seeking'
const partHeader = 'qmq-part'

const noResponders = 503
const pendingMax = 10_000
const answerBytesMax = 16 * 1024 * 1024
/** Room for headers in a message. */
const headerBytes = 4096
/** How long a newer server of our subject has to say that it is there. */
const seekTimeoutMs = 300

interface Service {
  readonly subject: string
  readonly answer: (value: Json) => Promise<Json>
  /** Orders the servers of a subject: by time, then by name. */
  readonly rank: string
  /** Ranks above ours. */
  readonly newer: Set<string>
}

interface Pending {
  readonly settle: (result: RequestResult) => void
  readonly timer: Timer
  readonly parts: Map<number, Buffer>
}

export class NatsExchange {
  readonly #parts: NatsExchangeParts
  readonly #standing = new Set<{ begin: () => void; end: () => void }>()
  readonly #pending = new Map<string, Pending>()
  /** Where answers are owed. */
  readonly #owed = new Set<string>()
  #link: NatsLink | undefined
  #number = 0

  constructor(parts: NatsExchangeParts) {
    this.#parts = parts
  }

  /** Takes everything up on a new link. */
  linked(link: NatsLink): void {
    this.#link = link
    link.subscribe(`${this.#parts.inbox}.>`, (message) => this.#answered(message))
    for (const { begin } of this.#standing) begin()
  }

  lost(): void {
    this.#link = undefined
    this.#owed.clear()
    for (const { settle } of [...this.#pending.values()]) settle({ kind: 'no-responder' })
  }

  /** Tells who waits for an answer of ours that none will come. */
  leave(): void {
    for (const reply of this.#owed) this.#send(reply, { gone: true })
    this.#owed.clear()
    for (const { end } of [...this.#standing]) end()
  }

  request(subject: string, value: Json, timeoutMs: number): Promise<RequestResult> {
    const link = this.#link
    if (link === undefined || this.#pending.size >= pendingMax) return Promise.resolve({ kind: 'no-responder' })
    const reply = `${this.#parts.inbox}.${++this.#number}`
    return new Promise((resolve) => {
      const settle = (result: RequestResult) => {
        timer.cancel()
        this.#pending.delete(reply)
        resolve(result)
      }
      const timer = this.#parts.clock.after(timeoutMs, () => settle({ kind: 'timeout' }))
      this.#pending.set(reply, { settle, timer, parts: new Map() })
      link.publish(subject, Buffer.from(JSON.stringify(value)), {}, reply)
    })
  }

  publish(subject: string, value: Json): void {
    this.#link?.publish(subject, Buffer.from(JSON.stringify(value)))
  }

  subscribe(subject: string, heard: (value: Json) => void): Subscription {
    return this.#stand(subject, (message) => {
      if (message.reply !== '' || isAmongServers(message)) return
      const value = parse(message.data)
      if (value !== undefined) heard(value)
    })
  }

  serve(subject: string, answer: (value: Json) => Promise<Json>): Subscription {
    const stamp = String(this.#parts.clock.now()).padStart(15, '0')
    const rank = `${stamp}.${String(++this.#number).padStart(9, '0')}.${this.#parts.identity}`
    const service: Service = { subject, answer, rank, newer: new Set() }
    const announce = () => this.#link?.publish(subject, Buffer.alloc(0), { [servingHeader]: rank })
    const standing = this.#stand(subject, (message) => this.#heardByServer(service, message), announce)
    return {
      stop: () => {
        this.#link?.publish(subject, Buffer.alloc(0), { [leavingHeader]: rank })
        standing.stop()
      },
    }
  }

  #stand(subject: string, heard: (message: LinkMessage) => void, begun = () => {}): Subscription {
    let unsubscribe = () => {}
    const standing = {
      begin: () => {
        unsubscribe = this.#link?.subscribe(subject, heard) ?? (() => {})
        begun()
      },
      end: () => {
        this.#standing.delete(standing)
        unsubscribe()
      },
    }
    this.#standing.add(standing)
    if (this.#link !== undefined) standing.begin()
    return { stop: standing.end }
  }

  #heardByServer(service: Service, message: LinkMessage): void {
    // Our rights are not those of whoever asks: an answer must not be had written to a key.
    if (message.reply !== '' && !message.reply.startsWith(`${inboxRoot}.`)) return
    const serving = message.header(servingHeader)
    if (serving > service.rank) service.newer.add(serving)
    else if (serving !== '' && serving < service.rank) this.#announce(service)
    else if (serving !== '') return
    else if (message.header(leavingHeader) !== '') service.newer.delete(message.header(leavingHeader))
    else if (message.header(seekingHeader) !== '') this.#sought(service, message)
    else if (message.reply === '') return
    else if (service.newer.size === 0) this.#perform(service, message)
    else this.#performUnlessNewer(service, message)
  }

  /** To an older server that does not know of us. */
  #announce(service: Service): void {
    this.#link?.publish(service.subject, Buffer.alloc(0), { [servingHeader]: service.rank })
  }

  #sought(service: Service, message: LinkMessage): void {
    if (message.header(seekingHeader) < service.rank) this.#send(message.reply, { value: service.rank })
  }

  /** The newer server answers this request by itself, if it lives. */
  #performUnlessNewer(service: Service, message: LinkMessage): void {
    const link = this.#link
    if (link === undefined) return
    const reply = `${this.#parts.inbox}.${++this.#number}`
    const settle = (result: RequestResult) => {
      timer.cancel()
      this.#pending.delete(reply)
      if (result.kind === 'reply' || this.#link !== link) return
      service.newer.clear()
      this.#perform(service, message)
    }
    const timer = this.#parts.clock.after(seekTimeoutMs, () => settle({ kind: 'timeout' }))
    this.#pending.set(reply, { settle, timer, parts: new Map() })
    link.publish(service.subject, Buffer.alloc(0), { [seekingHeader]: service.rank }, reply)
  }

  #perform(service: Service, message: LinkMessage): void {
    const link = this.#link
    const value = parse(message.data)
    if (value === undefined) {
      this.#send(message.reply, { refused: 'the request is no JSON' })
      return
    }
    this.#owed.add(message.reply)
    const answered = (answer: Json) => {
      if (this.#link === link && this.#owed.delete(message.reply)) this.#send(message.reply, answer)
    }
    asNewPromise(() => service.answer(value)).then(
      (result) => answered({ value: result }),
      (error) => answered({ refused: errorText(error) }),
    )
  }

  #send(reply: string, answer: Json): void {
    const link = this.#link
    if (link === undefined) return
    const bytes = Buffer.from(JSON.stringify(answer))
    if (bytes.length > answerBytesMax) {
      link.publish(reply, Buffer.from(JSON.stringify({ refused: 'the answer is too long' })))
      return
    }
    const partBytes = Math.max(1, link.messageBytesMax - headerBytes)
    const count = Math.max(1, Math.ceil(bytes.length / partBytes))
    for (let part = 0; part < count; part++) {
      const headers: LinkHeaders = count === 1 ? {} : { [partHeader]: `${part + 1}/${count}` }
      link.publish(reply, bytes.subarray(part * partBytes, (part + 1) * partBytes), headers)
    }
  }

  #answered(message: LinkMessage): void {
    const pending = this.#pending.get(message.subject)
    if (pending === undefined) return
    if (message.status === noResponders) {
      pending.settle({ kind: 'no-responder' })
      return
    }
    const [part = 1, count = 1] = message.header(partHeader).split('/').filter(Boolean).map(Number)
    pending.parts.set(part, message.data)
    if (pending.parts.size < count) return
    const ordered = [...pending.parts].sort(([one], [other]) => one - other).map(([, data]) => data)
    pending.settle(resultOf(parse(Buffer.concat(ordered))))
  }
}

function isAmongServers(message: LinkMessage): boolean {
  return message.header(servingHeader) !== '' || message.header(leavingHeader) !== ''
}

function resultOf(answer: Json | undefined): RequestResult {
  if (typeof answer !== 'object' || answer === null || Array.isArray(answer)) return { kind: 'timeout' }
  const { value, refused, gone } = answer as { readonly [key: string]: Json | undefined }
  if (typeof refused === 'string') return { kind: 'refused', why: refused }
  if (gone === true) return { kind: 'no-responder' }
  return value === undefined ? { kind: 'reply', value: null } : { kind: 'reply', value }
}

export function parse(data: Buffer): Json | undefined {
  try {
    return JSON.parse(data.toString('utf8')) as Json
  } catch {
    return undefined
  }
}

/** A throw inside `work` becomes a rejection. */
async function asNewPromise<Value>(work: () => Promise<Value>): Promise<Value> {
  return await work()
}
