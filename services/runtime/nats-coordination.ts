/**
 * Coordination by NATS: records in JetStream key-value buckets, requests and news on subjects.
 *
 * Connects for ever, to whichever server answers, and takes everything up again there. While no server answers, writes are
 * `unreachable` at once, reads reject and requests find `no-responder`: callers carry on with what they have. A call that comes before
 * the first attempt to connect has ended waits for it. A server that lost its disk is taken for what it is, an empty store;
 * whoever owns a record writes it again. So a bucket that its servers can bring to life no more, as after a power cut of them all, is
 * dropped and made anew. Works on servers from 2.9 on.
 */

import {
  type Change,
  type Coordination,
  clockKey,
  type Entry,
  isBelow,
  type Json,
  type KeyKind,
  type KeyLifetimes,
  keyLifetimes,
  type RequestResult,
  type Subscription,
  type WriteResult,
} from '../contract/coordination.ts'
import { errorText } from '../protocol/failure.ts'
import { BucketHealth } from './bucket-health.ts'
import {
  type Bucket,
  bucketOf,
  bucketsOf,
  changeSubject,
  decodeKey,
  encodeKey,
  inboxOf,
  keyOfChange,
  keySubject,
  maxAgeMsOf,
} from './nats-buckets.ts'
import { NatsExchange, parse } from './nats-exchange.ts'
import { type LinkAuthentication, LinkError, type LinkMessage, NatsLink } from './nats-link.ts'
import { NatsWatch } from './nats-watch.ts'
import { revisionBase } from './revision-base.ts'
import type { Clock, Random } from './world.ts'

export interface NatsCoordinationParts {
  readonly clock: Clock
  readonly random: Random
  /** `host:port` each. */
  readonly servers: readonly string[]
  readonly tls?: { readonly caFile?: string; readonly certFile?: string; readonly keyFile?: string }
  /** Read at each attempt to connect, so that new credentials need no restart. Rejects in words. */
  readonly authentication: () => Promise<LinkAuthentication>
  /** The name of this client: an instance's id, `control`, `cli`. Its rights hang on it. */
  readonly client: string
  /** Makes the buckets where they are missing, and gives them their form. */
  readonly makesBuckets: boolean
  /** Copies of each record. Absent: three on a cluster, else one. */
  readonly replicas?: number
  readonly lifetimes?: KeyLifetimes
  readonly pollMs?: number
  readonly reconnectMsMax?: number
  readonly callTimeoutMs?: number
  /** Called when the connection is there, and with the reason when it is not, once per change. */
  readonly onLink?: (problem: string | undefined) => void
  /** How long a bucket may ail, with all its servers there, until whoever makes buckets makes it anew. */
  readonly ailingMsMax?: number
}

const pollMsDefault = 5_000
const reconnectMsFirst = 100
const reconnectMsMaxDefault = 5_000
const callTimeoutMsDefault = 2_000
/** Servers that start together elect within ten seconds. */
const ailingMsMaxDefault = 30_000
const readsAtOnce = 64
/** How long what was published last may take to leave. */
const leaveMs = 500

interface Standing {
  readonly prefix: string
  readonly watch: NatsWatch
  unsubscribe: (() => void)[]
}

export class NatsCoordination implements Coordination {
  readonly #parts: NatsCoordinationParts
  readonly #exchange: NatsExchange
  readonly #watches = new Set<Standing>()
  /** Per bucket: what its sequences are counted on from. */
  readonly #bases = new Map<KeyKind, number>()
  readonly #health: ReadonlyMap<KeyKind, BucketHealth>
  readonly #inboxPrefix: string
  #link: NatsLink | undefined
  #firstAttempt: Promise<unknown>
  #reconnectMs = reconnectMsFirst
  #problem: string | undefined
  #closed = false

  constructor(parts: NatsCoordinationParts) {
    this.#parts = parts
    const { clock, random, client, ailingMsMax = ailingMsMaxDefault } = parts
    this.#health = new Map(bucketsOf('').map(({ kind }) => [kind, new BucketHealth(ailingMsMax)]))
    const identity = `${client}.${random.bytes(8).toString('hex')}`
    this.#inboxPrefix = inboxOf(client)
    this.#exchange = new NatsExchange({ clock, identity, inbox: `${this.#inboxPrefix}.${identity}` })
    this.#firstAttempt = this.#dial()
  }

