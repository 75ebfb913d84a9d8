/**
 * One connection to an SMTP server: pumps bytes between a Connection and the session core, writes bodies with
 * back-pressure, and knows its own deadline. It carries one delivery at a time and decides nothing: its owner hears of
 * readiness with the outcomes of the delivery before, or of the end.
 *
 * After `failed` the connection is dropped and nothing more is heard. An error that nobody foresaw drops the connection too, and
 * fails the delivery for now.
 */

import type { Attempt } from '../../contract/delivery.ts'
import type { Failure } from '../../protocol/failure.ts'
import { errorCode, errorText, permanent, temporary } from '../../protocol/failure.ts'
import type { SmtpOutcome, SmtpStage } from '../../protocol/smtp/client-session.ts'
import { SmtpClientSession } from '../../protocol/smtp/client-session.ts'
import { DotWriter } from '../../protocol/smtp/dot-writer.ts'
import { reportHandlerFailure } from '../../runtime/handler-failure.ts'
import type { Connection, ConnectionHandler, World } from '../../runtime/world.ts'
import type { SmtpTarget } from './mail-exchangers.ts'
import type { SmtpTransportLimits } from './smtp-limits.ts'

export interface SmtpLinkOptions {
  readonly key: string
  readonly target: SmtpTarget
  readonly helloName: string
  readonly tls: 'never' | 'opportunistic' | 'required'
  readonly sourceAddress: string | undefined
  readonly limits: SmtpTransportLimits
}

export interface SmtpLinkOwner {
  /** `outcomes` are those of the attempt begun before, undefined on a fresh connection. `begin` or `quit` may follow. */
  ready(link: SmtpLink, outcomes: readonly SmtpOutcome[] | undefined): void
  /** `outcomes` undefined: the attempt, where one was begun, was never answered and nothing of it was transferred. */
  failed(link: SmtpLink, stage: SmtpStage, failure: Failure, outcomes: readonly SmtpOutcome[] | undefined): void
  /** The connection is closed after `quit`. */
  gone(link: SmtpLink): void
}

/** Bytes of the body read at a time. */
const sliceBytesMax = 256 * 1024

const bareLineEnd = permanent('sender', '5.6.0', 'message holds a bare CR or LF, which SMTP cannot carry unchanged')
const ownFault = temporary('self', '4.3.0', 'delivery failed for a reason of our own')
const bodyUnreadable = temporary('self', '4.3.0', 'stored message could not be read')

export class SmtpLink implements ConnectionHandler {
  readonly options: SmtpLinkOptions
  /** Attempts begun. */
  begun = 0
  readonly #world: World
  readonly #owner: SmtpLinkOwner
  readonly #session: SmtpClientSession
  readonly #connection: Connection
  #opened = false
  #dead = false
  #pumping = false
  #deadline = Infinity
  #armedStage: SmtpStage = 'greeting'
  #armedReplies = 0
  #to = ''
  #attempt: Attempt | undefined
  #outcomes: readonly SmtpOutcome[] | undefined
  #writer: DotWriter | undefined
  #position = 0
  #blocked = false

