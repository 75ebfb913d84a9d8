/**
 * The client's door to gRPC: one connection to one place, made at the first call, and again after a loss.
 *
 * Nothing is ever tried again in here: whether a call without an answer may be repeated is for its caller to know. The server must
 * show a certificate of the same authority whose names `allowed` accepts; its host name and address do not matter. No proxy
 * of the environment is used.
 */

import {
  CallCredentials,
  ChannelCredentials,
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js'
import { urisIn } from '../contract/identity.ts'
import type { RpcService } from './rpc-definition.ts'
import type { RpcSecurity, RpcTls } from './rpc-identity.ts'
import { plainReason } from './rpc-reason.ts'
import { shortSocketPath } from './socket-path.ts'

export type RpcTarget =
  | { readonly host: string; readonly port: number; readonly tls?: RpcSecurity | undefined }
  | { readonly socket: string }

/** What a call ended with that did not end well. */
export interface RpcFailure {
  /** `FAILED_PRECONDITION`, `UNAVAILABLE`, ... */
  readonly code: string
  readonly why: string
  /** Metadata of the answer, text values only. */
  readonly metadata: ReadonlyMap<string, string>
}

export type RpcOutcome =
  | { readonly kind: 'reply'; readonly value: object; readonly metadata: ReadonlyMap<string, string> }
  | { readonly kind: 'failed'; readonly failure: RpcFailure }

export interface RpcCallOptions {
  /** 0: no deadline. */
  readonly timeoutMs: number
  readonly metadata?: ReadonlyMap<string, string>
}

export type RpcDuplex = ClientDuplexStream<object, object>

const keepaliveTimeMs = 10_000
const keepaliveTimeoutMs = 10_000
/** Bytes one stream may be ahead of its reader. */
const flowControlBytes = 1024 * 1024

export class RpcClient {
  readonly #client: Client
  readonly #service: RpcService
  /** For people. */
  readonly #where: string

  constructor(target: RpcTarget, service: RpcService, messageBytesMax: number) {
    this.#service = service
    this.#where = 'socket' in target ? target.socket : hostAndPort(target)
    this.#client = new Client(addressOf(target), credentialsOf(target), {
      'grpc.max_receive_message_length': messageBytesMax,
      'grpc.max_send_message_length': messageBytesMax,
      'grpc.keepalive_time_ms': keepaliveTimeMs,
      'grpc.keepalive_timeout_ms': keepaliveTimeoutMs,
      'grpc-node.flow_control_window': flowControlBytes,
      'grpc.default_authority': 'qmq',
      'grpc.ssl_target_name_override': 'qmq',
      'grpc.enable_channelz': 0,
      'grpc.enable_http_proxy': 0,
      'grpc.enable_retries': 0,
      'grpc.service_config_disable_resolution': 1,
      'grpc.use_local_subchannel_pool': 1,
    })
  }

  /** Never rejects. */
  call(name: string, request: object, options: RpcCallOptions): Promise<RpcOutcome> {
    const { path, requestSerialize, responseDeserialize } = this.#method(name)
    return new Promise((resolve) => {
      let head = new Map<string, string>()
      const call = this.#client.makeUnaryRequest(
        ...([path, requestSerialize, responseDeserialize, request] as const),
        ...([metadataOf(options), callOptions(options)] as const),
        (error, value) => {
          if (error !== null) resolve({ kind: 'failed', failure: failureOf(error, this.#where) })
          else resolve({ kind: 'reply', value: value as object, metadata: head })
        },
      )
      call.on('metadata', (received: Metadata) => {
        head = textsOf(received)
      })
    })
  }

  /** A stream of answers. `ended` is called once, with why where it did not end well. Gives what cancels it. */
  watch(
    name: string,
    request: object,
    options: RpcCallOptions,
    heard: (value: object) => void,
    ended: (failure: RpcFailure | undefined) => void,
  ): () => void {
    const { path, requestSerialize, responseDeserialize } = this.#method(name)
    const stream: ClientReadableStream<object> = this.#client.makeServerStreamRequest(
      ...([path, requestSerialize, responseDeserialize, request] as const),
      ...([metadataOf(options), callOptions(options)] as const),
    )
    stream.on('data', heard)
    endOf(stream, this.#where, ended)
    return () => stream.cancel()
  }

  /** `ended` as in `watch`. */
  open(name: string, options: RpcCallOptions, ended: (failure: RpcFailure | undefined) => void): RpcDuplex {
    const { path, requestSerialize, responseDeserialize } = this.#method(name)
    const stream: RpcDuplex = this.#client.makeBidiStreamRequest(
      ...([path, requestSerialize, responseDeserialize] as const),
      ...([metadataOf(options), callOptions(options)] as const),
    )
    endOf(stream, this.#where, ended)
    return stream
  }

  close(): void {
    this.#client.close()
  }

  #method(name: string): RpcService[string] {
    const method = this.#service[name]
    if (method === undefined) throw new Error(`no method ${name}`)
    return method
  }
}

