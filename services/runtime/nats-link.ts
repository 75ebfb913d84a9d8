/**
 * The door to the `nats` package: one connection's life, in our words.
 *
 * A link never reconnects by itself: the package would keep what was published meanwhile and send it to whatever server comes
 * back, and a compare-and-set from before a lost disk must not reach the empty store after it. When a link ends, everything that was
 * under way ends with it, and `nats-coordination.ts` makes the next one. Rejections carry a `LinkError`.
 */

import {
  type ClusterInfo,
  connect,
  credsAuthenticator,
  DiscardPolicy,
  ErrorCode,
  headers as emptyHeaders,
  type JetStreamClient,
  type JetStreamManager,
  type Msg,
  type NatsConnection,
  NatsError,
  nanos,
  nkeyAuthenticator,
  nkeys,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  usernamePasswordAuthenticator,
} from 'nats'
import { errorText } from '../protocol/failure.ts'
import { ipBytes } from '../settings/network.ts'
import { importedStoreApi, storeApi } from './nats-buckets.ts'

/**
 * `conflict`: another write came first. `absent`: no such bucket. `no-message`: no such key in it. `unanswered`: nobody said anything.
 * `lost`: anything else.
 */
export type LinkErrorKind = 'conflict' | 'absent' | 'no-message' | 'unanswered' | 'lost'

export class LinkError extends Error {
  readonly kind: LinkErrorKind

  constructor(kind: LinkErrorKind, message: string) {
    super(message)
    this.kind = kind
  }
}

export type LinkAuthentication =
  | { readonly kind: 'none' }
  | { readonly kind: 'password'; readonly user: string; readonly password: string }
  /** An nkey's seed, `SU...`. */
  | { readonly kind: 'seed'; readonly seed: string }
  /** A `.creds` file: JWT and seed. */
  | { readonly kind: 'credentials'; readonly text: string }

export interface LinkOptions {
  /** `host:port`; tried in this order. */
  readonly servers: readonly string[]
  /** Absent: TLS only where the server asks for it. Files are PEM. */
  readonly tls?: { readonly caFile?: string; readonly certFile?: string; readonly keyFile?: string }
  readonly authentication: LinkAuthentication
  readonly name: string
  readonly inboxPrefix: string
  readonly timeoutMs: number
  readonly onProblem: (why: string) => void
}

export interface LinkMessage {
  readonly subject: string
  readonly data: Buffer
  /** '' where no answer is wanted. */
  readonly reply: string
  /** 0, or the status a server answered with. */
  readonly status: number
  /** '' where it is not there. */
  header(name: string): string
}

export interface BucketFacts {
  readonly createdMs: number
  readonly maxAgeMs: number
  /** Subjects that hold a message, of those asked for. */
  readonly subjects: readonly string[]
}

export interface BucketForm {
  readonly stream: string
  readonly subjects: string
  readonly maxAgeMs: number
  readonly changes: string
  /** Absent: three on a cluster, else one. */
  readonly replicas?: number
}

/** `incomplete`: a server of it is away. `headless`: all are there, and yet none leads. */
export type BucketLook = 'well' | 'incomplete' | 'headless'

export interface StoredMessage {
  readonly sequence: number
  readonly atMs: number
  readonly data: Buffer
  readonly isRemoval: boolean
}

export type LinkHeaders = Readonly<Record<string, string>>

/** Error codes of the JetStream API. */
const wrongLastSequence = 10071
const noMessageFound = 10037
const operationHeader = 'KV-Operation'
const pingIntervalMs = 5_000
const pingsUnansweredMax = 2
/** The server's own default; it must not be longer than a message lives. */
const duplicateWindowMs = 120_000
/** Of a server that is one of several. */
const clusterReplicas = 3

export class NatsLink {
  /** Resolves with the reason, exactly once; never rejects. */
  readonly closed: Promise<string>
  readonly #connection: NatsConnection
  readonly #store: JetStreamClient
  readonly #manager: JetStreamManager
  readonly #options: LinkOptions

  private constructor(connection: NatsConnection, manager: JetStreamManager, options: LinkOptions) {
    this.#connection = connection
    this.#options = options
    this.#store = connection.jetstream({ timeout: options.timeoutMs, apiPrefix: apiPrefixOf(options) })
    this.#manager = manager
    this.closed = connection.closed().then(
      (error) => (error instanceof Error ? error.message : 'the connection was closed'),
      (error: unknown) => errorText(error),
    )
    this.#watchStatus().catch((error: unknown) => options.onProblem(errorText(error)))
  }