  constructor(world: World, options: SmtpLinkOptions, owner: SmtpLinkOwner) {
    this.#world = world
    this.options = options
    this.#owner = owner
    this.#session = new SmtpClientSession({ helloName: options.helloName, tls: options.tls })
    this.#connection = world.network.connect(
      {
        host: options.target.address,
        port: options.target.port,
        timeoutMs: options.limits.connectTimeoutMs,
        ...(options.sourceAddress === undefined ? {} : { localAddress: options.sourceAddress }),
      },
      this,
    )
  }

  /** Where mail over this link goes, for the ledger: `smtp mx.example.net[192.0.2.1]:25`. */
  get to(): string {
    if (this.#to !== '') return this.#to
    const { name, address, port } = this.options.target
    const host = this.#opened ? this.#connection.remote.host : address
    const place = name !== host ? `${name}[${host}]` : host.includes(':') ? `[${host}]` : host
    const to = `smtp ${place}:${port}`
    if (this.#opened) this.#to = to
    return to
  }

  /** Only after `ready`. Never answers from inside this call. */
  begin(attempt: Attempt): void {
    this.begun++
    this.#attempt = attempt
    this.#contain('begin', () => this.#start(attempt))
  }

  #start(attempt: Attempt): void {
    const { sender, recipients, body } = attempt
    this.#session.start({ sender, recipients, bytes: body.bytes, utf8: false, eightBit: true })
    if (this.#pumping) return
    this.#flush()
    this.#arm()
    if (this.#session.stage !== 'envelope') queueMicrotask(() => this.#contain('begin', () => this.#pump()))
  }

  /** Only when no attempt is running. */
  quit(): void {
    this.#session.quit()
    this.#flush()
    this.#connection.end()
    this.#arm()
  }

  /** True where the link has waited for its next attempt as long as it may. */
  isIdleAt(now: number): boolean {
    return this.#session.stage === 'ready' && this.#attempt === undefined && now >= this.#deadline
  }

  /** Ends the link where its deadline has passed; `now` is monotonic. */
  expire(now: number): void {
    if (now < this.#deadline || this.#dead) return
    if (this.#session.stage === 'quitting') return this.#connection.destroy()
    this.#contain('expire', () => {
      this.#session.closed(`timeout in ${this.#session.stage}`)
      this.#pump()
    })
  }

  onOpen(): void {
    this.#opened = true
    this.#arm()
  }

  onSecure(): void {
    if (this.#dead) return
    this.#session.secured()
    this.#pump()
  }

  onData(chunk: Buffer): void {
    if (this.#dead) return
    this.#session.receive(chunk)
    this.#pump()
  }

  onDrain(): void {
    if (this.#dead) return
    this.#arm()
    if (!this.#blocked) return
    this.#blocked = false
    if (this.#writer !== undefined) this.#sendBody()
  }

  onEnd(): void {
    if (this.#session.stage === 'quitting') return this.#connection.destroy()
    this.#session.closed('connection closed by the server')
    this.#pump()
  }

  onClose(error: Error | undefined): void {
    try {
      this.#lost(error)
    } catch (thrown) {
      reportHandlerFailure(this.#world.log, 'onClose', thrown)
      this.#giveUp()
    }
  }

  #lost(error: Error | undefined): void {
    if (this.#session.stage === 'quitting') {
      if (!this.#dead) this.#owner.gone(this)
      this.#dead = true
      return
    }
    if (this.#dead) return
    const why = error === undefined ? '' : ` (${errorCode(error) || errorText(error)})`
    if (!this.#opened) return this.#fail('greeting', connectFailure(errorCode(error), why))
    this.#session.closed(`connection lost${oneLine(why)}`)
    this.#pump()
  }

  #pump(): void {
    if (this.#pumping || this.#dead) return
    this.#pumping = true
    try {
      while (this.#step()) {}
    } finally {
      this.#pumping = false
    }
    if (this.#dead) return
    this.#flush()
    if (this.#session.stage === this.#armedStage && this.#session.replies === this.#armedReplies) return
    this.#arm()
  }

  /** Carries out one event; false where there is none now. */
  #step(): boolean {
    if (this.#dead) return false
    const event = this.#session.next()
    switch (event.kind) {
      case 'need-data':
        return false
      case 'starttls':
        this.#flush()
        this.#connection.startTls({ serverName: this.options.target.name, verify: this.options.tls === 'required' })
        return true
      case 'ready':
        this.#becomeReady()
        return true
      case 'send-body':
        this.#flush()
        this.#writer = new DotWriter(this.#attempt!.body.form)
        this.#position = 0
        this.#blocked = false
        this.#sendBody()
        return true
      case 'outcomes':
        this.#outcomes = event.outcomes
        this.#writer = undefined
        return true
      case 'failed':
        this.#fail(event.stage, event.failure)
        return false
    }
  }

  /** Outcomes are told after the link is free again, so that the attempt they make room for can use it. */
  #becomeReady(): void {
    const outcomes = this.#outcomes
    this.#outcomes = undefined
    this.#attempt = undefined
    this.#owner.ready(this, outcomes)
  }

  /** For what runs outside the connection's handlers, which their network contains: `onClose` follows. */
  #contain(where: string, task: () => void): void {
    try {
      task()
    } catch (error) {
      reportHandlerFailure(this.#world.log, where, error)
      this.#connection.destroy()
    }
  }

  /** The session itself is broken: what of the attempt has no outcome is tried again later. */
  #giveUp(): void {
    const { stage } = this.#session
    if (this.#attempt !== undefined)
      this.#outcomes ??= this.#attempt.recipients.map(() => ({ kind: 'failed', failure: ownFault }))
    this.#fail(stage, ownFault)
  }

  #fail(stage: SmtpStage, failure: Failure): void {
    if (this.#dead) return
    this.#dead = true
    this.#writer = undefined
    const outcomes = this.#outcomes
    this.#outcomes = undefined
    this.#connection.destroy()
    this.#owner.failed(this, stage, failure, outcomes)
  }

  /** Writes until the body ends, the server is behind, or the disk has to be asked. */
  #sendBody(): void {
    const writer = this.#writer!
    const { body } = this.#attempt!
    this.#connection.cork()
    try {
      while (!this.#blocked) {
        if (this.#position >= body.bytes) return this.#finishBody(writer)
        const piece = body.slice(this.#position, Math.min(sliceBytesMax, body.bytes - this.#position))
        if (!Buffer.isBuffer(piece)) return this.#sendLater(writer, piece)
        if (!this.#sendPiece(writer, piece)) return
      }
    } finally {
      this.#connection.uncork()
    }
  }

  #sendLater(writer: DotWriter, piece: Promise<Buffer>): void {
    piece.then(
      (bytes) => {
        this.#contain('body', () => {
          if (this.#writer === writer && this.#sendPiece(writer, bytes) && !this.#blocked) this.#sendBody()
        })
      },
      () => {
        this.#contain('body', () => {
          if (this.#writer === writer) this.#breakBody(bodyUnreadable)
        })
      },
    )
  }

  #sendPiece(writer: DotWriter, piece: Buffer): boolean {
    if (piece.length === 0) return this.#breakBody(bodyUnreadable)
    const bytes = writer.write(piece)
    if (bytes === 'bare') return this.#breakBody(bareLineEnd)
    this.#position += piece.length
    this.#blocked = !this.#connection.write(bytes)
    return true
  }

  #finishBody(writer: DotWriter): void {
    const end = writer.finish()
    if (end === 'bare') {
      this.#breakBody(bareLineEnd)
      return
    }
    this.#writer = undefined
    this.#connection.write(end)
    this.#session.bodySent()
    this.#arm()
  }

  #breakBody(failure: Failure): false {
    this.#writer = undefined
    this.#session.bodyBroken(failure)
    this.#pump()
    return false
  }

  #flush(): void {
    const output = this.#session.takeOutput()
    if (output !== '') this.#connection.write(output)
  }

  /** Whole replies and bytes taken are progress; a server that drips its reply is not given more time. */
  #arm(): void {
    this.#armedStage = this.#session.stage
    this.#armedReplies = this.#session.replies
    this.#deadline = this.#world.clock.monotonic() + timeoutOf(this.#session.stage, this.options.limits)
  }
}

function timeoutOf(stage: SmtpStage, limits: SmtpTransportLimits): number {
  switch (stage) {
    case 'greeting':
      return limits.greetingTimeoutMs
    case 'hello':
    case 'starttls':
    case 'securing':
      return limits.helloTimeoutMs
    case 'ready':
      return limits.idleTimeoutMs
    case 'envelope':
      return limits.envelopeTimeoutMs
    case 'body':
      return limits.bodyTimeoutMs
    case 'final-dot':
      return limits.finalDotTimeoutMs
    case 'quitting':
    case 'dead':
      return limits.quitTimeoutMs
  }
}

/** What the system says about itself rather than about the peer. */
const ownFaults: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'EADDRNOTAVAIL', 'EACCES', 'EPERM'])

function connectFailure(code: string, why: string): Failure {
  return temporary(ownFaults.has(code) ? 'self' : 'peer', '4.4.1', `cannot connect${oneLine(why)}`)
}

function oneLine(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, ' ')
}
