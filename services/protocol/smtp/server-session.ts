/**
 * The server's side of SMTP, RFC 5321, without sockets, clocks or policy.
 *
 * The owner calls `receive` with bytes and `next` until it answers `need-data` or `close`. Events that ask for a decision
 * (hello, mail, recipient, data, message-end, starttls) stop the session until `accept` or `refuse`; meanwhile input only waits.
 * Replies gather in `takeOutput`, so that one write answers a whole pipelined group (RFC 2920 3.2).
 *
 * What is wrong by grammar or order is answered here and never reaches the owner. Extensions offered: PIPELINING, SIZE,
 * 8BITMIME, SMTPUTF8, ENHANCEDSTATUSCODES, LIMITS RCPTMAX, STARTTLS where there is a certificate. A parameter of any other is refused with 555
 * (RFC 5321 4.1.1.11). Any cutting of the input gives the same events, neighbouring body parts joined.
 *
 * A text with a bare CR, a bare LF or NUL is refused after its real end and the connection closed, and so is a command line
 * that has one: nothing that could be read in two ways is followed by anything.
 */

import type { ByteString } from '../byte-string.ts'
import { DotReader, type TextFault } from './dot-reader.ts'
import { type MailArgument, type RecipientArgument, readMailArgument, readRecipientArgument } from './mail-argument.ts'
import { formatReply, type Reply, reply } from './reply.ts'
import { faultReplies, replies } from './server-replies.ts'
import { type State, stepOf, type Verb, verbOf } from './server-states.ts'

export interface SmtpServerLimits {
  readonly messageBytesMax: number
  readonly recipientsPerMessageMax: number
  readonly commandLineBytesMax: number
  readonly textLineBytesMax: number
  readonly messagesPerConnectionMax: number
  readonly commandsWithoutMailMax: number
  readonly errorsPerConnectionMax: number
}

/** Shared by all sessions of a listener. */
export interface SmtpServerOptions {
  /** The name in greeting and EHLO. */
  readonly hostname: ByteString
  readonly limits: SmtpServerLimits
  readonly offersStartTls: boolean
}

export type SmtpServerEvent =
  | { readonly kind: 'need-data' }
  | { readonly kind: 'hello'; readonly verb: 'HELO' | 'EHLO'; readonly name: ByteString }
  | MailArgument
  | RecipientArgument
  /** The transaction has recipients and the client waits for 354. */
  | { readonly kind: 'data' }
  /** Text of the message, lines ending in CR LF, dots removed. The buffer is part of a received chunk. */
  | { readonly kind: 'body'; readonly chunk: Buffer }
  | { readonly kind: 'message-end'; readonly bytes: number }
  /** As `message-end`, but the text was faulty and has been refused with `reply`; no decision is asked. */
  | { readonly kind: 'message-refused'; readonly fault: TextFault; readonly bytes: number; readonly reply: Reply }
  /** `accept` writes 220; the owner sends it, starts TLS, and calls `secured` when it is up. */
  | { readonly kind: 'starttls' }
  /** Nothing more will be read. The owner writes what is left of the output and ends the connection. */
  | { readonly kind: 'close'; readonly why: CloseReason }

export type CloseReason =
  | 'quit'
  | 'refused'
  | 'unsafe-text'
  | 'unsafe-command'
  | 'endless-line'
  | 'plaintext-after-starttls'
  | 'too-many-errors'
  | 'too-many-commands'
  | 'too-many-messages'
  | 'input-flood'

/** A decision that has not been taken: the event that asks for it. */
type Question = 'greeting' | 'hello' | 'mail' | 'recipient' | 'data' | 'message-end' | 'starttls' | 'tls'

const needData: SmtpServerEvent = { kind: 'need-data' }
const dataEvent: SmtpServerEvent = { kind: 'data' }
const startTlsEvent: SmtpServerEvent = { kind: 'starttls' }

const lineFeed = 10

/** A line this many times over its limit is no client's mistake. */
const endlessLineFactor = 16
/** Input that may wait while a decision is taken; an owner that pauses reading never comes near. */
const waitingBytesMax = 1024 * 1024

export class SmtpServerSession {
  readonly #options: SmtpServerOptions
  #state: State = 'new'
  #question: Question | undefined = 'greeting'
  #secure: boolean
  #closed: CloseReason | undefined
  #earlyTalker = false
  #extended = false
  #utf8 = false

