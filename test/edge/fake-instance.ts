/** A queue instance that keeps what it is sent and answers as told. */

import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { transactionIdOfReceived } from '../../services/protocol/headers.ts'
import { defaultQmtpServerLimits, encodeQmtpReply, QmtpServerReader } from '../../services/protocol/qmtp.ts'
import { freePortRange } from '../support/free-ports.ts'
import type { Cleanup } from '../support/temporary-directory.ts'

export interface Arrival {
  readonly id: string | undefined
  readonly sender: string
  readonly recipients: readonly string[]
  readonly text: string
  readonly form: string
}

/** One letter for all recipients or one each; `drop` closes without an answer, `silent` never answers. */
export type Behaviour = (arrival: Arrival, number: number) => string

export class FakeInstance {
  readonly arrivals: Arrival[] = []
  connections = 0
  behaviour: Behaviour = () => 'K'
  #server: Server | undefined
  #port = 0
  readonly #sockets = new Set<Socket>()

  static async start(test: Cleanup, behaviour?: Behaviour): Promise<FakeInstance> {
    const instance = new FakeInstance()
    if (behaviour !== undefined) instance.behaviour = behaviour
    // Its own also while it is closed: a port the system hands out may be a stranger's by the time it opens again.
    instance.#port = await freePortRange(1)
    await instance.open()
    test.after(() => instance.close())
    return instance
  }

  get port(): number {
    return this.#port
  }

  async open(): Promise<void> {
    const server = createServer((socket) => this.#serve(socket))
    this.#server = server
    server.listen(this.#port, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (typeof address === 'object' && address !== null) this.#port = address.port
  }

  async close(): Promise<void> {
    const server = this.#server
    if (server === undefined) return
    this.#server = undefined
    server.close()
    for (const socket of this.#sockets) socket.resetAndDestroy()
    await once(server, 'close')
  }

  #serve(socket: Socket): void {
    this.connections++
    this.#sockets.add(socket)
    const reader = new QmtpServerReader(defaultQmtpServerLimits)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('data', (chunk) => {
      reader.receive(chunk)
      for (let event = reader.next(); event.kind === 'package'; event = reader.next()) {
        const { body, sender, recipients, form } = event.package
        const text = Buffer.concat([...body]).toString('latin1')
        const arrival = { id: transactionIdOfReceived(text), sender, recipients, text, form }
        this.arrivals.push(arrival)
        this.#answer(socket, arrival)
      }
    })
  }

  #answer(socket: Socket, arrival: Arrival): void {
    const behaviour = this.behaviour(arrival, this.arrivals.length - 1)
    if (behaviour === 'drop') socket.resetAndDestroy()
    else if (behaviour !== 'silent') {
      for (const [index] of arrival.recipients.entries()) {
        const letter = (behaviour[index] ?? behaviour[0]) as 'K' | 'Z' | 'D'
        socket.write(encodeQmtpReply(letter, `said ${letter} (#${letter === 'D' ? '5.1.1' : '4.3.0'})`))
      }
    }
  }
}
