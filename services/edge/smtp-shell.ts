/**
 * One SMTP client's connection: bytes to the session core, its events to the rules, their answers back.
 *
 * One write answers one input event. Reading pauses while a decision is open and more input comes, while message bytes
 * are over the budget, and while the client does not read our replies. There is no timer here: `check` is called by the edge's sweep. An
 * idle connection holds this object, the session and the socket. A message handed over is carried to its end even when
 * the client is gone. While a TLS handshake is under way nothing can be said, so what would end a session with a farewell drops it.
 * An error that nobody foresaw ends this session only.
 */

import type { Ledger } from '../contract/ledger.ts'
import { makeTransactionId } from '../contract/transaction-id.ts'
import { displayText } from '../protocol/byte-string.ts'
import { type Reply, reply, replyText } from '../protocol/smtp/reply.ts'
import type { CloseReason, SmtpServerEvent, SmtpServerOptions } from '../protocol/smtp/server-session.ts'
import { SmtpServerSession } from '../protocol/smtp/server-session.ts'
import { reportHandlerFailure } from '../runtime/handler-failure.ts'
import type { Connection, ConnectionHandler, World } from '../runtime/world.ts'
import type { Acceptance, Client } from './acceptance.ts'
import type { BodyBudget } from './body-budget.ts'
import type { ClientLimits, ClientSlot } from './client-limits.ts'
import type { HandOver } from './hand-over.ts'
import type { HandoffVerdict } from './handoff.ts'
import { Transaction } from './transaction.ts'

/** What all connections of an edge share. */
export interface EdgeServices {
  readonly id: string
  readonly world: World
  readonly ledger: Ledger
  readonly handOver: HandOver
  readonly budget: BodyBudget
  readonly clients: ClientLimits
  /** The rules in force; replaced by a new layout. */
  readonly acceptance: Acceptance
  readonly draining: boolean
  accepted(): void
  closed(shell: SmtpShell): void
}

const replies = {
  timeout: reply(421, '4.4.2', 'timeout'),
  stopping: reply(421, '4.3.2', 'the service is stopping, try again soon'),
  crowded: reply(421, '4.7.0', 'sorry, too many connections from your network (#4.7.0)'),
  tooMuch: reply(451, '4.7.1', 'sorry, too many messages from your network, try again later (#4.7.1)'),
  busy: reply(451, '4.3.1', 'too much mail at this moment, try again soon'),
} as const

/** After our last word the client has this long to read it and close. */
const lingerMs = 5000
const lingerStoppingMs = 1000

export class SmtpShell implements ConnectionHandler {
  readonly #edge: EdgeServices
  readonly #connection: Connection
  readonly #session: SmtpServerSession
  readonly #client: Client
  readonly #greeting: Reply
  readonly #implicitTls: boolean
  readonly #openedAt: number
  #activeAt: number
  #helo = ''
  #transaction: Transaction | undefined
  /** The text of the transaction was dropped for want of room. */
  #overflowed = false
  #handingOver = false
  /** The shared state is asked about this client. */
  #asking = false
  #slot: ClientSlot | undefined
  #handshaking: boolean
  #paused = false
  #blocked = false
  #waiting = false
  #clientEnded = false
  #closing = false
  #closed = false

  constructor(
    edge: EdgeServices,
    connection: Connection,
    client: Client,
    options: SmtpServerOptions,
    greeting: Reply,
    implicitTls: boolean,
  ) {
    this.#edge = edge
    this.#connection = connection
    this.#client = client
    this.#session = new SmtpServerSession(options, implicitTls)
    this.#greeting = greeting
    this.#implicitTls = implicitTls
    this.#handshaking = implicitTls
    this.#openedAt = edge.world.clock.monotonic()
    this.#activeAt = this.#openedAt
  }

  get client(): Client {
    return this.#client
  }

