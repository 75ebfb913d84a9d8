/**
 * The server's door to gRPC: our handlers served on a port or on a socket's file, each call let in by who makes it.
 *
 * A port without `tls` is for loopback. With it both sides show certificates of one authority: who shows none, an expired one or a
 * stranger's never gets as far as a call. What is in force is asked for at each connection; those that are open go on as they were, for
 * an hour at most. `admit` sees every call of every method, reflection and health included, before its handler. A socket's file may be
 * opened by the user of the process alone.
 *
 * Listening rejects with the system's error (EADDRINUSE, ENAMETOOLONG). `close` ends all connections at once, without waiting
 * for handlers: whoever calls must know what a call without an answer means.
 */

import fs from 'node:fs'
import net from 'node:net'
import process from 'node:process'
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  ServerInterceptingCall,
  type ServerInterceptor,
  type ServerUnaryCall,
  type ServerWritableStream,
  status,
  type UntypedHandleCall,
} from '@grpc/grpc-js'
import { urisIn } from '../contract/identity.ts'
import { reportHandlerFailure } from './handler-failure.ts'
import type { RpcService } from './rpc-definition.ts'
import type { RpcCaller, RpcSecurity, RpcTls } from './rpc-identity.ts'
import { addReflection, RpcHealth } from './rpc-introspection.ts'
import './rpc-windows.ts'
import { shortSocketPath } from './socket-path.ts'
import type { Address, Log } from './world.ts'

export type RpcPlace =
  | { readonly host: string; readonly port: number; readonly tls?: RpcSecurity | undefined }
  /** A file left by a kill is replaced: the caller holds the lock of its home. */
  | { readonly socket: string }

export type RpcCode = keyof typeof status
export type RpcTexts = ReadonlyMap<string, string>

export interface RpcFailed {
  readonly kind: 'failed'
  readonly code: RpcCode
  readonly why: string
  /** Told with the failure. */
  readonly metadata?: RpcTexts
}

export type RpcAnswer = { readonly kind: 'reply'; readonly value: object } | RpcFailed

/** What a handler knows of a call besides its request. */
export interface RpcCall {
  readonly caller: RpcCaller
  /** `/qmq.v1.ClusterService/GetStatus`. */
  readonly method: string
  /** Unix milliseconds; Infinity where the caller waits for ever. */
  readonly deadlineAt: number
  /** '' where it is not there. */
  text(key: string): string
  /** Sent before the answer. Once. */
  sendTexts(texts: RpcTexts): void
}

/** The end of a stream of answers that writes. */
export interface RpcSink {
  /** False: the caller is behind; `drained` follows. */
  send(value: object): boolean
  end(failure?: RpcFailed): void
}

export interface RpcStreamEnd {
  drained(): void
  /** The caller is gone, or the stream has ended. Once. */
  closed(): void
}

/** A stream both ways. */
export type RpcDuplexStream<In, Out> = ServerDuplexStream<In, Out>

// biome-ignore lint/suspicious/noExplicitAny: what a request is, its method's definition says.
type Request = any

export type RpcHandler =
  /** A rejection is a defect: logged, and INTERNAL. */
  | { readonly kind: 'unary'; readonly answer: (request: Request, call: RpcCall) => Promise<RpcAnswer> }
  | { readonly kind: 'stream'; readonly begin: (request: Request, call: RpcCall, sink: RpcSink) => RpcStreamEnd }
  | { readonly kind: 'duplex'; readonly open: (stream: RpcDuplexStream<Request, Request>) => void }

export interface RpcServiceOffer {
  readonly service: RpcService
  /** By the names of the methods; every method has one. */
  readonly handlers: Readonly<Record<string, RpcHandler>>
}

export interface RpcServerOptions {
  readonly place: RpcPlace
  readonly log: Log
  readonly offers: readonly RpcServiceOffer[]
  /** Files of `contract/proto/` whose services are told of by reflection, and their health. */
  readonly introspection?: readonly string[]
  /** Why this caller may not call this method; undefined where he may. */
  readonly admit: (method: string, caller: RpcCaller) => RpcRefusal | undefined
  readonly messageBytesMax: number
  /** Of a connection with certificates, until it takes no more calls. */
  readonly sessionMaxMs?: number
}

export interface RpcRefusal {
  readonly code: 'UNAUTHENTICATED' | 'PERMISSION_DENIED'
  readonly why: string
}

