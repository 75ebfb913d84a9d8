/**
 * The client's side of SMTP (RFC 5321), without a socket: `receive` bytes, ask `next` what happened, send
 * `takeOutput`.
 *
 * One transaction at a time on a connection that lasts. Rules it keeps: a recipient is delivered only by the reply
 * after the final dot; what the server said about each recipient is kept apart; where MAIL, RCPT and DATA may go out
 * together they do (RFC 2920), and DATA that was answered 354 for nobody is ended by the lone dot; nothing read in
 * the clear outlives STARTTLS (RFC 3207 4.2); no address reaches the wire that would not be read back as itself.
 * What a server's greeting, EHLO or STARTTLS refuses is the host's trouble and temporary: the mail may have another
 * host.
 *
 * The owner writes the body (`dot-writer.ts`) with its final dot when asked by `send-body`, keeps the clock, and
 * says when the connection is gone. After `failed` the session is dead and the connection must be dropped.
 */

import type { ByteString } from '../byte-string.ts'
import type { Failure } from '../failure.ts'
import { temporary } from '../failure.ts'
import { formatPath, hasHighByte } from './address.ts'
import type { ServerOffer } from './client-offer.ts'
import { nothingOffered, readOffer } from './client-offer.ts'
import type { SmtpOutcome } from './client-outcome.ts'
import { delivered, failureOfReply, hostFailure, outcomesOfTransaction } from './client-outcome.ts'
import type { Reply, ReplyLimits } from './reply.ts'
import { defaultReplyLimits, ReplyReader } from './reply.ts'

export type { SmtpOutcome } from './client-outcome.ts'

export interface SmtpClientOptions {
  readonly helloName: ByteString
  /** `opportunistic`: STARTTLS where it is offered, the clear where it is not. */
  readonly tls: 'never' | 'opportunistic' | 'required'
  readonly replyLimits?: ReplyLimits
}

export interface SmtpTransaction {
  readonly sender: ByteString
  /** At least one. */
  readonly recipients: readonly ByteString[]
  /** The size of the message as stored, declared where SIZE is offered (RFC 1870). */
  readonly bytes: number
  /** True where the header needs SMTPUTF8; what addresses need is seen here. */
  readonly utf8: boolean
  /** True where the body may hold bytes above 127. To a server without 8BITMIME it goes all the same, as qmail does. */
  readonly eightBit: boolean
}

/** Where a session stands; each waiting stage has its timeout (RFC 5321 4.5.3.2). */
export type SmtpStage =
  | 'greeting'
  | 'hello'
  | 'starttls'
  | 'securing'
  | 'ready'
  | 'envelope'
  | 'body'
  | 'final-dot'
  | 'quitting'
  | 'dead'

export type SmtpClientEvent =
  | { readonly kind: 'need-data' }
  /** Send what is waiting, begin TLS, then call `secured`. */
  | { readonly kind: 'starttls' }
  /** `start` or `quit` may be called. */
  | { readonly kind: 'ready' }
  /** Write the whole body and its final dot, then call `bodySent`. */
  | { readonly kind: 'send-body' }
  /** One per recipient of the transaction, in order. */
  | { readonly kind: 'outcomes'; readonly outcomes: readonly SmtpOutcome[] }
  /**
   * `unanswered`: a transaction was begun and MAIL was never answered, so nothing of it was transferred and it has no outcomes:
   * it may be begun again elsewhere. Otherwise outcomes, where any were owed, came before.
   */
  | { readonly kind: 'failed'; readonly stage: SmtpStage; readonly failure: Failure; readonly unanswered: boolean }

const needData: SmtpClientEvent = { kind: 'need-data' }
const ready: SmtpClientEvent = { kind: 'ready' }
const sendBody: SmtpClientEvent = { kind: 'send-body' }
const startTls: SmtpClientEvent = { kind: 'starttls' }

/** One MAIL with the recipients that go with it; a server's RCPTMAX (RFC 9422) makes several of one transaction. */
interface Round {
  /** Indexes into the transaction's recipients. */
  readonly recipients: readonly number[]
  readonly commands: readonly ByteString[]
  /** Commands that come before the first RCPT: RSET, where the last transaction broke off, and MAIL. */
  readonly leading: number
  sent: number
  answered: number
  accepted: number
  refusal: Failure | undefined
  /** 354 came although no recipient was accepted; the lone dot was sent. */
  forNobody: boolean
}

