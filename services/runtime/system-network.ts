/**
 * TCP and TLS by node:net and node:tls. Lean per connection: listeners are shared functions that find their owner on the
 * socket, because five thousand idle clients pay for every closure. Half-open is kept: a peer that has finished
 * sending still gets its reply.
 *
 * A handler that throws loses its connection and nothing else: the error is logged, and `onClose` follows with it.
 */

import net from 'node:net'
import type tls from 'node:tls'
import { reportHandlerFailure } from './handler-failure.ts'
import { type ServerTls, securedBy, serverTlsOf, startClientTls, startServerTls } from './system-tls.ts'
import type {
  Address,
  Connection,
  ConnectionHandler,
  ConnectOptions,
  Listener,
  ListenOptions,
  Log,
  Network,
  Secured,
  TlsClientOptions,
  TlsServerOptions,
} from './world.ts'

export class SystemNetwork implements Network {
  readonly #log: Log

  constructor(log: Log) {
    this.#log = log
  }

  listen(options: ListenOptions, accept: (connection: Connection) => ConnectionHandler): Promise<Listener> {
    const listener = new SystemListener(options, accept, this.#log)
    return listener.open(options)
  }

  connect(options: ConnectOptions, handler: ConnectionHandler): Connection {
    const socket = net.connect({
      host: options.host,
      port: options.port,
      noDelay: true,
      allowHalfOpen: true,
      ...(options.localAddress === undefined ? {} : { localAddress: options.localAddress }),
    })
    const connection = new SystemConnection(socket, undefined, handler, this.#log)
    const timeout = setTimeout(() => {
      socket.destroy(Object.assign(new Error('connection timed out'), { code: 'ETIMEDOUT' }))
    }, options.timeoutMs)
    socket.once('connect', () => {
      clearTimeout(timeout)
      connection.opened()
    })
    socket.once('close', () => clearTimeout(timeout))
    return connection
  }
}

class SystemListener implements Listener {
  readonly #server: net.Server
  #tls: ServerTls | undefined

  constructor(options: ListenOptions, accept: (connection: Connection) => ConnectionHandler, log: Log) {
    if (options.tls !== undefined) this.setTls(options.tls.options)
    const implicit = options.tls?.mode === 'implicit'
    this.#server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      const connection = new SystemConnection(socket, () => this.#tls, undefined, log)
      connection.accepted(accept, implicit)
    })
  }

  open(options: ListenOptions): Promise<Listener> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(
        {
          host: options.host,
          port: options.port,
          backlog: options.backlog ?? 1024,
          reusePort: options.reusePort ?? false,
        },
        () => {
          this.#server.off('error', reject)
          // An accept that fails (EMFILE) is retried by the loop; the error must not end the process.
          this.#server.on('error', () => {})
          resolve(this)
        },
      )
    })
  }

  get address(): Address {
    const bound = this.#server.address()
    if (bound === null || typeof bound === 'string') return { host: '', port: 0 }
    return { host: bound.address, port: bound.port }
  }

  setTls(options: TlsServerOptions): void {
    this.#tls = serverTlsOf(options)
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      resolve()
      this.#server.close()
    })
  }
}

interface OwnedSocket extends net.Socket {
  owner: SystemConnection
}

class SystemConnection implements Connection {
  handler: ConnectionHandler | undefined
  #socket: OwnedSocket
  readonly #serverTls: (() => ServerTls | undefined) | undefined
  readonly #log: Log
  #error: Error | undefined
  #remote: Address | undefined
  #local: Address | undefined
  #secure: Secured | undefined

  constructor(
    socket: net.Socket,
    serverTls: (() => ServerTls | undefined) | undefined,
    handler: ConnectionHandler | undefined,
    log: Log,
  ) {
    this.#serverTls = serverTls
    this.#log = log
    this.handler = handler
    this.#socket = this.#own(socket)
  }

  get remote(): Address {
    this.#remote ??= { host: plainAddress(this.#socket.remoteAddress ?? ''), port: this.#socket.remotePort ?? 0 }
    return this.#remote
  }

  get local(): Address {
    this.#local ??= { host: plainAddress(this.#socket.localAddress ?? ''), port: this.#socket.localPort ?? 0 }
    return this.#local
  }

  get secure(): Secured | undefined {
    return this.#secure
  }