export interface RpcServer {
  /** Of a socket's file: its path, and port 0. */
  readonly address: Address
  readonly health: RpcHealth
  close(): Promise<void>
}

interface Assembled {
  readonly server: Server
  readonly health: RpcHealth
}

/** A peer that is gone without a word is noticed after the sum. */
const keepaliveTimeMs = 10_000
const keepaliveTimeoutMs = 10_000
const connectionsMax = 256
/**
 * Who is locked out by a rotation of the authority is gone after the sum, give or take a tenth of the first. Whoever is not comes back by
 * another connection; only a call that goes on longer than the second notices.
 */
const defaultSessionMaxMs = 45 * 60 * 1000
const sessionGraceMs = 10 * 60 * 1000
const streamsPerConnectionMax = 100

export async function listenRpc(options: RpcServerOptions): Promise<RpcServer> {
  const { place } = options
  const security = 'port' in place ? place.tls : undefined
  const renewed = security === undefined ? undefined : new RenewedCredentials(security)
  const { server, health } = assemble(options, renewed)
  const injector = server.createConnectionInjector(renewed ?? ServerCredentials.createInsecure())
  const sockets = new Set<net.Socket>()
  const listener = net.createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    if (renewed?.renew() === false) socket.destroy()
    else injector.injectConnection(socket)
  })
  listener.maxConnections = connectionsMax
  const close = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => listener.close(() => resolve()))
    server.forceShutdown()
    for (const socket of sockets) socket.destroy()
    await closed
  }
  return { address: await listen(listener, place), health, close }
}

/** What handshakes are made with. gRPC's own credentials are made once and for all. */
class RenewedCredentials extends ServerCredentials {
  readonly #security: RpcSecurity
  #inForce: RpcTls | undefined

  constructor(security: RpcSecurity) {
    super({ requestCert: true, rejectUnauthorized: true })
    this.#security = security
  }

  /** False where nobody can be served now. */
  renew(): boolean {
    const tls = this.#security()
    if (typeof tls === 'string') return false
    if (this.#inForce === undefined || !sameCredentials(this.#inForce, tls)) {
      this.updateSecureContextOptions({ ca: tls.ca, cert: tls.certificate, key: tls.key })
    }
    this.#inForce = tls
    return true
  }

  allows(names: readonly string[]): boolean {
    return this.#inForce?.allowed(names) === true
  }

  override _equals(other: ServerCredentials): boolean {
    return other === this
  }
}

function sameCredentials(one: RpcTls, other: RpcTls): boolean {
  return one.ca.equals(other.ca) && one.certificate.equals(other.certificate) && one.key.equals(other.key)
}

function assemble(options: RpcServerOptions, renewed: RenewedCredentials | undefined): Assembled {
  const { sessionMaxMs = defaultSessionMaxMs } = options
  const aging = { 'grpc.max_connection_age_ms': sessionMaxMs, 'grpc.max_connection_age_grace_ms': sessionGraceMs }
  const server = new Server({
    'grpc.max_receive_message_length': options.messageBytesMax,
    'grpc.max_send_message_length': options.messageBytesMax,
    'grpc.max_concurrent_streams': streamsPerConnectionMax,
    'grpc.keepalive_time_ms': keepaliveTimeMs,
    'grpc.keepalive_timeout_ms': keepaliveTimeoutMs,
    'grpc.enable_channelz': 0,
    ...(renewed === undefined ? {} : aging),
    interceptors: [admission(options, renewed)],
  })
  for (const { service, handlers } of options.offers) {
    const implementation: Record<string, UntypedHandleCall> = {}
    for (const [name, { path }] of Object.entries(service)) {
      const handler = handlers[name]
      if (handler === undefined) throw new Error(`${path} has no handler`)
      implementation[name] = adapted(handler, options)
    }
    server.addService(service, implementation)
  }
  const health = new RpcHealth()
  if (options.introspection !== undefined) {
    addReflection(server, options.introspection)
    health.addTo(server)
  }
  return { server, health }
}

/** Ends a stream both ways without a good word. */
export function failStream(stream: { emit(event: 'error', error: object): unknown }, code: RpcCode, why: string): void {
  stream.emit('error', { code: status[code], details: why })
}