/** Error and status come in one turn; the end follows once everything received has been read. */
function endOf(
  stream: RpcDuplex | ClientReadableStream<object>,
  where: string,
  ended: (failure: RpcFailure | undefined) => void,
): void {
  let failure: RpcFailure | undefined
  stream.on('error', (error: ServiceError) => {
    failure = failureOf(error, where)
  })
  stream.on('end', () => ended(failure))
}

function addressOf(target: RpcTarget): string {
  if ('socket' in target) return `unix:${shortSocketPath(target.socket)}`
  const { host } = target
  const kind = host.includes(':') ? 'ipv6' : /^[\d.]+$/.test(host) ? 'ipv4' : 'dns'
  return `${kind}:${hostAndPort(target)}`
}

function hostAndPort({ host, port }: { readonly host: string; readonly port: number }): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

function credentialsOf(target: RpcTarget): ChannelCredentials {
  const security = 'socket' in target ? undefined : target.tls
  return security === undefined ? credentials.createInsecure() : new RenewedCredentials(security)
}

type ConnectorParameters = Parameters<ChannelCredentials['_createSecureConnector']>
type SecureConnector = ReturnType<ChannelCredentials['_createSecureConnector']>

/** What handshakes are made with. gRPC's own credentials are made once and for all. */
class RenewedCredentials extends ChannelCredentials {
  readonly #security: RpcSecurity

  constructor(security: RpcSecurity) {
    super()
    this.#security = security
  }

  override _isSecure(): boolean {
    return true
  }

  override _equals(other: ChannelCredentials): boolean {
    return other === this
  }

  override _createSecureConnector(...at: ConnectorParameters): SecureConnector {
    const [, , callCredentials = CallCredentials.createEmpty()] = at
    let made: SecureConnector | undefined
    return {
      // Asked before each connection is opened.
      waitForReady: async () => {
        const tls = this.#security()
        if (typeof tls === 'string') throw new Error(tls)
        made = credentialsBy(tls)._createSecureConnector(...at)
      },
      connect: (socket) => made?.connect(socket) ?? Promise.reject(new Error('the connection was not prepared')),
      getCallCredentials: () => callCredentials,
      destroy: () => {},
    }
  }
}

function credentialsBy(tls: RpcTls): ChannelCredentials {
  return credentials.createSsl(tls.ca, tls.key, tls.certificate, {
    checkServerIdentity: (_host, certificate) => {
      const names = urisIn(certificate.subjectaltname ?? '')
      return tls.allowed(names)
        ? undefined
        : new Error(`the server is ${names.join(' ') || 'nobody by its certificate'}`)
    },
  })
}

function callOptions({ timeoutMs }: RpcCallOptions): { deadline?: Date } {
  return timeoutMs === 0 ? {} : { deadline: new Date(Date.now() + timeoutMs) }
}

function metadataOf({ metadata }: RpcCallOptions): Metadata {
  const made = new Metadata()
  for (const [key, value] of metadata ?? []) made.set(key, value)
  return made
}

function textsOf(metadata: Metadata): Map<string, string> {
  const texts = Object.entries(metadata.getMap()).filter(
    (pair): pair is [string, string] => typeof pair[1] === 'string',
  )
  return new Map(texts)
}

function failureOf(error: ServiceError, where: string): RpcFailure {
  return {
    code: status[error.code] ?? 'UNKNOWN',
    why: plainReason(error.details, where),
    metadata: textsOf(error.metadata ?? new Metadata()),
  }
}
