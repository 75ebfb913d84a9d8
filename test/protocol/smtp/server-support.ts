/** Drives a server session in tests: every decision is taken at once, events and output are kept. */

import { reply } from '../../../services/protocol/smtp/reply.ts'
import {
  type SmtpServerEvent,
  type SmtpServerLimits,
  type SmtpServerOptions,
  SmtpServerSession,
} from '../../../services/protocol/smtp/server-session.ts'

export const limits: SmtpServerLimits = {
  messageBytesMax: 100_000,
  recipientsPerMessageMax: 5,
  commandLineBytesMax: 512,
  textLineBytesMax: 2000,
  messagesPerConnectionMax: 100,
  commandsWithoutMailMax: 20,
  errorsPerConnectionMax: 8,
}

export const options: SmtpServerOptions = { hostname: 'mx.example', limits, offersStartTls: true }

export interface Message {
  readonly sender: string
  readonly recipients: readonly string[]
  readonly body: string
}

export interface Transcript {
  /** Events in words, body parts of accepted messages joined. */
  readonly events: string[]
  readonly messages: Message[]
  output: string
  closed: string | undefined
}

export class Driver {
  readonly session: SmtpServerSession
  readonly transcript: Transcript = { events: [], messages: [], output: '', closed: undefined }
  #sender = ''
  #recipients: string[] = []
  #body = ''

  constructor(given: SmtpServerOptions = options, secure = false) {
    this.session = new SmtpServerSession(given, secure)
    this.session.greet(reply(220, '', 'mx.example ESMTP'))
    this.#pump()
  }

  send(text: string | Buffer): this {
    this.session.receive(Buffer.from(text as string, 'latin1'))
    this.#pump()
    return this
  }

  sendEach(text: string): this {
    for (const character of text) this.send(character)
    return this
  }

  /** Reply codes since the last call. */
  codes(): string[] {
    const lines = this.transcript.output.split('\r\n').slice(0, -1)
    this.transcript.output = ''
    return lines.filter((line) => line[3] === ' ').map((line) => line.slice(0, 3))
  }

  #pump(): void {
    for (;;) {
      const event = this.session.next()
      if (event.kind === 'need-data') break
      if (event.kind === 'close') {
        if (this.transcript.closed === undefined) this.transcript.events.push(`close ${event.why}`)
        this.transcript.closed = event.why
        break
      }
      this.#take(event)
    }
    this.transcript.output += this.session.takeOutput()
  }

  #take(event: SmtpServerEvent): void {
    switch (event.kind) {
      case 'body':
        this.#body += event.chunk.toString('latin1')
        return
      case 'message-end':
        this.transcript.messages.push({ sender: this.#sender, recipients: this.#recipients, body: this.#body })
        this.transcript.events.push(`message ${event.bytes} ${this.#body}`)
        this.#body = ''
        break
      case 'message-refused':
        this.transcript.events.push(`refused ${event.fault}`)
        this.#body = ''
        return
      case 'mail':
        this.#sender = event.sender
        this.#recipients = []
        this.transcript.events.push(`mail ${event.sender} ${event.size} ${event.utf8}`)
        break
      case 'recipient':
        this.transcript.events.push(`recipient ${event.address}`)
        if (event.address.startsWith('refuse')) return this.session.refuse(reply(550, '5.1.1', 'no'))
        this.#recipients.push(event.address)
        break
      default:
        this.transcript.events.push(JSON.stringify(event))
    }
    this.session.accept()
  }
}
