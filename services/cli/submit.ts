/**
 * Submitting messages to an edge as any mail program would: one SMTP connection, STARTTLS where it is offered (the edge's
 * certificate may be self-signed, so it is not checked), one message after the other.
 */

import { type ByteString, byteStringOf } from '../protocol/byte-string.ts'
import { type SmtpClientEvent, SmtpClientSession, type SmtpOutcome } from '../protocol/smtp/client-session.ts'
import { DotWriter } from '../protocol/smtp/dot-writer.ts'
import type { Connection, ConnectionHandler, Timer, World } from '../runtime/world.ts'

export interface Submission {
  readonly sender: ByteString
  /** At least one. */
  readonly recipients: readonly ByteString[]
  /** Header and text; lines end in LF or CR LF. */
  readonly message: Buffer
}

export interface SubmitTarget {
  readonly host: string
  readonly port: number
  readonly helloName: string
}

const connectTimeoutMs = 10_000
const replyTimeoutMs = 120_000

export class SubmitConnection implements ConnectionHandler {
  readonly #world: World
  readonly #target: SubmitTarget
  readonly #session: SmtpClientSession
  readonly #connection: Connection
  #timer: Timer | undefined
  #ready = false
  #current: { readonly submission: Submission; settle(outcomes: readonly SmtpOutcome[]): void } | undefined
  /** Why the connection is of no more use. */
  #broken: string | undefined

  constructor(world: World, target: SubmitTarget) {
    this.#world = world
    this.#target = target
    this.#session = new SmtpClientSession({ helloName: target.helloName, tls: 'opportunistic' })
    this.#connection = world.network.connect({ ...target, timeoutMs: connectTimeoutMs }, this)
    this.#watch()
  }

  /** One outcome per recipient, in order. Rejects where the connection is lost before the reply. One at a time. */
  send(submission: Submission): Promise<readonly SmtpOutcome[]> {
    if (this.#current !== undefined) throw new Error('one message at a time')
    return new Promise((resolve, reject) => {
      if (this.#broken !== undefined) {
        reject(new Error(this.#broken))
        return
      }
      const settle = (outcomes: readonly SmtpOutcome[]) => {
        this.#current = undefined
        if (outcomes.length === 0) reject(new Error(this.#broken ?? 'connection lost'))
        else resolve(outcomes)
      }
      this.#current = { submission, settle }
      if (this.#ready) this.#begin()
    })
  }

  quit(): void {
    this.#timer?.cancel()
    this.#session.quit()
    this.#flush()
    this.#connection.end()
  }

  onOpen(): void {
    this.#watch()
  }

  onSecure(): void {
    this.#session.secured()
    this.#pump()
  }

  onData(chunk: Buffer): void {
    this.#watch()
    this.#session.receive(chunk)
    this.#pump()
  }

  onDrain(): void {}

  onEnd(): void {
    this.#break('server closed the connection')
  }

  onClose(error: Error | undefined): void {
    this.#break(error?.message ?? 'connection lost')
  }

  #begin(): void {
    const current = this.#current
    if (current === undefined) return
    this.#ready = false
    const { sender, recipients, message } = current.submission
    const eightBit = message.some((byte) => byte > 127)
    this.#session.start({ sender, recipients, bytes: message.length, utf8: false, eightBit })
    this.#pump()
  }

  #pump(): void {
    for (let event = this.#session.next(); event.kind !== 'need-data'; event = this.#session.next()) {
      this.#flush()
      this.#take(event)
    }
    this.#flush()
  }

  #take(event: SmtpClientEvent): void {
    switch (event.kind) {
      case 'ready':
        this.#ready = true
        this.#begin()
        return
      case 'starttls':
        this.#connection.startTls({ serverName: this.#target.helloName, verify: false })
        return
      case 'send-body':
        this.#sendBody()
        return
      case 'outcomes':
        this.#current?.settle(event.outcomes)
        return
      case 'failed':
        this.#break(event.failure.text)
        return
      case 'need-data':
        return
    }
  }

  #sendBody(): void {
    const message = this.#current?.submission.message ?? Buffer.alloc(0)
    const writer = new DotWriter(message.includes('\r\n') ? 'crlf' : 'lf')
    const body = writer.write(message)
    const end = writer.finish()
    if (body === 'bare' || end === 'bare') {
      this.#break('the message has bare line ends')
      return
    }
    this.#connection.write(body)
    this.#connection.write(end)
    this.#session.bodySent()
  }

  #flush(): void {
    const output = this.#session.takeOutput()
    if (output !== '') this.#connection.write(output)
  }

  #watch(): void {
    this.#timer?.cancel()
    this.#timer = this.#world.clock.after(replyTimeoutMs, () => this.#break('no reply in time'))
  }

  #break(why: string): void {
    if (this.#broken !== undefined) return
    this.#broken = why
    this.#timer?.cancel()
    this.#session.closed(why)
    this.#connection.destroy()
    this.#current?.settle([])
  }
}

/** A small message; `\n` becomes CR LF. `headers` come after From, To, Subject and Date. */
export function composeMessage(parts: {
  readonly from: string
  readonly to: readonly string[]
  readonly subject: string
  readonly date: string
  readonly text: string
}): Buffer {
  const head = [`From: <${parts.from}>`, `To: ${parts.to.map((to) => `<${to}>`).join(', ')}`]
  const rest = [`Subject: ${parts.subject}`, `Date: ${parts.date}`, '', ...parts.text.split('\n')]
  return Buffer.from(byteStringOf(`${[...head, ...rest].join('\r\n')}\r\n`), 'latin1')
}

/** The id an edge names in its reply to the final dot. */
export function idOfReply(text: ByteString): string | undefined {
  return / qp ([0-9A-Z]{26})\b/.exec(text)?.[1]
}
