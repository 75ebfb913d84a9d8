/**
 * The channel between `qmq` commands and a running cluster: a Unix socket, one JSON text per line (what
 * JSON.stringify writes contains no line feed), readable by the cluster's own user alone.
 *
 * A line past `messageBytesMax` or one that is not a JSON object closes the connection; what the object says is for the hub to
 * judge. The hub's end waits for nobody who does not read. A socket file nobody listens on, left
 * by a kill, is removed by the next hub; the caller holds the state's lock, so nobody else can be listening.
 */

import fs from 'node:fs'
import net from 'node:net'
import process from 'node:process'
import { errorText } from '../protocol/failure.ts'
import type { ClientChannel, HubChannel, MessageChannel } from './embedded-message.ts'
import { shortSocketPath } from './socket-path.ts'

const messageBytesMax = 16 * 1024 * 1024
/** Bytes waiting for one slow reader before it is cut off. */
const backlogBytesMax = 64 * 1024 * 1024

/** Of the hub, in the state directory. */
export const socketName = 'qmq.sock'

export interface HubListener {
  close(): Promise<void>
}

/** Rejects with the system's error, or with ENAMETOOLONG. */
export function listenForClients(file: string, attach: (channel: HubChannel) => void): Promise<HubListener> {
  const short = shortSocketPath(file)
  fs.rmSync(file, { force: true })
  const sockets = new Set<net.Socket>()
  const server = net.createServer((socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    attach(new LineChannel(socket) as HubChannel)
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    // The file is made inside `listen`; its mode comes from the mask alone.
    const mask = process.umask(0o177)
    try {
      server.listen(short, () => {
        server.off('error', reject)
        server.on('error', () => {})
        resolve({ close: () => closeServer(server, sockets) })
      })
    } finally {
      process.umask(mask)
    }
  })
}

/** A hub that is not there closes the channel at once. Throws where the path can never be a socket's. */
export function dialHub(file: string): ClientChannel {
  return new LineChannel(net.connect({ path: shortSocketPath(file) })) as ClientChannel
}

function closeServer(server: net.Server, sockets: ReadonlySet<net.Socket>): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    for (const socket of sockets) socket.destroy()
  })
}

class LineChannel implements MessageChannel<unknown, never> {
  readonly #socket: net.Socket
  /** Parts of a line whose end has not arrived. */
  #parts: Buffer[] = []
  #partBytes = 0

  constructor(socket: net.Socket) {
    this.#socket = socket
    socket.on('error', () => {})
  }

  open(heard: (message: never) => void, closed: () => void): void {
    this.#socket.on('data', (chunk) => this.#receive(chunk, heard))
    this.#socket.on('close', () => closed())
  }

  send(message: unknown): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) return
    this.#socket.write(`${JSON.stringify(message)}\n`)
    if (this.#socket.writableLength > backlogBytesMax) this.#socket.destroy()
  }

  close(): void {
    this.#socket.destroySoon()
  }

  #receive(chunk: Buffer, heard: (message: never) => void): void {
    let start = 0
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      this.#parts.push(chunk.subarray(start, end))
      const line = Buffer.concat(this.#parts).toString('utf8')
      this.#parts = []
      this.#partBytes = 0
      start = end + 1
      const message = parseMessage(line)
      if (message instanceof Error) {
        this.#socket.destroy(message)
        return
      }
      heard(message as never)
    }
    if (start === chunk.length) return
    this.#parts.push(chunk.subarray(start))
    this.#partBytes += chunk.length - start
    if (this.#partBytes > messageBytesMax) this.#socket.destroy(new Error('a message is too long'))
  }
}

function parseMessage(line: string): object | Error {
  try {
    const message: unknown = JSON.parse(line)
    if (typeof message === 'object' && message !== null && !Array.isArray(message)) return message
    return new Error('a message is not an object')
  } catch (error) {
    return new Error(errorText(error))
  }
}
