/**
 * Coordination by the embedded hub, over any channel to it.
 *
 * `dial` makes the channel; where `redialMs` is given, a lost channel is made again and every watch, subscription and service
 * is taken up there. A watch that is taken up again tells every present entry once more, and what is gone. While there is no
 * channel, writes are `unreachable`, reads reject and requests find `no-responder`: callers carry on with what they have.
 */

import {
  type Change,
  type Coordination,
  coordinationVersion,
  type Entry,
  type Json,
  type RequestResult,
  type Subscription,
  type WriteResult,
} from '../contract/coordination.ts'
import { errorText } from '../protocol/failure.ts'
import type { ClientChannel, StoreCall, ToClient, ToHub } from './embedded-message.ts'
import type { Clock, Timer } from './world.ts'

interface EmbeddedCoordinationParts {
  readonly clock: Clock
  readonly dial: () => ClientChannel
  /** Absent: a lost channel stays lost. */
  readonly redialMs?: number
  readonly callTimeoutMs?: number
  /** The channel was lost; `refusal` is set where the hub said why it does not want us. Called each time. */
  readonly onLost?: (why: string, refusal: string | undefined) => void
}

const callTimeoutMsDefault = 5_000

interface Standing {
  /** What to say to a hub that does not know us yet. */
  readonly hello: ToHub
  readonly heard: (message: ToClient) => void
}

interface Pending {
  readonly settle: (message: ToClient | undefined) => void
  readonly timer: Timer
}

export class EmbeddedCoordination implements Coordination {
  readonly #parts: EmbeddedCoordinationParts
  readonly #standing = new Map<number, Standing>()
  readonly #pending = new Map<number, Pending>()
  #channel: ClientChannel | undefined
  #number = 0
  #closed = false
  #refusal: string | undefined

  constructor(parts: EmbeddedCoordinationParts) {
    this.#parts = parts
    this.#dial()
  }

  async get(key: string): Promise<Entry | undefined> {
    const reply = await this.#call({ op: 'get', key })
    if (reply?.kind !== 'got') throw unreachable()
    return reply.entry
  }

  async list(prefix: string): Promise<readonly Entry[]> {
    const reply = await this.#call({ op: 'list', prefix })
    if (reply?.kind !== 'listed') throw unreachable()
    return reply.entries
  }

  create(key: string, value: Json): Promise<WriteResult> {
    return this.#write({ op: 'create', key, value })
  }

  update(key: string, value: Json, revision: number): Promise<WriteResult> {
    return this.#write({ op: 'update', key, value, revision })
  }

  put(key: string, value: Json): Promise<WriteResult> {
    return this.#write({ op: 'put', key, value })
  }

  delete(key: string): Promise<WriteResult> {
    return this.#write({ op: 'delete', key })
  }

  async now(): Promise<number> {
    const reply = await this.#call({ op: 'now' })
    if (reply?.kind !== 'time') throw unreachable()
    return reply.now
  }