  #output: ByteString = ''
  /** The chunk being read, the bytes of it already used, and those that came after it. */
  #chunk: Buffer | undefined
  #position = 0
  #waiting: Buffer[] | undefined
  #waitingBytes = 0
  /** A command line cut by the end of a chunk. */
  #partial: ByteString = ''
  #skipping = 0
  #dots: DotReader | undefined

  #recipientsSeen = 0
  #recipients = 0
  #messages = 0
  #commandsWithoutMail = 0
  #errors = 0

  /** `secure`: TLS was up before the greeting. */
  constructor(options: SmtpServerOptions, secure: boolean) {
    this.#options = options
    this.#secure = secure
  }

  /** Output not yet taken is lost with the session; take it after each run of `next`. */
  takeOutput(): ByteString {
    const output = this.#output
    this.#output = ''
    return output
  }

  /** True while an event waits for its decision. */
  get deciding(): boolean {
    return this.#question !== undefined
  }

  /** True between 354 and the end of the text. */
  get readingText(): boolean {
    return this.#state === 'text' && this.#question === undefined
  }

  /** The client spoke before the greeting. */
  get earlyTalker(): boolean {
    return this.#earlyTalker
  }

  /** True once the client has said EHLO rather than HELO. */
  get extended(): boolean {
    return this.#extended
  }