  /** Rejects in words where no server can be reached, or none lets us in. */
  static async open(options: LinkOptions): Promise<NatsLink> {
    let failure: unknown
    for (const server of options.servers) {
      try {
        return await NatsLink.#openTo(server, options)
      } catch (error) {
        failure = error
      }
    }
    throw failure
  }

  /** One server at a time: the package knows no name to check the certificate of an address by. */
  static async #openTo(server: string, options: LinkOptions): Promise<NatsLink> {
    const host = server.slice(0, server.lastIndexOf(':')).replace(/^\[|\]$/g, '')
    const checked = ipBytes(host) === undefined ? {} : { host }
    const connection = await connect({
      servers: [server],
      ignoreClusterUpdates: true,
      ...(options.tls === undefined ? {} : { tls: { ...options.tls, ...checked } }),
      ...authenticatorOf(options.authentication),
      name: options.name,
      inboxPrefix: options.inboxPrefix,
      timeout: options.timeoutMs,
      reconnect: false,
      pingInterval: pingIntervalMs,
      maxPingOut: pingsUnansweredMax,
      noAsyncTraces: true,
    })
    const manager = await connection.jetstreamManager({
      ...{ timeout: options.timeoutMs, checkAPI: false, apiPrefix: apiPrefixOf(options) },
    })
    return new NatsLink(connection, manager, options)
  }

  get messageBytesMax(): number {
    return this.#connection.info?.max_payload ?? 1024 * 1024
  }

  publish(subject: string, data: Buffer, headers: LinkHeaders = {}, reply?: string): void {
    if (this.#connection.isClosed()) return
    this.#connection.publish(subject, data, { headers: headersOf(headers), ...(reply === undefined ? {} : { reply }) })
  }

  /** Answers how to stop. */
  subscribe(subject: string, heard: (message: LinkMessage) => void): () => void {
    if (this.#connection.isClosed()) return () => {}
    const callback = (error: Error | null, message: Msg) => {
      if (error === null) heard(messageOf(message))
      else this.#options.onProblem(error.message)
    }
    const subscription = this.#connection.subscribe(subject, { callback })
    return () => {
      if (!this.#connection.isClosed()) subscription.unsubscribe()
    }
  }

  /** `expected`: the sequence of the key's last message, 0 for none. Answers the new one. */
  async store(subject: string, data: Buffer, options: { expected?: number; isRemoval?: boolean }): Promise<number> {
    const headers = headersOf(options.isRemoval === true ? { [operationHeader]: 'DEL' } : {})
    const expect = options.expected === undefined ? {} : { expect: { lastSubjectSequence: options.expected } }
    const acknowledged = await inOurWords(this.#store.publish(subject, data, { headers, ...expect }))
    return acknowledged.seq
  }

  /**
   * As the bucket's leader has it: a replica may lag behind, for good after a power cut. Undefined where nothing was ever stored, or it
   * has vanished.
   */
  async read(stream: string, subject: string): Promise<StoredMessage | undefined> {
    try {
      const message = await inOurWords(this.#manager.streams.getMessage(stream, { last_by_subj: subject }))
      const isRemoval = message.header.get(operationHeader) !== ''
      return { sequence: message.seq, atMs: message.time.getTime(), data: Buffer.from(message.data), isRemoval }
    } catch (error) {
      if (error instanceof LinkError && error.kind === 'no-message') return undefined
      throw error
    }
  }

  async bucketFacts(stream: string, subjects?: string): Promise<BucketFacts> {
    const filter = subjects === undefined ? {} : { subjects_filter: subjects }
    const info = await inOurWords(this.#manager.streams.info(stream, filter))
    return {
      createdMs: Date.parse(String(info.created)),
      maxAgeMs: Math.round(Number(info.config.max_age) / 1e6),
      subjects: Object.keys(info.state.subjects ?? {}),
    }
  }

  /** Makes the bucket, or gives one that is there our form. Content stays. */
  async formBucket(form: BucketForm): Promise<BucketLook> {
    const config = this.#configOf(form)
    try {
      const { config: present, cluster } = await inOurWords(this.#manager.streams.info(form.stream))
      const look = cluster === undefined ? 'well' : lookOf(cluster)
      if (look === 'headless' || sameForm(present, config)) return look
      await inOurWords(this.#manager.streams.update(form.stream, { ...present, ...config }))
      return look
    } catch (error) {
      if (!(error instanceof LinkError) || error.kind !== 'absent') throw error
      await inOurWords(this.#manager.streams.add(config))
      return 'well'
    }
  }

  /** With all that is in it. */
  async dropBucket(stream: string): Promise<void> {
    await inOurWords(this.#manager.streams.delete(stream))
  }

  /** Resolves when the server has seen all that was published. */
  async flush(): Promise<void> {
    await inOurWords(this.#connection.flush())
  }

  /** Sends what was published, then ends. */
  async close(): Promise<void> {
    if (this.#connection.isClosed()) return
    await Promise.race([this.#connection.flush(), this.closed]).catch(() => {})
    await this.#connection.close()
  }

  #configOf(form: BucketForm): Partial<StreamConfig> & { name: string } {
    return {
      name: form.stream,
      subjects: [form.subjects],
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.New,
      storage: StorageType.File,
      max_msgs_per_subject: 1,
      max_age: nanos(form.maxAgeMs),
      duplicate_window: nanos(form.maxAgeMs === 0 ? duplicateWindowMs : Math.min(duplicateWindowMs, form.maxAgeMs)),
      num_replicas: form.replicas ?? (this.#connection.info?.cluster === undefined ? 1 : clusterReplicas),
      allow_rollup_hdrs: true,
      allow_direct: true,
      deny_delete: true,
      republish: { src: form.subjects, dest: form.changes },
    }
  }

  async #watchStatus(): Promise<void> {
    for await (const status of this.#connection.status()) {
      if (String(status.type) === 'error') this.#options.onProblem(`the server refuses: ${String(status.data)}`)
    }
  }
}

/** A new user's nkey: what he keeps, and what the server is told. */
export function makeUserKey(): { readonly seed: string; readonly publicKey: string } {
  const pair = nkeys.createUser()
  return { seed: new TextDecoder().decode(pair.getSeed()), publicKey: pair.getPublicKey() }
}

/** Throws where `seed` is none. */
export function publicKeyOf(seed: string): string {
  return nkeys.fromSeed(Buffer.from(seed)).getPublicKey()
}

/** An nkey is that of a user in the configuration that `qmq nats config` prints, where the store is in another account. */
function apiPrefixOf({ authentication }: LinkOptions): string {
  return authentication.kind === 'seed' ? importedStoreApi : storeApi
}

function authenticatorOf(authentication: LinkAuthentication) {
  switch (authentication.kind) {
    case 'none':
      return {}
    case 'password':
      return { authenticator: usernamePasswordAuthenticator(authentication.user, authentication.password) }
    case 'seed':
      return { authenticator: nkeyAuthenticator(Buffer.from(authentication.seed)) }
    case 'credentials':
      return { authenticator: credsAuthenticator(Buffer.from(authentication.text)) }
  }
}

function headersOf(values: LinkHeaders) {
  const headers = emptyHeaders()
  for (const [name, value] of Object.entries(values)) headers.set(name, value)
  return headers
}

function messageOf(message: Msg): LinkMessage {
  const { headers } = message
  return {
    subject: message.subject,
    data: Buffer.from(message.data),
    reply: message.reply ?? '',
    status: headers?.code ?? 0,
    header: (name) => headers?.get(name) ?? '',
  }
}

function sameForm(present: StreamConfig, wanted: Partial<StreamConfig>): boolean {
  const same = (name: keyof StreamConfig) => JSON.stringify(present[name]) === JSON.stringify(wanted[name])
  const republish = present.republish
  return (
    (['subjects', 'max_msgs_per_subject', 'max_age', 'num_replicas', 'allow_direct'] as const).every(same) &&
    republish?.src === wanted.republish?.src &&
    republish?.dest === wanted.republish?.dest
  )
}

function lookOf({ leader, replicas = [] }: ClusterInfo): BucketLook {
  if (replicas.some(({ offline }) => offline === true)) return 'incomplete'
  return (leader ?? '') === '' ? 'headless' : 'well'
}

async function inOurWords<Value>(work: Promise<Value>): Promise<Value> {
  try {
    return await work
  } catch (error) {
    throw new LinkError(kindOf(error), errorText(error))
  }
}

function kindOf(error: unknown): LinkErrorKind {
  if (!(error instanceof NatsError)) return 'lost'
  const { code, api_error: answer } = error
  if (answer === undefined) return code === ErrorCode.Timeout || code === ErrorCode.NoResponders ? 'unanswered' : 'lost'
  if (answer.err_code === wrongLastSequence) return 'conflict'
  if (answer.err_code === noMessageFound) return 'no-message'
  return answer.code === 404 ? 'absent' : 'lost'
}
