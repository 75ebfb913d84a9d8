/**
 * Stands on the wires between processes of the cluster and loses acknowledgements: all that came with one piece vanish, and both ends find
 * their connection reset. The processes dial each other by the layout as ever; the kernel leads them here.
 *
 * Everything else passes as it is. A connection whose server is not there is reset as well.
 */

import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { directAddress, PortRedirect } from '../support/port-redirect.ts'
import type { AnswerCount } from './answers.ts'
import type { Fuse } from './fuse.ts'

export interface Wire {
  /** Where the server listens. */
  readonly port: number
  readonly fuse: Fuse
  /** For one connection. */
  readonly counter: () => AnswerCount
}

export class AnswerCutter {
  readonly #redirect: PortRedirect
  readonly #servers: readonly Server[]
  readonly #sockets: Set<Socket>

  private constructor(redirect: PortRedirect, servers: readonly Server[], sockets: Set<Socket>) {
    this.#redirect = redirect
    this.#servers = servers
    this.#sockets = sockets
  }

  static async start(wires: readonly Wire[]): Promise<AnswerCutter> {
    const sockets = new Set<Socket>()
    const servers = wires.map((wire) => createServer((client) => join(client, wire, sockets)))
    const ports = new Map<number, number>()
    for (const [index, server] of servers.entries()) {
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      const address = server.address()
      if (typeof address === 'object' && address !== null) ports.set((wires[index] as Wire).port, address.port)
    }
    return new AnswerCutter(new PortRedirect(ports), servers, sockets)
  }

  /** At most once. */
  async close(): Promise<void> {
    this.#redirect.remove()
    for (const socket of this.#sockets) socket.destroy()
    for (const server of this.#servers) {
      server.close()
      await once(server, 'close')
    }
  }
}

function join(client: Socket, { port, fuse, counter }: Wire, sockets: Set<Socket>): void {
  const server = connect({ port, host: '127.0.0.1', localAddress: directAddress })
  const count = counter()
  for (const [socket, other] of [
    [client, server],
    [server, client],
  ] as const) {
    sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => reset(other))
    socket.on('close', () => {
      sockets.delete(socket)
      other.destroySoon()
    })
    socket.on('end', () => other.end())
    socket.on('drain', () => other.resume())
  }
  client.on('data', (piece) => pass(piece, client, server))
  server.on('data', (piece) => {
    if (!fuse.blows(count(piece))) return pass(piece, server, client)
    reset(client)
    reset(server)
  })
}

/** Node cannot reset what is being shut down: it takes the handle for closed, and the process never ends. */
function reset(socket: Socket): void {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}

function pass(piece: Buffer, from: Socket, to: Socket): void {
  if (!to.write(piece)) from.pause()
}
