/** A QMTP server for tests over a real loopback socket, which answers packages as its script says and remembers ids. */

import type { AddressInfo } from 'node:net'
import net from 'node:net'
import { transactionIdOfReceived } from '../../../services/protocol/headers.ts'
import type { QmtpPackage } from '../../../services/protocol/qmtp.ts'
import { defaultQmtpServerLimits, encodeQmtpReply, QmtpServerReader } from '../../../services/protocol/qmtp.ts'
import { freePortRange } from '../../support/free-ports.ts'

/** `drop` closes the connection instead of an answer, `silent` says nothing, a list answers each recipient. */
export type QmtpAnswerScript = 'ok' | 'drop' | 'silent' | readonly string[]

export class FakeQmtpServer {
  readonly packages: (QmtpPackage & { readonly id: string | undefined; readonly text: string })[] = []
  connections = 0
  script: (count: number) => QmtpAnswerScript = () => 'ok'
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()

  constructor() {
    this.#server = net.createServer((socket) => this.#serve(socket))
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Not on a port the system hands out: a test that closes it counts on nobody else being there. */
  async listen(port = 0): Promise<this> {
    const own = port === 0 ? await freePortRange(1) : port
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(own, '127.0.0.1', () => resolve(this))
    })
  }

  close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    return new Promise((resolve) => {
      this.#server.close(() => resolve())
    })
  }

  #serve(socket: net.Socket): void {
    this.connections++
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => this.#sockets.delete(socket))
    const reader = new QmtpServerReader(defaultQmtpServerLimits)
    socket.on('data', (chunk) => {
      reader.receive(chunk)
      for (let event = reader.next(); event.kind !== 'need-data'; event = reader.next()) {
        if (event.kind === 'malformed') throw new Error(event.why)
        this.#answer(socket, event.package)
      }
    })
  }

  #answer(socket: net.Socket, given: QmtpPackage): void {
    const text = Buffer.concat([...given.body]).toString('latin1')
    this.packages.push({ ...given, text, id: transactionIdOfReceived(text) })
    const script = this.script(this.packages.length)
    if (script === 'drop') socket.destroy()
    else if (script !== 'silent') {
      for (const [index] of given.recipients.entries()) {
        const words = script === 'ok' ? 'Kok 1 qp 2' : script[index]!
        socket.write(encodeQmtpReply(words.charAt(0) as 'K', words.slice(1)), 'latin1')
      }
    }
  }
}
