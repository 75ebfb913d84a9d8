/**
 * A small SMTP client for tests: one connection, one message at a time, commands pipelined where the server offers it.
 *
 * Like the sink it shares no code with the software under test. It never retries: what became of a message whose reply
 * did not come is for the caller to say.
 */

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export interface OutgoingMail {
  readonly sender: string
  readonly recipients: readonly string[]
  /** Lines end in CR LF; dot-stuffing is done here. */
  readonly data: Buffer
}

export interface MailReply {
  readonly code: number
  readonly text: string
}

export class MailClient {
  readonly #socket: Socket
  #input = ''
  #replies: MailReply[] = []
  #waiting: ((reply: MailReply | undefined) => void) | undefined
  #lines: string[] = []
  #pipelining = false
  #closed = false

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('latin1')
    socket.on('data', (text: string) => this.#receive(text))
    const gone = (): void => {
      this.#closed = true
      this.#waiting?.(undefined)
    }
    socket.on('close', gone)
    socket.on('error', gone)
  }

  /** Rejects unless the server greets with 220 and takes EHLO. */
  static async connect(port: number, host = '127.0.0.1'): Promise<MailClient> {
    const socket = connect({ port, host, noDelay: true })
    const client = new MailClient(socket)
    await once(socket, 'connect')
    const greeting = await client.#reply()
    if (greeting.code !== 220) throw new Error(`greeted with ${greeting.code} ${greeting.text}`)
    socket.write('EHLO client.example.net\r\n')
    const answer = await client.#reply()
    if (answer.code !== 250) throw new Error(`EHLO: ${answer.code} ${answer.text}`)
    client.#pipelining = /^PIPELINING$/m.test(answer.text)
    return client
  }

  /** The reply that decided: to the final dot, or the first refusal before it. Rejects when the connection breaks. */
  async send(mail: OutgoingMail): Promise<MailReply> {
    const recipients = mail.recipients.map((recipient) => `RCPT TO:<${recipient}>\r\n`)
    const replies = await this.#commands([`MAIL FROM:<${mail.sender}>\r\n`, ...recipients, 'DATA\r\n'])
    const ready = replies.at(-1) as MailReply
    const refusal = replies.find((reply) => reply.code >= 400)
    if (ready.code !== 354) return await this.#reset(refusal ?? ready)
    this.#socket.write(stuff(mail.data))
    this.#socket.write('.\r\n')
    return await this.#reply()
  }

  async quit(): Promise<void> {
    this.#socket.end('QUIT\r\n')
    if (!this.#closed) await once(this.#socket, 'close')
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** One reply for each command. */
  async #commands(commands: readonly string[]): Promise<MailReply[]> {
    const replies: MailReply[] = []
    if (this.#pipelining) this.#socket.write(commands.join(''), 'latin1')
    for (const command of commands) {
      if (!this.#pipelining) this.#socket.write(command, 'latin1')
      replies.push(await this.#reply())
    }
    return replies
  }

  async #reset(refusal: MailReply): Promise<MailReply> {
    this.#socket.write('RSET\r\n')
    await this.#reply()
    return refusal
  }

  async #reply(): Promise<MailReply> {
    const ready = this.#replies.shift()
    if (ready !== undefined) return ready
    if (this.#closed) throw new Error('connection closed')
    const reply = await new Promise<MailReply | undefined>((resolve) => {
      this.#waiting = resolve
    })
    if (reply === undefined) throw new Error('connection closed')
    return reply
  }

  #receive(text: string): void {
    this.#input += text
    for (let end = this.#input.indexOf('\r\n'); end >= 0; end = this.#input.indexOf('\r\n')) {
      const line = this.#input.slice(0, end)
      this.#input = this.#input.slice(end + 2)
      this.#lines.push(line.slice(4))
      if (line[3] === '-') continue
      const reply = { code: Number(line.slice(0, 3)), text: this.#lines.join('\n') }
      this.#lines = []
      const waiting = this.#waiting
      this.#waiting = undefined
      if (waiting === undefined) this.#replies.push(reply)
      else waiting(reply)
    }
  }
}

/** Dot-stuffing: RFC 5321 4.5.2. */
function stuff(data: Buffer): Buffer {
  if (data[0] !== 0x2e && !data.includes('\r\n.')) return data
  return Buffer.from(data.toString('latin1').replace(/(^|\r\n)\./g, '$1..'), 'latin1')
}