export class SmtpClientSession {
  readonly #options: SmtpClientOptions
  #reader: ReplyReader
  #stage: SmtpStage = 'greeting'
  #output: ByteString = ''
  #events: SmtpClientEvent[] = []
  #offer: ServerOffer = nothingOffered
  #secure = false
  #saidHelo = false
  #resetFirst = false
  #transaction: SmtpTransaction | undefined
  #outcomes: (SmtpOutcome | undefined)[] = []
  #waiting: number[] = []
  #round: Round | undefined
  #mailAnswered = false
  #replies = 0

  constructor(options: SmtpClientOptions) {
    this.#options = options
    this.#reader = new ReplyReader(options.replyLimits ?? defaultReplyLimits)
  }

  get stage(): SmtpStage {
    return this.#stage
  }

  /** Whole replies read so far; part of a reply is no progress. */
  get replies(): number {
    return this.#replies
  }

  /** What the server offered in its last answer to EHLO. */
  get offer(): ServerOffer {
    return this.#offer
  }

  receive(chunk: Buffer): void {
    if (this.#stage === 'dead' || this.#stage === 'quitting') return
    if (this.#stage === 'securing') return this.#fail(hostFailure('4.7.5', 'server spoke in the clear after STARTTLS'))
    this.#reader.receive(chunk)
  }

  next(): SmtpClientEvent {
    for (;;) {
      const event = this.#events.shift()
      if (event !== undefined) return event
      if (this.#stage === 'dead' || this.#stage === 'quitting' || this.#stage === 'securing') return needData
      const read = this.#reader.next()
      if (read.kind === 'need-data') return needData
      if (read.kind === 'malformed') this.#fail(hostFailure('4.5.0', `server broke the protocol: ${read.why}`))
      else {
        this.#replies++
        this.#onReply(read.reply)
      }
    }
  }

  takeOutput(): ByteString {
    const output = this.#output
    this.#output = ''
    return output
  }

  /** Begins a transaction; only after `ready`. */
  start(transaction: SmtpTransaction): void {
    if (this.#stage !== 'ready' || this.#transaction !== undefined)
      throw new Error('a transaction begins only when ready')
    this.#transaction = transaction
    this.#mailAnswered = false
    const refused = outcomesOfTransaction(transaction, this.#offer)
    this.#outcomes = refused
    this.#waiting = []
    for (let index = 0; index < refused.length; index++) if (refused[index] === undefined) this.#waiting.push(index)
    this.#nextRound()
  }

  /** The body and its final dot have been written. */
  bodySent(): void {
    if (this.#stage === 'body') this.#stage = 'final-dot'
  }

  /** The body cannot be finished; the connection must be dropped so that the server throws the half away. */
  bodyBroken(failure: Failure): void {
    this.#fail(failure)
  }

  /** TLS is up: begins again with EHLO, knowing nothing (RFC 3207 4.2). */
  secured(): void {
    if (this.#stage !== 'securing') throw new Error('TLS was not asked for')
    this.#secure = true
    this.#reader = new ReplyReader(this.#options.replyLimits ?? defaultReplyLimits)
    this.#offer = nothingOffered
    this.#sayHello()
  }

  /** Says QUIT; its reply is not waited for. Only when no transaction is running. */
  quit(): void {
    if (this.#stage === 'dead') return
    this.#stage = 'quitting'
    this.#output += 'QUIT\r\n'
  }

  /** The connection is gone, or the owner's patience is; `why` is one safe line. */
  closed(why: string): void {
    if (this.#stage === 'dead' || this.#stage === 'quitting') return
    const duplicate = this.#stage === 'final-dot' ? '; the message may have arrived, a duplicate is possible' : ''
    this.#fail(hostFailure('4.4.2', `${why}${duplicate}`))
  }

  #onReply(reply: Reply): void {
    if (reply.code === 421) return this.#onClosing(reply)
    switch (this.#stage) {
      case 'greeting':
        return reply.code === 220 ? this.#sayHello() : this.#fail(hostFailureOf(reply, 'greeting'))
      case 'hello':
        return this.#onHello(reply)
      case 'starttls':
        return this.#onStartTls(reply)
      case 'envelope':
        return this.#onEnvelope(this.#round!, reply)
      case 'body':
        return this.#fail(failureOfReply(reply, 'answered in the middle of the message'))
      case 'final-dot':
        return this.#onFinalDot(this.#round!, reply)
      default:
        return this.#fail(hostFailureOf(reply, 'unasked reply'))
    }
  }

  /** RFC 5321 3.8: the server closes after 421, whatever was asked. */
  #onClosing(reply: Reply): void {
    this.#fail(failureOfReply(reply))
  }

  #sayHello(): void {
    this.#stage = 'hello'
    this.#saidHelo = false
    this.#output += `EHLO ${this.#options.helloName}\r\n`
  }

  #onHello(reply: Reply): void {
    if (reply.code >= 500 && !this.#saidHelo) {
      this.#saidHelo = true
      this.#output += `HELO ${this.#options.helloName}\r\n`
      return
    }
    if (reply.code !== 250) return this.#fail(hostFailureOf(reply, 'hello'))
    this.#offer = this.#saidHelo ? nothingOffered : readOffer(reply)
    if (!this.#secure && this.#options.tls !== 'never' && this.#offer.startTls) {
      this.#stage = 'starttls'
      this.#output += 'STARTTLS\r\n'
      return
    }
    if (!this.#secure && this.#options.tls === 'required')
      return this.#fail(hostFailure('4.7.4', 'TLS is required here and the server does not offer it'))
    this.#becomeReady()
  }

  #onStartTls(reply: Reply): void {
    if (reply.code !== 220) {
      if (this.#options.tls === 'required') return this.#fail(hostFailureOf(reply, 'STARTTLS'))
      return this.#becomeReady()
    }
    if (this.#reader.bufferedBytes > 0)
      return this.#fail(hostFailure('4.7.5', 'server spoke in the clear after STARTTLS'))
    this.#stage = 'securing'
    this.#events.push(startTls)
  }

  #becomeReady(): void {
    this.#stage = 'ready'
    this.#events.push(ready)
  }

  /** Sends as many waiting recipients as one MAIL may carry, or ends the transaction. */
  #nextRound(): void {
    const transaction = this.#transaction
    if (transaction === undefined) return
    if (this.#waiting.length === 0) return this.#finish()
    const recipients = this.#waiting.slice(0, this.#offer.recipientsMax)
    this.#waiting = this.#waiting.slice(recipients.length)
    const commands = [mailCommand(transaction, recipients, this.#offer)]
    for (const index of recipients) commands.push(`RCPT TO:${formatPath(transaction.recipients[index]!)}\r\n`)
    commands.push('DATA\r\n')
    if (this.#resetFirst) commands.unshift('RSET\r\n')
    const leading = this.#resetFirst ? 2 : 1
    this.#resetFirst = false
    this.#round = {
      recipients,
      commands,
      leading,
      sent: 0,
      answered: 0,
      accepted: 0,
      refusal: undefined,
      forNobody: false,
    }
    this.#stage = 'envelope'
    this.#sendCommands(this.#round)
  }

  #sendCommands(round: Round): void {
    const upTo = this.#offer.pipelining ? round.commands.length : round.sent + 1
    while (round.sent < upTo) this.#output += round.commands[round.sent++]!
  }

  #onEnvelope(round: Round, reply: Reply): void {
    const command = round.answered++
    if (command === round.commands.length - 1) return this.#onData(round, reply)
    if (command < round.leading) this.#onMail(round, reply)
    else this.#onRecipient(round, round.recipients[command - round.leading]!, reply)
    if (this.#offer.pipelining || this.#stage === 'dead') return
    const hopeless = round.refusal !== undefined || (command === round.commands.length - 2 && round.accepted === 0)
    if (hopeless) return this.#endRound(round, round.refusal === undefined)
    this.#sendCommands(round)
  }

  /** RSET or MAIL. A refused MAIL counts for every recipient of the round; a server that refuses RSET is broken. */
  #onMail(round: Round, reply: Reply): void {
    if (round.answered < round.leading) {
      if (!isPositive(reply)) this.#fail(hostFailureOf(reply, 'RSET'))
      return
    }
    this.#mailAnswered = true
    if (!isPositive(reply)) round.refusal = failureOfReply(reply)
  }

  #onRecipient(round: Round, index: number, reply: Reply): void {
    if (round.refusal !== undefined) return
    if (isPositive(reply)) round.accepted++
    else this.#outcomes[index] = { kind: 'failed', failure: failureOfReply(reply) }
  }

  #onData(round: Round, reply: Reply): void {
    if (reply.code === 354) {
      if (round.accepted > 0 && round.refusal === undefined) {
        this.#stage = 'body'
        this.#events.push(sendBody)
        return
      }
      round.forNobody = true
      this.#output += '.\r\n'
      this.#stage = 'final-dot'
      return
    }
    round.refusal ??= failureOfReply(reply)
    this.#endRound(round, true)
  }

  #onFinalDot(round: Round, reply: Reply): void {
    if (!round.forNobody) {
      const outcome = isPositive(reply) ? delivered(reply) : undefined
      if (outcome === undefined) round.refusal ??= failureOfReply(reply)
      else for (const index of round.recipients) this.#outcomes[index] ??= outcome
    }
    this.#endRound(round, false)
  }

  /** `open`: the server may still hold the envelope of this round. */
  #endRound(round: Round, open: boolean): void {
    if (round.refusal !== undefined) this.#settle(round.recipients, round.refusal)
    this.#resetFirst = open
    this.#round = undefined
    this.#nextRound()
  }

  #settle(recipients: readonly number[], failure: Failure): void {
    const outcome: SmtpOutcome = { kind: 'failed', failure }
    for (const index of recipients) this.#outcomes[index] ??= outcome
  }

  #finish(): void {
    this.#giveOutcomes()
    this.#becomeReady()
  }

