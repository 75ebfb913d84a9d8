/**
 * An SMTP server that takes mail and remembers it: the next hop of tests. Strict about line ends, generous otherwise.
 *
 * Written apart from the software under test on purpose: a mistake in our own SMTP core must not hide itself here.
 */

import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'

export interface ReceivedMail {
  readonly sender: string
  readonly recipients: readonly string[]
  /** Dot-stuffing undone; ends in CR LF. */
  readonly data: Buffer
  /** Milliseconds, wall clock. */
  readonly at: number
}

export interface MailSinkOptions {
  /** Called before the 250. */
  received(mail: ReceivedMail): void
  /** A whole reply line for RCPT instead of 250. */
  refuse?(recipient: string): string | undefined
  /** How long the reply to the final dot is held back; a client that goes away meanwhile has not been heard. */
  pauseMs?(recipients: readonly string[]): number
  /** Called after `received`: true where the reply to the final dot is lost, with the connection. */
  unanswered?(mail: ReceivedMail): boolean
  readonly port?: number
}

const endOfData = Buffer.from('\r\n.\r\n')

export class MailSink {
  readonly port: number
  readonly #server: Server
  readonly #sockets: Set<Socket>

  private constructor(server: Server, sockets: Set<Socket>) {
    this.#server = server
    this.#sockets = sockets
    const address = server.address()
    this.port = typeof address === 'object' && address !== null ? address.port : 0
  }

  static async start(options: MailSinkOptions): Promise<MailSink> {
    const sockets = new Set<Socket>()
    const server = createServer((socket) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
      new Session(socket, options).start()
    })
    server.listen(options.port ?? 0, '127.0.0.1', 1024)
    await once(server, 'listening')
    return new MailSink(server, sockets)
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

class Session {
  readonly #socket: Socket
  readonly #options: MailSinkOptions
  #input: Buffer = Buffer.alloc(0)
  #inData = false
  #paused = false
  #sender = ''
  #recipients: string[] = []

  constructor(socket: Socket, options: MailSinkOptions) {
    this.#socket = socket
    this.#options = options
  }

  start(): void {
    this.#socket.setNoDelay(true)
    this.#socket.on('error', () => this.#socket.destroy())
    this.#socket.on('data', (chunk: Buffer) => {
      this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk])
      this.#read()
    })
    this.#answer('220 sink.example.net ESMTP')
  }

  #read(): void {
    while (!this.#paused && (this.#inData ? this.#takeData() : this.#takeLine())) {}
  }

  #answer(line: string): void {
    this.#socket.write(`${line}\r\n`, 'latin1')
  }

  #takeLine(): boolean {
    const end = this.#input.indexOf('\r\n')
    if (end < 0) return false
    const line = this.#input.toString('latin1', 0, end)
    this.#input = this.#input.subarray(end + 2)
    this.#command(line)
    return true
  }

  #command(line: string): void {
    const verb = line.slice(0, 4).toUpperCase()
    const path = line.slice(line.indexOf('<') + 1, line.lastIndexOf('>'))
    if (verb === 'EHLO') {
      this.#answer('250-sink.example.net\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES')
    } else if (verb === 'MAIL') {
      this.#sender = path
      this.#recipients = []
      this.#answer('250 2.1.0 ok')
    } else if (verb === 'RCPT') {
      const refusal = this.#options.refuse?.(path)
      if (refusal === undefined) this.#recipients.push(path)
      this.#answer(refusal ?? '250 2.1.5 ok')
    } else if (verb === 'DATA') {
      this.#inData = this.#recipients.length > 0
      this.#answer(this.#inData ? '354 go on' : '554 5.5.1 no valid recipients')
    } else if (verb === 'QUIT') {
      this.#answer('221 2.0.0 bye')
      this.#socket.end()
    } else {
      this.#answer('250 2.0.0 ok')
    }
  }

  #takeData(): boolean {
    const empty = this.#input.subarray(0, 3).equals(endOfData.subarray(2))
    const end = empty ? -2 : this.#input.indexOf(endOfData)
    if (end === -1) return false
    const data = unstuff(this.#input.subarray(0, end + 2))
    this.#input = this.#input.subarray(end + 5)
    this.#inData = false
    const pauseMs = this.#options.pauseMs?.(this.#recipients) ?? 0
    if (pauseMs === 0) this.#take(data)
    else this.#takeLater(data, pauseMs)
    return true
  }

  #takeLater(data: Buffer, pauseMs: number): void {
    this.#paused = true
    const timer = setTimeout(() => {
      this.#socket.off('close', leave)
      this.#paused = false
      this.#take(data)
      this.#read()
    }, pauseMs)
    const leave = (): void => clearTimeout(timer)
    this.#socket.once('close', leave)
  }

  #take(data: Buffer): void {
    const mail = { sender: this.#sender, recipients: this.#recipients, data, at: Date.now() }
    this.#options.received(mail)
    if (this.#options.unanswered?.(mail) === true) this.#socket.resetAndDestroy()
    else this.#answer('250 2.0.0 taken')
  }
}

/** Undoes dot-stuffing: RFC 5321 4.5.2. */
function unstuff(data: Buffer): Buffer {
  if (data[0] !== 0x2e && !data.includes('\r\n.')) return Buffer.from(data)
  const text = data.toString('latin1').replace(/^\./, '').replaceAll('\r\n.', '\r\n')
  return Buffer.from(text, 'latin1')
}
