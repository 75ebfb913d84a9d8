/**
 * The server's door to gRPC: our handlers served on a port or on a socket's file, each call let in by who makes it.
 *
 * A port without `tls` is for loopback. With it both sides show certificates of one authority: who shows none, an expired one or a
 * stranger's never gets as far as a call. `admit` sees every call of every method, reflection and health included, before its handler. A
 * socket's file may be opened by the user of the process alone.
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
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import type { RpcService } from './rpc-definition.ts'
import { identityNames, type RpcCaller, type RpcTls } from './rpc-identity.ts'
import { shortSocketPath } from './socket-path.ts'
import type { Address } from './world.ts'

export type RpcPlace =
  | { readonly host: string; readonly port: number; readonly tls?: RpcTls }
  /** A file left by a kill is replaced: the caller holds the lock of its home. */
  | { readonly socket: string }

/** A stream both ways, as the handler of such a method gets it. */
export type RpcServerStream<In, Out> = ServerDuplexStream<In, Out>

export type RpcCode = keyof typeof status

export interface RpcServiceOffer {
  readonly service: RpcService
  /** By the names of the methods; every method has one. */
  readonly handlers: UntypedServiceImplementation
}

export interface RpcServerOptions {
  readonly place: RpcPlace
  readonly offers: readonly RpcServiceOffer[]
  /** Why this caller may not call this method (`/qmq.v1.ClusterService/GetStatus`); undefined where he may. */
  readonly admit: (method: string, caller: RpcCaller) => RpcRefusal | undefined
  readonly messageBytesMax: number
}

export interface RpcRefusal {
  readonly code: 'unauthenticated' | 'permission-denied'
  readonly why: string
}

export interface RpcServer {
  /** Of a socket's file: its path, and port 0. */
  readonly address: Address
  close(): Promise<void>
}

const refusalCodes = { unauthenticated: status.UNAUTHENTICATED, 'permission-denied': status.PERMISSION_DENIED } as const
/** A peer that is gone without a word is noticed after the sum. */
const keepaliveTimeMs = 10_000
const keepaliveTimeoutMs = 10_000
const connectionsMax = 256
const streamsPerConnectionMax = 100

export function listenRpc(options: RpcServerOptions): Promise<RpcServer> {
  const { place } = options
  const tls = 'port' in place ? place.tls : undefined
  const server = new Server({
    'grpc.max_receive_message_length': options.messageBytesMax,
    'grpc.max_send_message_length': options.messageBytesMax,
    'grpc.max_concurrent_streams': streamsPerConnectionMax,
    'grpc.keepalive_time_ms': keepaliveTimeMs,
    'grpc.keepalive_timeout_ms': keepaliveTimeoutMs,
    'grpc.enable_channelz': 0,
    interceptors: [admission(options, tls)],
  })
  for (const { service, handlers } of options.offers) addOffer(server, service, handlers)
  const injector = server.createConnectionInjector(credentialsOf(tls))
  const sockets = new Set<net.Socket>()
  const listener = net.createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    injector.injectConnection(socket)
  })
  listener.maxConnections = connectionsMax
  const close = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => listener.close(() => resolve()))
    server.forceShutdown()
    for (const socket of sockets) socket.destroy()
    await closed
  }
  return listen(listener, place).then((address) => ({ address, close }))
}

/** Ends a stream without a good word. `code` as gRPC names it. */
export function failStream(stream: { emit(event: 'error', error: object): unknown }, code: RpcCode, why: string): void {
  stream.emit('error', { code: status[code], details: why })
}

function addOffer(server: Server, service: RpcService, handlers: UntypedServiceImplementation): void {
  for (const name of Object.keys(service)) {
    if (handlers[name] === undefined) throw new Error(`${service[name]?.path ?? name} has no handler`)
  }
  server.addService(service, handlers)
}

function credentialsOf(tls: RpcTls | undefined): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure()
  return ServerCredentials.createSsl(tls.ca, [{ private_key: tls.key, cert_chain: tls.certificate }], true)
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
function admission({ place, admit }: RpcServerOptions, tls: RpcTls | undefined): ServerInterceptor {
  return (method, call) => {
    const caller = callerOf(call, place)
    const stranger = caller.kind === 'certificate' && tls?.allowed(caller.names) !== true
    const refusal: RpcRefusal | undefined = stranger
      ? {
          code: 'permission-denied',
          why: `nobody of this cluster: ${caller.names.join(' ') || 'a certificate without a name'}`,
        }
      : admit(method.path, caller)
    if (refusal === undefined) return new ServerInterceptingCall(call)
    const refused = {
      code: refusalCodes[refusal.code],
      details: refusal.why,
      metadata: new Metadata(),
    }
    return new ServerInterceptingCall(call, {
      // Without a listener that passes anything on, the handler never starts.
      start: (next) => {
        next({
          onReceiveMetadata: () => call.sendStatus(refused),
          onReceiveMessage: () => {},
          onReceiveHalfClose: () => {},
        })
      },
    })
  }
}

function callerOf(call: ServerInterceptingCallInterface, place: RpcPlace): RpcCaller {
  if ('socket' in place) return { kind: 'socket' }
  const { remoteAddress = '', remotePort = 0 } = call.getConnectionInfo()
  const address = `${remoteAddress}:${remotePort}`
  if (place.tls === undefined) return { kind: 'plain', address }
  const certificate = call.getAuthContext().sslPeerCertificate
  return { kind: 'certificate', address, names: identityNames(certificate?.subjectaltname) }
}
