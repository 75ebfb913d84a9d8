/** An edge over real loopback sockets, and a client that speaks SMTP to it word by word. */

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { LedgerEvent } from '../../services/contract/ledger.ts'
import { Edge } from '../../services/edge/edge.ts'
import { type Reply, ReplyReader } from '../../services/protocol/smtp/reply.ts'
import { LayoutSharedState } from '../../services/runtime/layout-shared-state.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import type { Log, TlsServerOptions } from '../../services/runtime/world.ts'
import type { Cleanup } from '../support/temporary-directory.ts'
import { smallLayout, type Variation } from './small-layout.ts'

export interface RunningEdge {
  readonly edge: Edge
  readonly port: number
  readonly ports: Readonly<Record<string, number>>
  readonly ledger: LedgerEvent[]
}

const quiet = { debug() {}, info() {}, warn() {}, error() {} }

export async function startEdge(
  test: Cleanup,
  variation: Variation,
  tls?: TlsServerOptions,
  directory = '/nowhere',
  log: Log = quiet,
): Promise<RunningEdge> {
  const ledger: LedgerEvent[] = []
  const world = systemWorld(log)
  const layout = smallLayout(variation)
  const edge = new Edge(world, layout, 'e1', {
    ledger: { record: (event) => ledger.push(event) },
    sharedState: new LayoutSharedState(world, layout, directory),
    ...(tls === undefined ? {} : { tls }),
  })
  await edge.start()
  test.after(() => edge.stop())
  const ports = Object.fromEntries(edge.state().listeners.map(({ kind, port }) => [kind, port]))
  return { edge, port: ports['smtp'] ?? 0, ports, ledger }
}

export class Client {
  #socket: Socket
  #reader = new ReplyReader()
  #waiting: ((reply: Reply | undefined) => void) | undefined
  #ended = false

  private constructor(socket: Socket) {
    this.#socket = this.#listenTo(socket)
  }

  static async open(test: Cleanup, port: number): Promise<Client> {
    const client = new Client(connect(port, '127.0.0.1'))
    test.after(() => client.destroy())
    return client
  }

  static async openTls(test: Cleanup, port: number): Promise<Client> {
    const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
    const client = new Client(socket)
    test.after(() => client.destroy())
    return client
  }

  /** Greeting and EHLO done. */
  static async greeted(test: Cleanup, port: number): Promise<Client> {
    const client = await Client.open(test, port)
    await client.reply()
    await client.ask('EHLO client.example')
    return client
  }

  send(text: string | Buffer): void {
    this.#socket.write(text as string, 'latin1')
  }

  /** The next reply; undefined when the server has closed. */
  reply(): Promise<Reply | undefined> {
    const event = this.#reader.next()
    if (event.kind === 'reply') return Promise.resolve(event.reply)
    if (this.#ended) return Promise.resolve(undefined)
    return new Promise((resolve) => {
      this.#waiting = resolve
    })
  }

  ask(line: string): Promise<Reply | undefined> {
    this.send(`${line}\r\n`)
    return this.reply()
  }

  /** One message, pipelined; the codes of MAIL, each RCPT, DATA, and the last reply. */
  async mail(
    sender: string,
    recipients: readonly string[],
    text: string,
  ): Promise<{ codes: number[]; last: Reply | undefined }> {
    const envelope = recipients.map((address) => `RCPT TO:<${address}>\r\n`).join('')
    this.send(`MAIL FROM:<${sender}>\r\n${envelope}DATA\r\n`)
    const codes: number[] = []
    for (let count = 0; count < recipients.length + 2; count++) codes.push((await this.reply())?.code ?? 0)
    if (codes.at(-1) !== 354) return { codes, last: undefined }
    this.send(`${text}\r\n.\r\n`)
    return { codes, last: await this.reply() }
  }

  async startTls(): Promise<void> {
    const plain = this.#socket
    plain.removeAllListeners('data')
    plain.removeAllListeners('end')
    plain.removeAllListeners('close')
    const secure = connectTls({ socket: plain, rejectUnauthorized: false })
    await once(secure, 'secureConnect')
    this.#socket = this.#listenTo(secure)
  }

  destroy(): void {
    this.#socket.destroy()
  }

  end(): void {
    this.#socket.end()
  }

  #listenTo(socket: Socket): Socket {
    const ended = () => {
      this.#ended = true
      this.#waiting?.(undefined)
    }
    socket.on('error', () => {})
    socket.on('end', ended)
    socket.on('close', ended)
    socket.on('data', (chunk) => {
      this.#reader.receive(chunk)
      const waiting = this.#waiting
      if (waiting === undefined) return
      const event = this.#reader.next()
      if (event.kind !== 'reply') return
      this.#waiting = undefined
      waiting(event.reply)
    })
    return socket
  }
}

/** Waits until `holds`, which throws or answers false while it does not. */
export async function eventually(holds: () => boolean, withinMs = 5000): Promise<void> {
  const end = Date.now() + withinMs
  while (!holds()) {
    if (Date.now() > end) throw new Error(`never: ${holds}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