  watch(prefix: string, changed: (change: Change) => void): Subscription {
    const known = new Set<string>()
    const tell = (change: Change) => {
      if (change.entry === undefined) known.delete(change.key)
      else known.add(change.key)
      changed(change)
    }
    return this.#stand({ kind: 'watch', number: ++this.#number, prefix }, (message) => {
      if (message.kind === 'changed') tell(message.change)
      else if (message.kind === 'watching') for (const change of meeting(known, message.entries)) tell(change)
    })
  }

  async request(subject: string, value: Json, timeoutMs: number): Promise<RequestResult> {
    const number = ++this.#number
    if (this.#channel === undefined) return { kind: 'no-responder' }
    const reply = this.#await(number, timeoutMs)
    this.#channel.send({ kind: 'request', number, subject, value, timeoutMs })
    const message = await reply
    if (message?.kind === 'result') return message.result
    return this.#channel === undefined ? { kind: 'no-responder' } : { kind: 'timeout' }
  }

  serve(subject: string, answer: (value: Json) => Promise<Json>): Subscription {
    return this.#stand({ kind: 'serve', number: ++this.#number, subject }, (message) => {
      if (message.kind !== 'ask') return
      const { ask } = message
      // The channel that asked gets the answer: numbers of another hub mean something else.
      const asker = this.#channel
      asNewPromise(() => answer(message.value)).then(
        (value) => asker?.send({ kind: 'answer', ask, result: { kind: 'reply', value } }),
        (error) => asker?.send({ kind: 'answer', ask, result: { kind: 'refused', why: errorText(error) } }),
      )
    })
  }

  publish(subject: string, value: Json): void {
    this.#channel?.send({ kind: 'publish', subject, value })
  }

  subscribe(subject: string, heard: (value: Json) => void): Subscription {
    return this.#stand({ kind: 'subscribe', number: ++this.#number, subject }, (message) => {
      if (message.kind === 'heard') heard(message.value)
    })
  }

  close(): void {
    this.#closed = true
    this.#channel?.close()
  }

  #stand(hello: ToHub & { readonly number: number }, heard: (message: ToClient) => void): Subscription {
    this.#standing.set(hello.number, { hello, heard })
    this.#channel?.send(hello)
    return {
      stop: () => {
        if (this.#standing.delete(hello.number)) this.#channel?.send({ kind: 'stop', number: hello.number })
      },
    }
  }

  async #write(call: StoreCall): Promise<WriteResult> {
    const reply = await this.#call(call)
    return reply?.kind === 'wrote' ? reply.result : { kind: 'unreachable' }
  }

  #call(call: StoreCall): Promise<ToClient | undefined> {
    if (this.#channel === undefined) return Promise.resolve(undefined)
    const number = ++this.#number
    const reply = this.#await(number, this.#parts.callTimeoutMs ?? callTimeoutMsDefault)
    this.#channel.send({ kind: 'call', number, call })
    return reply
  }

  #await(number: number, timeoutMs: number): Promise<ToClient | undefined> {
    return new Promise((resolve) => {
      const settle = (message: ToClient | undefined) => {
        this.#pending.delete(number)
        timer.cancel()
        resolve(message)
      }
      const timer = this.#parts.clock.after(timeoutMs, () => settle(undefined))
      this.#pending.set(number, { settle, timer })
    })
  }

  #dial(): void {
    const channel = this.#parts.dial()
    this.#channel = channel
    channel.open(
      (message) => this.#receive(message),
      () => this.#lost(channel),
    )
    channel.send({ kind: 'hello', version: coordinationVersion })
    for (const { hello } of this.#standing.values()) channel.send(hello)
  }

  #receive(message: ToClient): void {
    if (message.kind === 'refused') this.#refusal = message.why
    else if (message.kind === 'ask') this.#standing.get(message.service)?.heard(message)
    else if (this.#standing.has(message.number)) this.#standing.get(message.number)?.heard(message)
    else this.#pending.get(message.number)?.settle(message)
  }

  #lost(channel: ClientChannel): void {
    if (this.#channel !== channel) return
    this.#channel = undefined
    for (const { settle } of [...this.#pending.values()]) settle(undefined)
    if (this.#closed) return
    this.#parts.onLost?.(this.#refusal ?? 'the channel closed', this.#refusal)
    this.#refusal = undefined
    if (this.#parts.redialMs === undefined) return
    this.#parts.clock.after(this.#parts.redialMs, () => {
      if (!this.#closed && this.#channel === undefined) this.#dial()
    })
  }
}

/** What a watcher who knew these keys must hear when it meets a store that holds `entries`. */
function meeting(known: ReadonlySet<string>, entries: readonly Entry[]): readonly Change[] {
  const present = new Set(entries.map((entry) => entry.key))
  const gone = [...known].filter((key) => !present.has(key)).map((key) => ({ key, entry: undefined }))
  return [...gone, ...entries.map((entry) => ({ key: entry.key, entry }))]
}

/** A throw inside `work` becomes a rejection. */
async function asNewPromise<Value>(work: () => Promise<Value>): Promise<Value> {
  return await work()
}

function unreachable(): Error {
  return Object.assign(new Error('coordination cannot be reached'), { code: 'ECONNREFUSED' })
}