  async get(key: string): Promise<Entry | undefined> {
    return await this.#reading((link) => this.#read(link, key))
  }

  async list(prefix: string): Promise<readonly Entry[]> {
    return await this.#reading((link) => this.#list(link, prefix))
  }

  async create(key: string, value: Json): Promise<WriteResult> {
    const first = await this.#write(key, value, 0)
    if (first.kind !== 'conflict') return first
    // A key that was deleted has left a mark: it is the mark that is replaced then.
    return await this.#writing(async (link) => {
      const mark = await link.read(bucketOf(key).stream, keySubject(key))
      return mark?.isRemoval === true ? await this.#write(key, value, mark.sequence) : { kind: 'conflict' }
    })
  }

  async update(key: string, value: Json, revision: number): Promise<WriteResult> {
    return await this.#writing(async (link) => {
      const sequence = revision - (await this.#baseOf(link, bucketOf(key)))
      // A revision of a store that is gone.
      return sequence < 1 ? { kind: 'conflict' } : await this.#write(key, value, sequence)
    })
  }

  put(key: string, value: Json): Promise<WriteResult> {
    return this.#write(key, value)
  }

  delete(key: string): Promise<WriteResult> {
    return this.#writing((link) => this.#store(link, key, Buffer.alloc(0), { isRemoval: true }))
  }

  watch(prefix: string, changed: (change: Change) => void): Subscription {
    const { clock, pollMs = pollMsDefault } = this.#parts
    const read = () => this.#reading((link) => this.#list(link, prefix, true))
    const standing: Standing = {
      prefix,
      watch: new NatsWatch({ clock, read, changed, pollMs }),
      unsubscribe: [],
    }
    this.#watches.add(standing)
    if (this.#link !== undefined) this.#listen(this.#link, standing)
    return {
      stop: () => {
        this.#watches.delete(standing)
        standing.watch.stop()
        for (const unsubscribe of standing.unsubscribe) unsubscribe()
      },
    }
  }

  /** The server's clock is read off a message it stores. */
  async now(): Promise<number> {
    const key = clockKey(this.#parts.client)
    return await this.#reading(async (link) => {
      const bucket = bucketOf(key)
      await this.#baseOf(link, bucket)
      await link.store(keySubject(key), Buffer.from('null'), {})
      const message = await link.read(bucket.stream, keySubject(key))
      if (message === undefined) throw unreachable()
      return message.atMs
    })
  }

  async request(subject: string, value: Json, timeoutMs: number): Promise<RequestResult> {
    await this.#attempted()
    return await this.#exchange.request(subject, value, timeoutMs)
  }

  serve(subject: string, answer: (value: Json) => Promise<Json>): Subscription {
    return this.#exchange.serve(subject, answer)
  }

  publish(subject: string, value: Json): void {
    this.#exchange.publish(subject, value)
  }

  subscribe(subject: string, heard: (value: Json) => void): Subscription {
    return this.#exchange.subscribe(subject, heard)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const { watch } of this.#watches) watch.stop()
    this.#watches.clear()
    const link = this.#link
    this.#link = undefined
    this.#exchange.leave()
    this.#exchange.lost()
    if (link === undefined) return
    const late = new Promise<void>((resolve) => this.#parts.clock.after(leaveMs, resolve))
    Promise.race([link.close(), late]).catch(() => {})
  }

  async #dial(): Promise<void> {
    const { tls, client, callTimeoutMs = callTimeoutMsDefault } = this.#parts
    try {
      const link = await NatsLink.open({
        servers: this.#shuffled(),
        ...(tls === undefined ? {} : { tls }),
        authentication: await this.#parts.authentication(),
        name: `qmq ${client}`,
        inboxPrefix: this.#inboxPrefix,
        timeoutMs: callTimeoutMs,
        onProblem: (why) => this.#tell(why),
      })
      if (this.#closed) await link.close()
      else this.#linked(link)
    } catch (error) {
      this.#tell(errorText(error))
      this.#dialLater()
    }
  }

  /** So that clients spread over the servers. */
  #shuffled(): readonly string[] {
    const { servers, random } = this.#parts
    return servers
      .map((server) => ({ server, place: random.below(1_000_000) }))
      .toSorted((one, other) => one.place - other.place)
      .map(({ server }) => server)
  }

  #linked(link: NatsLink): void {
    this.#link = link
    this.#bases.clear()
    for (const health of this.#health.values()) health.forget()
    this.#tell(undefined)
    this.#exchange.linked(link)
    for (const standing of this.#watches) this.#listen(link, standing)
    this.#keepBuckets(link)
    const since = this.#parts.clock.monotonic()
    link.closed
      .then((why) => {
        if (this.#closed) return
        this.#link = undefined
        this.#exchange.lost()
        this.#tell(why)
        const { reconnectMsMax = reconnectMsMaxDefault, clock } = this.#parts
        if (clock.monotonic() - since > reconnectMsMax) this.#reconnectMs = reconnectMsFirst
        this.#dialLater()
      })
      .catch((error: unknown) => this.#tell(errorText(error)))
  }

  /** All buckets, whichever we use ourselves, for as long as this link lasts: others wait for them, and one may be lost at any time. */
  #keepBuckets(link: NatsLink): void {
    const { makesBuckets, clock, pollMs = pollMsDefault } = this.#parts
    if (!makesBuckets || this.#link !== link) return
    const form = this.#reading(async () => {
      // Each by itself: one that cannot be had must not keep the others from being looked at.
      const looks = bucketsOf('').map((bucket) => {
        this.#bases.delete(bucket.kind)
        return this.#baseOf(link, bucket)
      })
      await Promise.all(looks)
    })
    form.catch(() => {}).finally(() => clock.after(pollMs, () => this.#keepBuckets(link)))
  }

  /** Half of the pause is chance, so that a cluster does not come back as one. */
  #dialLater(): void {
    if (this.#closed) return
    const { clock, random, reconnectMsMax = reconnectMsMaxDefault } = this.#parts
    const waitMs = this.#reconnectMs / 2 + random.below(this.#reconnectMs / 2 + 1)
    this.#reconnectMs = Math.min(reconnectMsMax, this.#reconnectMs * 2)
    clock.after(waitMs, () => {
      if (!this.#closed) this.#dial().catch((error: unknown) => this.#tell(errorText(error)))
    })
  }

  #tell(problem: string | undefined): void {
    if (this.#closed || problem === this.#problem) return
    this.#problem = problem
    this.#parts.onLink?.(problem)
  }

  /** First listens, then reads, so that nothing falls in between. */
  #listen(link: NatsLink, standing: Standing): void {
    const { prefix, watch } = standing
    watch.begin()
    const isExact = prefix !== '' && !prefix.endsWith('/')
    standing.unsubscribe = bucketsOf(prefix).map((bucket) => {
      const subject = isExact ? changeSubject(bucket, prefix) : changeSubject(bucket)
      return link.subscribe(subject, (message) => this.#heard(standing, bucket, message))
    })
    watch.poll().catch(() => {})
  }

  #heard({ prefix, watch }: Standing, bucket: Bucket, message: LinkMessage): void {
    const key = keyOfChange(message.subject)
    const base = this.#bases.get(bucket.kind)
    const sequence = Number(message.header('Nats-Sequence'))
    if (!isBelow(prefix, key)) return
    const value = parse(message.data)
    const isRemoval = message.header('KV-Operation') !== ''
    if (base === undefined || !Number.isSafeInteger(sequence) || sequence < 1 || (value === undefined && !isRemoval)) {
      watch.poll().catch(() => {})
      return
    }
    const revision = base + sequence
    watch.hear(key, isRemoval || value === undefined ? undefined : { key, value, revision }, revision)
  }

  async #attempted(): Promise<NatsLink | undefined> {
    await this.#firstAttempt
    return this.#link
  }

  async #reading<Value>(work: (link: NatsLink) => Promise<Value>): Promise<Value> {
    const link = await this.#attempted()
    if (link === undefined) throw unreachable()
    try {
      const value = await work(link)
      this.#tell(undefined)
      return value
    } catch (error) {
      this.#failed(error)
      throw unreachable(errorText(error))
    }
  }

  async #writing(work: (link: NatsLink) => Promise<WriteResult>): Promise<WriteResult> {
    const link = await this.#attempted()
    if (link === undefined) return { kind: 'unreachable' }
    try {
      return await work(link)
    } catch (error) {
      if (error instanceof LinkError && error.kind === 'conflict') return { kind: 'conflict' }
      this.#failed(error)
      return { kind: 'unreachable' }
    }
  }

  /** The bucket may be gone or a new one: it is looked at again. */
  #failed(error: unknown): void {
    this.#bases.clear()
    if (this.#link !== undefined) this.#tell(errorText(error))
  }

  #write(key: string, value: Json, expected?: number): Promise<WriteResult> {
    return this.#writing((link) =>
      this.#store(link, key, Buffer.from(JSON.stringify(value)), expected === undefined ? {} : { expected }),
    )
  }

  async #store(
    link: NatsLink,
    key: string,
    data: Buffer,
    options: { readonly expected?: number; readonly isRemoval?: boolean },
  ): Promise<WriteResult> {
    const bucket = bucketOf(key)
    const base = await this.#baseOf(link, bucket)
    const health = this.#health.get(bucket.kind)
    try {
      const sequence = await link.store(keySubject(key), data, options)
      health?.answered()
      this.#tell(undefined)
      return { kind: 'written', revision: base + sequence }
    } catch (error) {
      if (error instanceof LinkError && error.kind === 'unanswered') health?.unanswered(this.#parts.clock.monotonic())
      else health?.answered()
      throw error
    }
  }

  async #read(link: NatsLink, key: string): Promise<Entry | undefined> {
    const bucket = bucketOf(key)
    const base = await this.#baseOf(link, bucket)
    const message = await link.read(bucket.stream, keySubject(key))
    if (message === undefined || message.isRemoval) return undefined
    const value = parse(message.data)
    return value === undefined ? undefined : { key, value, revision: base + message.sequence }
  }

  /** `afresh`: the buckets are looked at again, in case they are no longer the same. */
  async #list(link: NatsLink, prefix: string, afresh = false): Promise<readonly Entry[]> {
    if (prefix !== '' && !prefix.endsWith('/')) {
      if (afresh) this.#bases.delete(bucketOf(prefix).kind)
      const entry = await this.#read(link, prefix)
      return entry === undefined ? [] : [entry]
    }
    const keys: string[] = []
    for (const bucket of bucketsOf(prefix)) {
      if (afresh) this.#bases.delete(bucket.kind)
      await this.#baseOf(link, bucket)
      const filter = prefix === '' ? `${bucket.prefix}>` : `${bucket.prefix}${encodeKey(prefix.slice(0, -1))}.>`
      const { subjects } = await link.bucketFacts(bucket.stream, filter)
      keys.push(...subjects.map((subject) => decodeKey(subject.slice(bucket.prefix.length))))
    }
    const entries: (Entry | undefined)[] = []
    for (let index = 0; index < keys.length; index += readsAtOnce) {
      const some = keys.slice(index, index + readsAtOnce)
      entries.push(...(await Promise.all(some.map((key) => this.#read(link, key)))))
    }
    return entries.filter((entry) => entry !== undefined).sort((one, other) => (one.key < other.key ? -1 : 1))
  }

  async #baseOf(link: NatsLink, bucket: Bucket): Promise<number> {
    const known = this.#bases.get(bucket.kind)
    if (known !== undefined) return known
    const { clock, makesBuckets, replicas, lifetimes = keyLifetimes } = this.#parts
    const maxAgeMs = maxAgeMsOf(bucket.kind, lifetimes)
    if (makesBuckets) {
      const changes = changeSubject(bucket)
      const form = { stream: bucket.stream, subjects: `${bucket.prefix}>`, maxAgeMs, changes }
      const look = await link.formBucket({ ...form, ...(replicas === undefined ? {} : { replicas }) })
      if (this.#health.get(bucket.kind)?.looked(look, clock.monotonic()) === false) {
        await link.dropBucket(bucket.stream)
        throw new LinkError('lost', `${bucket.stream} did not recover and is made anew`)
      }
      if (look === 'headless') throw new LinkError('lost', `no server leads ${bucket.stream}`)
    }
    const facts = await link.bucketFacts(bucket.stream)
    const base = revisionBase(facts.createdMs)
    if (this.#link === link) this.#bases.set(bucket.kind, base)
    return base
  }
}

function unreachable(why?: string): Error {
  const text = `coordination cannot be reached${why === undefined ? '' : `: ${why}`}`
  return Object.assign(new Error(text), { code: 'ECONNREFUSED' })
}