  write(data: Buffer | string): boolean {
    return typeof data === 'string' ? this.#socket.write(data, 'latin1') : this.#socket.write(data)
  }

  cork(): void {
    this.#socket.cork()
  }

  uncork(): void {
    this.#socket.uncork()
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  startTls(options: TlsClientOptions | 'server', received?: Buffer): void {
    const plain = this.#socket
    const server = options === 'server' ? this.#serverTls?.() : undefined
    if (options === 'server' && server === undefined) throw new Error('this listener has no certificate')
    disown(plain)
    if (received !== undefined) {
      plain.pause()
      plain.unshift(received)
    }
    const upgraded = options === 'server' ? startServerTls(plain, server as ServerTls) : startClientTls(plain, options)
    const mutual = options !== 'server' && options.mutual !== undefined
    this.#socket = this.#own(upgraded)
    const done = options === 'server' ? 'secure' : 'secureConnect'
    upgraded.once(done, () => this.#secured(upgraded, server, mutual))
    upgraded.resume()
  }

  end(): void {
    this.#socket.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  accepted(accept: (connection: Connection) => ConnectionHandler, implicitTls: boolean): void {
    try {
      this.handler = accept(this)
    } catch (error) {
      return this.broke('accept', error)
    }
    this.opened()
    if (!implicitTls || this.#socket.destroyed) return
    try {
      this.startTls('server')
    } catch (error) {
      this.broke('startTls', error)
    }
  }

  opened(): void {
    try {
      this.handler?.onOpen()
    } catch (error) {
      this.broke('onOpen', error)
    }
  }

  failed(error: Error): void {
    this.#error ??= error
  }

  closed(): void {
    try {
      this.handler?.onClose(this.#error)
    } catch (error) {
      reportHandlerFailure(this.#log, 'onClose', error)
    }
  }

  /** The handler threw: the connection is of no more use. */
  broke(where: string, error: unknown): void {
    const reported = reportHandlerFailure(this.#log, where, error)
    this.#error ??= reported
    this.#socket.destroy()
  }

  #secured(upgraded: tls.TLSSocket, server: ServerTls | undefined, mutual: boolean): void {
    try {
      const secured = securedBy(upgraded, server?.clients, mutual)
      if (secured instanceof Error) {
        this.failed(secured)
        upgraded.destroy()
        return
      }
      this.#secure = secured
      this.handler?.onSecure()
    } catch (error) {
      this.broke('onSecure', error)
    }
  }

  #own(socket: net.Socket): OwnedSocket {
    const owned = socket as OwnedSocket
    owned.owner = this
    owned.on('data', onData)
    owned.on('drain', onDrain)
    owned.on('end', onEnd)
    owned.on('error', onError)
    owned.on('close', onClose)
    return owned
  }
}

/** Under TLS the plain socket's events belong to node:tls; its errors reach us through the TLS socket. */
function disown(socket: OwnedSocket): void {
  socket.off('data', onData)
  socket.off('drain', onDrain)
  socket.off('end', onEnd)
  socket.off('close', onClose)
  socket.off('error', onError)
  socket.on('error', () => {})
}

function onData(this: net.Socket, chunk: Buffer): void {
  const { owner } = this as OwnedSocket
  // What a client sent along with the end of a handshake that was refused is nobody's.
  if (this.destroyed) return
  try {
    owner.handler?.onData(chunk)
  } catch (error) {
    owner.broke('onData', error)
  }
}

function onDrain(this: net.Socket): void {
  const { owner } = this as OwnedSocket
  try {
    owner.handler?.onDrain()
  } catch (error) {
    owner.broke('onDrain', error)
  }
}

function onEnd(this: net.Socket): void {
  const { owner } = this as OwnedSocket
  try {
    owner.handler?.onEnd()
  } catch (error) {
    owner.broke('onEnd', error)
  }
}

function onError(this: net.Socket, error: Error): void {
  ;(this as OwnedSocket).owner.failed(error)
}

function onClose(this: net.Socket): void {
  ;(this as OwnedSocket).owner.closed()
}

/** IPv4 clients of a dual-stack listener come as `::ffff:192.0.2.1`. */
function plainAddress(host: string): string {
  return host.startsWith('::ffff:') && host.includes('.') ? host.slice(7) : host
}
