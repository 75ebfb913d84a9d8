/**
 * The embedded back end of coordination: one store, and the exchange that carries requests to whoever serves them.
 *
 * Lives in the parent of `qmq up`. Clients attach by channels and may vanish at any time: their watches, subscriptions and
 * services end with them, and what was asked of them is answered `no-responder`. Of several that serve one subject the
 * newest answers. Every pending question has a deadline, so that nothing grows without bound. A client that says what is no
 * message, or anything that makes the hub throw, is cut off in words; the others do not notice.
 */

import {
  coordinationVersion,
  type Json,
  type KeyLifetimes,
  keyLifetimes,
  type RequestResult,
} from '../contract/coordination.ts'
import { errorText } from '../protocol/failure.ts'
import { type HubChannel, readToHub, type StoreCall, type ToClient, type ToHub } from './embedded-message.ts'
import { EmbeddedStore } from './embedded-store.ts'
import type { Clock, Timer } from './world.ts'

const entriesMax = 10_000
const pendingQuestionsMax = 10_000
/** Watches, subscriptions and services of one client. */
const standingPerClientMax = 1000

interface Client {
  /** `known` has said hello in our version; `refused` is not listened to any more. */
  standing: 'new' | 'known' | 'refused'
  readonly channel: HubChannel
  /** How to end the watch, subscription or service of a number. */
  readonly stops: Map<number, () => void>
}

interface Service {
  readonly client: Client
  readonly number: number
}

interface Question {
  readonly from: Client
  readonly number: number
  readonly to: Client
  readonly timer: Timer
}

export class EmbeddedHub {
  readonly store: EmbeddedStore
  readonly #clock: Clock
  readonly #clients = new Set<Client>()
  readonly #services = new Map<string, Service[]>()
  readonly #subscribers = new Map<string, Service[]>()
  readonly #questions = new Map<number, Question>()
  #asked = 0

  constructor(clock: Clock, lifetimes: KeyLifetimes = keyLifetimes, firstRevision = 0) {
    this.#clock = clock
    this.store = new EmbeddedStore(clock, { entriesMax, lifetimes, firstRevision })
  }

  attach(channel: HubChannel): void {
    const client: Client = { standing: 'new', channel, stops: new Map() }
    this.#clients.add(client)
    channel.open(
      (message) => this.#hear(client, message),
      () => this.#detach(client),
    )
  }

  close(): void {
    for (const client of [...this.#clients]) client.channel.close()
  }

  #hear(client: Client, value: unknown): void {
    if (client.standing === 'refused') return
    try {
      const message = readToHub(value)
      if (message === undefined) this.#refuse(client, 'that is no message of coordination')
      else this.#receive(client, message)
    } catch (error) {
      this.#refuse(client, errorText(error))
    }
  }

  #refuse(client: Client, why: string): void {
    client.standing = 'refused'
    client.channel.send({ kind: 'refused', why })
    client.channel.close()
  }

  #receive(client: Client, message: ToHub): void {
    if (client.standing !== 'known' && message.kind !== 'hello') return
    switch (message.kind) {
      case 'hello':
        this.#greet(client, message.version)
        return
      case 'call':
        client.channel.send(this.#perform(message.number, message.call))
        return
      case 'watch':
        this.#watch(client, message.number, message.prefix)
        return
      case 'subscribe':
        this.#register(this.#subscribers, client, message.number, message.subject)
        return
      case 'serve':
        this.#register(this.#services, client, message.number, message.subject)
        return
      case 'stop':
        this.#end(client, message.number)
        return
      case 'request':
        this.#ask(client, message)
        return
      case 'publish':
        this.#publish(message.subject, message.value)
        return
      case 'answer':
        this.#settle(message.ask, client, message.result)
        return
    }
  }

  #greet(client: Client, version: number): void {
    if (version === coordinationVersion) client.standing = 'known'
    else this.#refuse(client, `this cluster speaks version ${coordinationVersion} of coordination, not ${version}`)
  }

  #perform(number: number, call: StoreCall): ToClient {
    switch (call.op) {
      case 'get': {
        const entry = this.store.get(call.key)
        return entry === undefined ? { kind: 'got', number } : { kind: 'got', number, entry }
      }
      case 'list':
        return { kind: 'listed', number, entries: this.store.list(call.prefix) }
      case 'create':
        return { kind: 'wrote', number, result: this.store.create(call.key, call.value) }
      case 'update':
        return { kind: 'wrote', number, result: this.store.update(call.key, call.value, call.revision) }
      case 'put':
        return { kind: 'wrote', number, result: this.store.put(call.key, call.value) }
      case 'delete':
        return { kind: 'wrote', number, result: this.store.delete(call.key) }
      case 'now':
        return { kind: 'time', number, now: this.#clock.now() }
    }
  }

  #watch(client: Client, number: number, prefix: string): void {
    client.channel.send({ kind: 'watching', number, entries: this.store.list(prefix) })
    const stop = this.store.watch(prefix, (change) => client.channel.send({ kind: 'changed', number, change }))
    this.#keep(client, number, stop)
  }

  /** A number that is used again ends what it meant before. */
  #keep(client: Client, number: number, stop: () => void): void {
    this.#end(client, number)
    client.stops.set(number, stop)
    if (client.stops.size > standingPerClientMax) this.#refuse(client, 'too many watches, subscriptions and services')
  }

  #end(client: Client, number: number): void {
    client.stops.get(number)?.()
    client.stops.delete(number)
  }

  #register(table: Map<string, Service[]>, client: Client, number: number, subject: string): void {
    const entry: Service = { client, number }
    const entries = table.get(subject) ?? []
    entries.push(entry)
    table.set(subject, entries)
    this.#keep(client, number, () => {
      entries.splice(entries.indexOf(entry), 1)
      if (entries.length === 0 && table.get(subject) === entries) table.delete(subject)
    })
  }

  #publish(subject: string, value: Json): void {
    for (const { client, number } of [...(this.#subscribers.get(subject) ?? [])]) {
      client.channel.send({ kind: 'heard', number, value })
    }
  }

  #ask(from: Client, message: ToHub & { kind: 'request' }): void {
    const service = this.#services.get(message.subject)?.at(-1)
    if (service === undefined || this.#questions.size >= pendingQuestionsMax) {
      from.channel.send({ kind: 'result', number: message.number, result: { kind: 'no-responder' } })
      return
    }
    const ask = ++this.#asked
    const timer = this.#clock.after(message.timeoutMs, () => this.#settle(ask, service.client, { kind: 'timeout' }))
    this.#questions.set(ask, { from, number: message.number, to: service.client, timer })
    service.client.channel.send({ kind: 'ask', ask, service: service.number, value: message.value })
  }

  /** Only the client that was asked may answer, and only once. */
  #settle(ask: number, by: Client, result: RequestResult): void {
    const question = this.#questions.get(ask)
    if (question === undefined || question.to !== by) return
    this.#questions.delete(ask)
    question.timer.cancel()
    question.from.channel.send({ kind: 'result', number: question.number, result })
  }

  #detach(client: Client): void {
    this.#clients.delete(client)
    for (const stop of client.stops.values()) stop()
    client.stops.clear()
    for (const [ask, question] of this.#questions) {
      if (question.from === client) {
        question.timer.cancel()
        this.#questions.delete(ask)
      } else if (question.to === client) this.#settle(ask, client, { kind: 'no-responder' })
    }
  }
}