  #giveOutcomes(): void {
    const broken: SmtpOutcome = {
      kind: 'failed',
      failure: temporary('self', '4.3.0', 'recipient left without an answer'),
    }
    const outcomes = this.#outcomes.map((outcome) => outcome ?? broken)
    this.#transaction = undefined
    this.#outcomes = []
    this.#events.push({ kind: 'outcomes', outcomes })
  }

  #fail(failure: Failure): void {
    if (this.#stage === 'dead') return
    const stage = this.#stage
    const unanswered = this.#transaction !== undefined && !this.#mailAnswered
    this.#stage = 'dead'
    this.#round = undefined
    if (this.#transaction !== undefined && !unanswered) {
      this.#settle([...this.#outcomes.keys()], failure)
      this.#giveOutcomes()
    }
    this.#transaction = undefined
    this.#events.push({ kind: 'failed', stage, failure, unanswered })
  }
}

function isPositive(reply: Reply): boolean {
  return reply.code >= 200 && reply.code <= 299
}

/** What a host refuses about itself says nothing about the mail: temporary, whatever its code. */
function hostFailureOf(reply: Reply, to: string): Failure {
  const failure = failureOfReply(reply)
  return temporary('peer', `4${failure.enhanced.slice(1)}`, `${to} was answered ${failure.text}`)
}

function mailCommand(transaction: SmtpTransaction, recipients: readonly number[], offer: ServerOffer): ByteString {
  let command = `MAIL FROM:${formatPath(transaction.sender)}`
  if (offer.size) command += ` SIZE=${transaction.bytes}`
  if (transaction.eightBit && offer.eightBitMime) command += ' BODY=8BITMIME'
  if (offer.smtpUtf8 && needsUtf8(transaction, recipients)) command += ' SMTPUTF8'
  return `${command}\r\n`
}

function needsUtf8(transaction: SmtpTransaction, recipients: readonly number[]): boolean {
  if (transaction.utf8 || hasHighByte(transaction.sender)) return true
  return recipients.some((index) => hasHighByte(transaction.recipients[index]!))
}