  /** Received bytes that are held and not yet read. */
  get bufferedBytes(): number {
    return (
      (this.#chunk === undefined ? 0 : this.#chunk.length - this.#position) + this.#waitingBytes + this.#partial.length
    )
  }

  /** The first reply. A code of 4yz or 5yz closes. */
  greet(greeting: Reply): void {
    this.#answered('greeting')
    this.#output += formatReply(greeting)
    if (greeting.code >= 400) this.#close('refused')
  }

  receive(chunk: Buffer): void {
    if (this.#closed !== undefined || chunk.length === 0) return
    if (this.#question === 'greeting') this.#earlyTalker = true
    if (this.#question === 'tls') return this.#close('plaintext-after-starttls')
    if (this.#chunk === undefined) {
      this.#chunk = chunk
      this.#position = 0
      return
    }
    this.#waiting ??= []
    this.#waiting.push(chunk)
    this.#waitingBytes += chunk.length
    if (this.#waitingBytes > waitingBytesMax) this.#close('input-flood')
  }

  next(): SmtpServerEvent {
    for (;;) {
      if (this.#closed !== undefined) return { kind: 'close', why: this.#closed }
      if (this.#question !== undefined) return needData
      const chunk = this.#chunk
      if (chunk === undefined) return needData
      const event = this.#state === 'text' ? this.#readText(chunk) : this.#readCommand(chunk)
      if (event !== undefined) return event
    }
  }

  /** Takes the open decision; `answer` replaces the usual reply. */
  accept(answer?: Reply): void {
    const question = this.#question
    this.#answered(question)
    switch (question) {
      case 'hello':
        this.#state = 'ready'
        this.#output += answer === undefined ? this.#helloReply() : formatReply(answer)
        return
      case 'mail':
        this.#state = 'mail'
        this.#recipientsSeen = 0
        this.#recipients = 0
        return this.#write(answer ?? replies.senderOk)
      case 'recipient':
        this.#recipients++
        return this.#write(answer ?? replies.recipientOk)
      case 'data':
        this.#state = 'text'
        this.#dots ??= new DotReader(this.#options.limits)
        this.#dots.reset()
        return this.#write(answer ?? replies.goAhead)
      case 'message-end':
        this.#state = 'ready'
        this.#messages++
        this.#commandsWithoutMail = 0
        this.#errors = 0
        return this.#write(answer ?? replies.ok)
      case 'starttls':
        this.#question = 'tls'
        return this.#write(answer ?? replies.startTls)
    }
  }

  /** Takes the open decision the other way. Code 421 closes (RFC 5321 3.8). */
  refuse(answer: Reply): void {
    const question = this.#question
    this.#answered(question)
    if (question === 'message-end') this.#state = 'ready'
    if (question === 'data') this.#state = 'ready'
    this.#complain(answer)
    if (answer.code === 421) this.#close('refused')
  }

  /** TLS is up: everything learnt before is forgotten, RFC 3207 4.2. */
  secured(): void {
    this.#answered('tls')
    this.#state = 'new'
    this.#extended = false
    this.#secure = true
    this.#partial = ''
  }

  /** Ends the session from outside: the reply is written, nothing more is read. */
  shut(farewell: Reply): void {
    if (this.#closed !== undefined) return
    this.#write(farewell)
    this.#close('refused')
  }

  #answered(question: Question | undefined): void {
    if (question === undefined || this.#question !== question) throw new Error('no such decision is open')
    this.#question = undefined
  }

  #ask(question: Question, event: SmtpServerEvent): SmtpServerEvent {
    this.#question = question
    return event
  }

  #write(answer: Reply): void {
    this.#output += formatReply(answer)
  }

  /** A refusal. One of 5yz counts as an error of the client; 4yz is our own trouble, as in RFC 5321 4.5.3.1.10. */
  #complain(answer: Reply): void {
    this.#write(answer)
    if (answer.code < 500) return
    this.#errors++
    if (this.#errors <= this.#options.limits.errorsPerConnectionMax) return
    this.#write(replies.tooManyErrors)
    this.#close('too-many-errors')
  }

  #close(why: CloseReason): void {
    this.#closed ??= why
    this.#question = undefined
    this.#chunk = undefined
    this.#waiting = undefined
    this.#waitingBytes = 0
    this.#partial = ''
  }

  #helloReply(): ByteString {
    const { hostname, limits, offersStartTls } = this.#options
    if (!this.#extended) return formatReply(reply(250, '', hostname))
    const lines = [
      hostname,
      'PIPELINING',
      `SIZE ${limits.messageBytesMax}`,
      '8BITMIME',
      'SMTPUTF8',
      'ENHANCEDSTATUSCODES',
      `LIMITS RCPTMAX=${limits.recipientsPerMessageMax}`,
    ]
    if (offersStartTls && !this.#secure) lines.push('STARTTLS')
    return formatReply({ code: 250, lines })
  }

  /** Goes on to the next chunk that waits. */
  #advance(): void {
    this.#chunk = this.#waiting?.shift()
    this.#position = 0
    this.#waitingBytes -= this.#chunk?.length ?? 0
    if (this.#waiting?.length === 0) this.#waiting = undefined
  }

  #readText(chunk: Buffer): SmtpServerEvent | undefined {
    const dots = this.#dots as DotReader
    const part = dots.read(chunk, this.#position)
    this.#position = dots.position
    if (this.#position === chunk.length) this.#advance()
    if (part !== undefined) return { kind: 'body', chunk: part }
    if (!dots.ended) return undefined
    const bytes = dots.bytes
    if (dots.fault === undefined) return this.#ask('message-end', { kind: 'message-end', bytes })
    return this.#refuseText(dots.fault, bytes)
  }

  #refuseText(fault: TextFault, bytes: number): SmtpServerEvent {
    const answer = faultReplies[fault]
    this.#state = 'ready'
    this.#complain(answer)
    if (fault === 'bare-cr' || fault === 'bare-lf' || fault === 'nul') this.#close('unsafe-text')
    return { kind: 'message-refused', fault, bytes, reply: answer }
  }

  /** Reads one command line, or what there is of it. */
  #readCommand(chunk: Buffer): SmtpServerEvent | undefined {
    const end = chunk.indexOf(lineFeed, this.#position)
    const stop = end < 0 ? chunk.length : end + 1
    const bytes = this.#partial.length + this.#skipping + stop - this.#position
    const tooLong = bytes > this.#options.limits.commandLineBytesMax
    if (bytes > this.#options.limits.commandLineBytesMax * endlessLineFactor) {
      this.#write(replies.lineTooLong)
      this.#close('endless-line')
      return undefined
    }
    const line = tooLong ? '' : this.#partial + chunk.toString('latin1', this.#position, stop)
    this.#partial = end < 0 ? line : ''
    this.#skipping = end < 0 && tooLong ? bytes : 0
    this.#position = stop
    if (stop === chunk.length) this.#advance()
    if (end < 0) return undefined
    if (tooLong) {
      this.#complain(replies.lineTooLong)
      return undefined
    }
    return this.#runLine(line)
  }

  #runLine(line: ByteString): SmtpServerEvent | undefined {
    const end = line.length - 2
    if (line.indexOf('\r') !== end || line.indexOf('\0') >= 0) {
      this.#write(replies.badBytes)
      this.#close('unsafe-command')
      return undefined
    }
    const space = line.indexOf(' ')
    const verb = verbOf(space < 0 ? line.slice(0, end) : line.slice(0, space))
    const argument = space < 0 ? '' : line.slice(space + 1, end)
    if (verb !== 'MAIL' && verb !== 'RCPT' && verb !== 'DATA' && verb !== 'QUIT' && !this.#countCommand())
      return undefined
    const step = stepOf(this.#state, verb)
    if (step !== 'run') {
      this.#complain(replies[step])
      return undefined
    }
    return this.#run(verb, argument.trim())
  }

  /** False: one command too many, the session is closed. */
  #countCommand(): boolean {
    this.#commandsWithoutMail++
    if (this.#commandsWithoutMail <= this.#options.limits.commandsWithoutMailMax) return true
    this.#write(replies.tooManyCommands)
    this.#close('too-many-commands')
    return false
  }

  #run(verb: Verb, argument: ByteString): SmtpServerEvent | undefined {
    switch (verb) {
      case 'HELO':
      case 'EHLO':
        return this.#hello(verb, argument)
      case 'MAIL':
        return this.#mail(argument)
      case 'RCPT':
        return this.#recipient(argument)
      case 'DATA':
        return this.#data(argument)
      case 'STARTTLS':
        return this.#startTls(argument)
      case 'QUIT':
        this.#write(reply(221, '2.0.0', this.#options.hostname))
        this.#close('quit')
        return undefined
      case 'RSET':
        if (this.#state !== 'new') this.#state = 'ready'
        this.#write(replies.ok)
        return undefined
      case 'NOOP':
        this.#write(replies.ok)
        return undefined
      case 'HELP':
        this.#write(replies.help)
        return undefined
      case 'VRFY':
        if (argument === '') this.#complain(replies.argument)
        else this.#write(replies.noVerify)
        return undefined
      case 'unknown':
        this.#complain(replies.unimplemented)
        return undefined
    }
  }

  #hello(verb: 'HELO' | 'EHLO', name: ByteString): SmtpServerEvent | undefined {
    if (name === '' || /[^\x21-\x7e]/.test(name)) {
      this.#complain(replies.argument)
      return undefined
    }
    this.#state = 'new'
    this.#extended = verb === 'EHLO'
    return this.#ask('hello', { kind: 'hello', verb, name })
  }

  #mail(argument: ByteString): SmtpServerEvent | undefined {
    if (this.#messages >= this.#options.limits.messagesPerConnectionMax) {
      this.#write(replies.tooManyMessages)
      this.#close('too-many-messages')
      return undefined
    }
    const mail = readMailArgument(argument, this.#extended)
    if ('code' in mail) {
      this.#complain(mail)
      return undefined
    }
    this.#utf8 = mail.utf8
    return this.#ask('mail', mail)
  }

  #recipient(argument: ByteString): SmtpServerEvent | undefined {
    this.#recipientsSeen++
    const recipient = readRecipientArgument(argument, this.#utf8)
    if ('code' in recipient) {
      this.#complain(recipient)
      return undefined
    }
    if (this.#recipients >= this.#options.limits.recipientsPerMessageMax) {
      this.#complain(replies.tooManyRecipients)
      return undefined
    }
    return this.#ask('recipient', recipient)
  }

  #data(argument: ByteString): SmtpServerEvent | undefined {
    if (argument !== '') this.#complain(replies.argument)
    else if (this.#recipients > 0) return this.#ask('data', dataEvent)
    else this.#complain(this.#recipientsSeen > 0 ? replies.noValidRecipients : replies.recipientFirst)
    return undefined
  }

  /** Plaintext that follows in the same breath would be read as if it came through TLS: the session ends (CVE-2011-0411). */
  #startTls(argument: ByteString): SmtpServerEvent | undefined {
    if (!this.#options.offersStartTls) this.#complain(replies.unimplemented)
    else if (this.#secure) this.#complain(replies.alreadySecure)
    else if (argument !== '') this.#complain(replies.argument)
    else if (this.bufferedBytes > 0) this.#close('plaintext-after-starttls')
    else return this.#ask('starttls', startTlsEvent)
    return undefined
  }
}