  onOpen(): void {
    if (!this.#implicitTls) this.#greet()
  }

  onSecure(): void {
    if (this.#closing || this.#closed) return
    this.#handshaking = false
    if (this.#implicitTls) return this.#greet()
    this.#session.secured()
    this.#touch()
  }

  onData(chunk: Buffer): void {
    if (this.#closing) return
    this.#touch()
    const wasDeciding = this.#session.deciding
    this.#session.receive(chunk)
    if (wasDeciding && (this.#handingOver || this.#asking)) this.#setPaused()
    this.#pump()
  }

  onDrain(): void {
    this.#blocked = false
    this.#setPaused()
  }

  onEnd(): void {
    this.#clientEnded = true
    if (!this.#handingOver && !this.#asking) this.#connection.end()
  }

  onClose(): void {
    this.#closed = true
    this.#slot?.free()
    this.#edge.closed(this)
    this.#edge.budget.leave(this)
    if (!this.#handingOver) this.#dropTransaction()
  }

  /** Timeouts and the end of service. */
  check(now: number): void {
    try {
      this.#check(now)
    } catch (error) {
      this.#broke('check', error)
    }
  }

  #check(now: number): void {
    this.#slot?.check(now)
    if (this.#handingOver) return
    if (this.#handshaking && !this.#closing) return this.#checkHandshake(now)
    if (this.#closing) {
      if (now - this.#activeAt > (this.#edge.draining ? lingerStoppingMs : lingerMs)) this.#connection.destroy()
      return
    }
    const { limits } = this.#edge.acceptance.edge
    const silenceMs = this.#session.readingText ? limits.dataTimeoutMs : limits.commandTimeoutMs
    if (now - this.#activeAt > silenceMs || now - this.#openedAt > limits.sessionTimeoutMs) this.#shut(replies.timeout)
  }

  /** A client that would only be told that it is one too many gets no more time than to read that. */
  #checkHandshake(now: number): void {
    const limitMs = this.#greeting.code >= 400 ? lingerMs : this.#edge.acceptance.edge.limits.handshakeTimeoutMs
    if (now - this.#activeAt > limitMs) this.#abandon('no-handshake')
  }

  /** The service stops: a client in the middle of a message may finish it, any other is sent away. */
  stop(): void {
    if (this.#handingOver || this.#session.readingText || this.#closing) return
    if (this.#handshaking) this.#abandon('no-handshake')
    else this.#shut(replies.stopping)
  }

  destroy(): void {
    this.#connection.destroy()
  }

  roomAgain(): void {
    this.#waiting = false
    this.#setPaused()
  }

  roomDenied(): void {
    this.#overflowed = true
    this.#dropText()
    this.roomAgain()
  }

  #greet(): void {
    const slot = this.#greeting.code >= 400 ? undefined : this.#edge.clients.slotFor(this.#client)
    if (slot === undefined) return this.#greetWith(this.#greeting)
    this.#slot = slot
    this.#asking = true
    slot.take(this.#activeAt, (taken) =>
      this.#answered(() => this.#greetWith(taken ? this.#greeting : replies.crowded)),
    )
  }

  #greetWith(greeting: Reply): void {
    this.#session.greet(greeting)
    this.#pump()
  }

  /** The shared state has answered, perhaps after the client has gone or was sent away. */
  #answered(goOn: () => void): void {
    this.#asking = false
    if (this.#closed || this.#closing) return
    try {
      goOn()
      this.#setPaused()
    } catch (error) {
      this.#broke('answered', error)
    }
  }

  #touch(): void {
    this.#activeAt = this.#edge.world.clock.monotonic()
  }

  #shut(farewell: Reply): void {
    this.#session.shut(farewell)
    this.#pump()
  }

  /** Runs the session until it needs input or a decision, then writes what it has to say. */
  #pump(): void {
    let startTls = false
    for (;;) {
      const event = this.#session.next()
      if (event.kind === 'need-data') break
      if (event.kind === 'close') {
        this.#close(event.why)
        return
      }
      if (event.kind === 'starttls') {
        this.#session.accept()
        startTls = true
      } else this.#take(event)
    }
    this.#flush()
    if (startTls) {
      this.#handshaking = true
      this.#connection.startTls('server')
    } else if (this.#clientEnded && !this.#handingOver && !this.#asking) this.#connection.end()
  }

  #flush(): void {
    const output = this.#session.takeOutput()
    if (output === '' || this.#closed) return
    if (this.#connection.write(output)) return
    this.#blocked = true
    this.#setPaused()
  }

  #close(why: CloseReason): void {
    if (this.#closing) return
    this.#closing = true
    this.#dropTransaction()
    this.#flush()
    this.#logClose(why)
    this.#touch()
    this.#blocked = false
    this.#waiting = false
    this.#setPaused()
    if (!this.#closed) this.#connection.end()
  }

  /** Ends a session that can be told nothing. */
  #abandon(why: 'no-handshake'): void {
    this.#closing = true
    this.#logClose(why)
    this.#connection.destroy()
  }

  #broke(where: string, error: unknown): void {
    reportHandlerFailure(this.#edge.world.log, where, error)
    this.#connection.destroy()
  }

  #logClose(why: CloseReason | 'no-handshake'): void {
    if (why !== 'quit') this.#edge.world.log.info('session closed', { client: this.#client.address, why })
  }

  #setPaused(): void {
    const wanted = this.#blocked || this.#waiting || this.#handingOver || this.#asking
    if (wanted === this.#paused || this.#closed) return
    this.#paused = wanted
    if (wanted) this.#connection.pause()
    else this.#connection.resume()
  }

  #take(event: Exclude<SmtpServerEvent, { kind: 'need-data' | 'close' | 'starttls' }>): void {
    switch (event.kind) {
      case 'hello':
        this.#helo = event.name
        this.#dropTransaction()
        return this.#session.accept()
      case 'mail':
        return this.#mail(event)
      case 'recipient':
        return this.#recipient(event.address)
      case 'data':
        return this.#data()
      case 'body':
        return this.#body(event.chunk)
      case 'message-end':
        return this.#messageEnd()
      case 'message-refused':
        this.#record('refused', replyText(event.reply), event.bytes)
        return this.#dropTransaction()
    }
  }

  #mail(event: SmtpServerEvent & { kind: 'mail' }): void {
    this.#dropTransaction()
    const refusal = this.#edge.acceptance.mail(this.#client, event.sender, event.size)
    if (refusal !== undefined) return this.#refuse(refusal, event.sender)
    this.#transaction = new Transaction(event.sender, event.utf8)
    this.#session.accept()
  }

  #recipient(address: string): void {
    const transaction = this.#present()
    const answer = this.#edge.acceptance.recipient(this.#client, transaction.sender, address)
    if ('code' in answer) return this.#refuse(answer, transaction.sender, address)
    transaction.recipients.push(answer)
    this.#session.accept()
  }

  #data(): void {
    const transaction = this.#present()
    if (this.#edge.budget.exceeded) return this.#refuse(replies.busy, transaction.sender)
    let later = false
    this.#asking = true
    this.#edge.clients.takeMessage(this.#client, (allowed) => {
      this.#answered(() => {
        if (allowed) this.#startText(transaction)
        else this.#refuse(replies.tooMuch, transaction.sender)
        if (later) this.#pump()
      })
    })
    later = true
  }

  #startText(transaction: Transaction): void {
    const { clock, random } = this.#edge.world
    transaction.id = makeTransactionId(clock.now(), random.bytes(10))
    const address = this.#client.address
    transaction.origin = { helo: this.#helo, address, protocol: this.#protocol(transaction.utf8) }
    this.#overflowed = false
    this.#session.accept()
  }

  /** RFC 3848, RFC 6531 4.3. */
  #protocol(utf8: boolean): string {
    const base = utf8 ? 'UTF8SMTP' : this.#session.extended ? 'ESMTP' : 'SMTP'
    return this.#connection.secure === undefined || base === 'SMTP' ? base : `${base}S`
  }

  #body(chunk: Buffer): void {
    if (this.#overflowed) return
    const { budget, world } = this.#edge
    this.#present().add(chunk)
    budget.take(chunk.length)
    if (!budget.exceeded || this.#waiting) return
    this.#waiting = true
    budget.wait(this, world.clock.monotonic())
    this.#setPaused()
  }

  #messageEnd(): void {
    const transaction = this.#present()
    this.#waiting = false
    this.#edge.budget.leave(this)
    const refusal = this.#overflowed ? replies.busy : this.#edge.acceptance.message(transaction.chunks)
    if (refusal !== undefined) {
      this.#record('refused', replyText(refusal), transaction.bytes)
      this.#dropTransaction()
      return this.#session.refuse(refusal)
    }
    this.#handingOver = true
    this.#edge.handOver.begin(transaction, (verdict, to) => {
      try {
        this.#verdict(transaction, verdict, to)
      } catch (error) {
        this.#broke('verdict', error)
      }
    })
  }

  /** May come after the client has gone. */
  #verdict(transaction: Transaction, verdict: HandoffVerdict, to: string): void {
    this.#handingOver = false
    this.#touch()
    const { world } = this.#edge
    const answer =
      verdict.kind === 'accepted'
        ? reply(250, '2.0.0', `ok ${Math.floor(world.clock.now() / 1000)} qp ${transaction.id}`)
        : refusalOf(verdict)
    this.#record(verdict.kind === 'accepted' ? 'received' : 'refused', replyText(answer), transaction.bytes, to)
    if (verdict.kind === 'accepted') this.#edge.accepted()
    this.#dropTransaction()
    if (this.#closed) return
    if (verdict.kind === 'accepted') this.#session.accept(answer)
    else this.#session.refuse(answer)
    if (this.#edge.draining) this.#session.shut(replies.stopping)
    this.#pump()
    this.#setPaused()
  }

  #present(): Transaction {
    if (this.#transaction === undefined) throw new Error('no transaction is open')
    return this.#transaction
  }

  #dropText(): void {
    const transaction = this.#transaction
    if (transaction === undefined || transaction.bytes === 0) return
    const bytes = transaction.bytes
    transaction.drop()
    this.#edge.budget.release(bytes)
  }

  #dropTransaction(): void {
    this.#dropText()
    this.#transaction = undefined
  }

  #refuse(answer: Reply, sender: string, recipient = ''): void {
    this.#edge.world.log.info('refused', {
      client: this.#client.address,
      helo: this.#helo,
      sender: displayText(sender),
      recipient: displayText(recipient),
      reply: displayText(replyText(answer)),
    })
    this.#session.refuse(answer)
  }

  #record(event: 'received' | 'refused', text: string, bytes: number, to?: string): void {
    const { id, sender, recipients } = this.#present()
    this.#edge.ledger.record({
      id,
      tier: 'edge',
      instance: this.#edge.id,
      event,
      at: this.#edge.world.clock.now(),
      sender,
      recipients: recipients.map((recipient) => recipient.address),
      bytes,
      text,
      ...(to === undefined ? {} : { to }),
    })
  }
}

/** The instance's words, with the enhanced code they carry in qmail's manner, `(#5.3.4)`. */
function refusalOf(verdict: HandoffVerdict & { kind: 'refused' }): Reply {
  const permanent = verdict.class === 'permanent'
  const named = /#([45]\.[0-9]{1,3}\.[0-9]{1,3})\b/.exec(verdict.text)?.[1]
  const enhanced = named?.startsWith(permanent ? '5' : '4') === true ? named : permanent ? '5.3.0' : '4.3.0'
  return reply(permanent ? 554 : 451, enhanced, verdict.text.slice(0, textBytesMax))
}

/** A reply line stays below the 512 bytes of RFC 5321 4.5.3.1.5. */
const textBytesMax = 400