function adapted(handler: RpcHandler, { place, log }: RpcServerOptions): UntypedHandleCall {
  if (handler.kind === 'duplex') return handler.open
  if (handler.kind === 'stream') {
    return (stream: ServerWritableStream<object, object>) => {
      const sink: RpcSink = {
        send: (value) => stream.write(value),
        end: (failure) => (failure === undefined ? stream.end() : stream.emit('error', statusOf(failure))),
      }
      const end = handler.begin(stream.request, callFor(stream, place), sink)
      stream.on('drain', () => end.drained())
      stream.once('close', () => end.closed())
      stream.once('cancelled', () => stream.destroy())
    }
  }
  return (call: ServerUnaryCall<object, object>, callback: (error: object | null, value?: object) => void) => {
    handler.answer(call.request, callFor(call, place)).then(
      (answer) => (answer.kind === 'reply' ? callback(null, answer.value) : callback(statusOf(answer))),
      (error: unknown) => {
        reportHandlerFailure(log, call.getPath(), error)
        callback({ code: status.INTERNAL, details: 'a defect of this software; its log says more' })
      },
    )
  }
}

function statusOf({ code, why, metadata }: RpcFailed): { code: status; details: string; metadata: Metadata } {
  return { code: status[code], details: why, metadata: metadataOf(metadata) }
}

function metadataOf(texts: RpcTexts | undefined): Metadata {
  const metadata = new Metadata()
  for (const [key, value] of texts ?? []) metadata.set(key, value)
  return metadata
}

type SurfaceCall = ServerUnaryCall<object, object> | ServerWritableStream<object, object>

function callFor(call: SurfaceCall, place: RpcPlace): RpcCall {
  const deadline = call.getDeadline()
  return {
    caller: callerOf(call, place),
    method: call.getPath(),
    deadlineAt: typeof deadline === 'number' ? deadline : deadline.getTime(),
    text: (key) => {
      const [value = ''] = call.metadata.get(key)
      return typeof value === 'string' ? value : ''
    },
    sendTexts: (texts) => call.sendMetadata(metadataOf(texts)),
  }
}

function listen(listener: net.Server, place: RpcPlace): Promise<Address> {
  return new Promise((resolve, reject) => {
    listener.once('error', reject)
    const listening = (address: Address) => {
      listener.off('error', reject)
      listener.on('error', () => {})
      resolve(address)
    }
    if ('port' in place) {
      listener.listen(place.port, place.host, () => {
        const bound = listener.address() as net.AddressInfo
        listening({ host: bound.address, port: bound.port })
      })
      return
    }
    const file = shortSocketPath(place.socket)
    fs.rmSync(file, { force: true })
    // The file is made inside `listen`; its mode comes from the mask alone.
    const mask = process.umask(0o177)
    try {
      listener.listen(file, () => listening({ host: place.socket, port: 0 }))
    } finally {
      process.umask(mask)
    }
  })
}

/** Before anything of a call is read but its head. */
function admission({ place, admit }: RpcServerOptions, renewed: RenewedCredentials | undefined): ServerInterceptor {
  return (method, call) => {
    const caller = callerOf(call, place)
    const stranger = caller.kind === 'certificate' && renewed?.allows(caller.names) !== true
    const named =
      caller.kind === 'certificate' && caller.names.length > 0 ? caller.names.join(' ') : 'a certificate without a name'
    const refusal: RpcRefusal | undefined = stranger
      ? { code: 'PERMISSION_DENIED', why: `nobody of this cluster: ${named}` }
      : admit(method.path, caller)
    if (refusal === undefined) return new ServerInterceptingCall(call)
    return new ServerInterceptingCall(call, {
      // Without a listener that passes anything on, the handler never starts.
      start: (next) => {
        next({
          onReceiveMetadata: () => call.sendStatus(statusOf({ kind: 'failed', ...refusal })),
          onReceiveMessage: () => {},
          onReceiveHalfClose: () => {},
        })
      },
    })
  }
}

function callerOf(call: Pick<SurfaceCall, 'getPeer' | 'getAuthContext'>, place: RpcPlace): RpcCaller {
  if ('socket' in place) return { kind: 'socket' }
  const address = call.getPeer()
  if (place.tls === undefined) return { kind: 'plain', address }
  const certificate = call.getAuthContext().sslPeerCertificate
  const commonName = certificate?.subject?.CN
  return {
    kind: 'certificate',
    address,
    names: urisIn(certificate?.subjectaltname ?? ''),
    commonName: typeof commonName === 'string' ? commonName : '',
  }
}
