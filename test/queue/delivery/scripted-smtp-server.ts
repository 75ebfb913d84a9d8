/**
 * An SMTP server for tests, over a real loopback socket: answers as its script says and keeps everything it heard. It reads
 * bytes as they come, so that what the client wrote together can be seen together.
 */

import type { AddressInfo } from 'node:net'
import net from 'node:net'
import tls from 'node:tls'

export interface ServerScript {
  readonly greeting?: string
  /** Answer to EHLO; '' refuses it. */
  readonly ehlo?: string
  readonly mail?: string
  readonly rcpt?: (address: string) => string
  readonly data?: string
  /** Answer to the final dot; undefined says nothing. */
  readonly dot?: (message: number) => string | undefined
  /** Closes the connection, without an answer, at this command of the n-th transaction (from 1) of a connection. */
  readonly drop?: { readonly at: 'MAIL' | 'RCPT' | 'DATA' | 'BODY' | 'DOT' | 'OPEN'; readonly transaction: number }
  /** Only the first so many connections are dropped. */
  readonly dropsMax?: number
  readonly tls?: { readonly key: string; readonly cert: string }
  /** Said in the clear right after `220` to STARTTLS. */
  readonly injected?: string
}

export interface HeardMessage {
  readonly connection: number
  readonly secure: boolean
  readonly mail: string
  readonly recipients: readonly string[]
  readonly wire: string
}

export class ScriptedSmtpServer {
  readonly messages: HeardMessage[] = []
  /** Commands that arrived in one piece, joined by `|`. */
  readonly pieces: string[] = []
  readonly quits: number[] = []
  connections = 0
  #drops = 0
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()

  constructor(script: ServerScript = {}) {
    this.#server = net.createServer({ noDelay: true }, (socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
      socket.on('error', () => {})
      new Conversation(this, script, socket, ++this.connections)
    })
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  listen(): Promise<this> {
    return new Promise((resolve) => {
      this.#server.listen(0, '127.0.0.1', () => resolve(this))
    })
  }

  close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    return new Promise((resolve) => {
      this.#server.close(() => resolve())
    })
  }

  mayDrop(script: ServerScript): boolean {
    return this.#drops++ < (script.dropsMax ?? Infinity)
  }
}

class Conversation {
  readonly #server: ScriptedSmtpServer
  readonly #script: ServerScript
  readonly #connection: number
  #socket: net.Socket
  #input = ''
  #inData = false
  #secure = false
  #transactions = 0
  #mail = ''
  #recipients: string[] = []

  constructor(server: ScriptedSmtpServer, script: ServerScript, socket: net.Socket, connection: number) {
    this.#server = server
    this.#script = script
    this.#connection = connection
    this.#socket = socket
    if (script.drop?.at === 'OPEN' && server.mayDrop(script)) socket.destroy()
    this.#listen(socket)
    this.#say(script.greeting ?? '220 test ESMTP')
  }

  #listen(socket: net.Socket): void {
    socket.on('data', (chunk) => this.#hear(chunk.toString('latin1')))
    socket.on('end', () => socket.end())
  }

  #say(text: string): void {
    if (!this.#socket.destroyed) this.#socket.write(`${text.replaceAll('|', '\r\n')}\r\n`, 'latin1')
  }

  #hear(text: string): void {
    if (!this.#inData) this.#server.pieces.push(text.replaceAll('\r\n', '|'))
    this.#input += text
    for (;;) {
      if (this.#inData) {
        if (this.#drops('BODY') && this.#input.length > 100) return
        const end = this.#input.startsWith('.\r\n') ? 0 : this.#input.indexOf('\r\n.\r\n') + 2
        if (end === 1) return
        const wire = this.#input.slice(0, end)
        this.#input = this.#input.slice(end + 3)
        this.#endData(wire)
        continue
      }
      const end = this.#input.indexOf('\r\n')
      if (end < 0) return
      const line = this.#input.slice(0, end)
      this.#input = this.#input.slice(end + 2)
      if (!this.#command(line)) return
    }
  }

  #drops(at: string): boolean {
    const { drop } = this.#script
    if (drop?.at !== at || drop.transaction !== this.#transactions || !this.#server.mayDrop(this.#script)) return false
    this.#socket.destroy()
    return true
  }

  #endData(wire: string): void {
    this.#inData = false
    if (this.#recipients.length > 0) {
      const { recipients } = { recipients: this.#recipients }
      this.#server.messages.push({
        connection: this.#connection,
        secure: this.#secure,
        mail: this.#mail,
        recipients,
        wire,
      })
    }
    this.#recipients = []
    if (this.#drops('DOT')) return
    const answer = this.#script.dot === undefined ? '250 2.0.0 queued' : this.#script.dot(this.#server.messages.length)
    if (answer !== undefined) this.#say(answer)
  }

  #command(line: string): boolean {
    const verb = line.slice(0, 4).toUpperCase()
    if (verb === 'MAIL') this.#transactions++
    if (this.#drops(verb)) return false
    switch (verb) {
      case 'EHLO': {
        const offer = this.#script.ehlo ?? '250-test|250-PIPELINING|250 8BITMIME'
        this.#say(offer === '' ? '502 no' : this.#secure ? '250-test|250 PIPELINING' : offer)
        return true
      }
      case 'HELO':
        this.#say('250 test')
        return true
      case 'STAR':
        this.#startTls()
        return false
      case 'MAIL':
        this.#mail = line.slice(10)
        this.#recipients = []
        this.#say(this.#script.mail ?? '250 2.1.0 ok')
        return true
      case 'RCPT': {
        const answer = this.#script.rcpt?.(line.slice(8)) ?? '250 2.1.5 ok'
        if (answer.startsWith('2')) this.#recipients.push(line.slice(8))
        this.#say(answer)
        return true
      }
      case 'DATA': {
        const answer = this.#script.data ?? (this.#recipients.length > 0 ? '354 go' : '503 no recipients')
        this.#inData = answer.startsWith('354')
        this.#say(answer)
        return true
      }
      case 'QUIT':
        this.#server.quits.push(this.#connection)
        this.#say('221 bye')
        this.#socket.end()
        return false
      default:
        this.#say('250 ok')
        return true
    }
  }

  #startTls(): void {
    const context = this.#script.tls
    this.#say(`220 go${this.#script.injected ?? ''}`)
    this.#socket.removeAllListeners('data')
    if (context === undefined) {
      this.#socket.once('data', () => this.#socket.end('this is no handshake\r\n'))
      return
    }
    const secure = new tls.TLSSocket(this.#socket, { isServer: true, ...context })
    secure.on('error', () => {})
    this.#socket = secure
    this.#secure = true
    this.#listen(secure)
  }
}
