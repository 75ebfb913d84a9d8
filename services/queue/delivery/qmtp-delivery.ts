/**
 * One attempt as a QMTP package: the same bytes however often it is offered, and what is known of its way so far.
 *
 * The next instance knows the message by the id in its first Received line; where the text does not begin with that
 * line, one is put before it. Replies are kept word by word, one per recipient; what they mean is decided here.
 */

import type { Attempt, Outcome, QmtpHost } from '../../contract/delivery.ts'
import type { ByteString } from '../../protocol/byte-string.ts'
import type { Failure } from '../../protocol/failure.ts'
import { permanent, temporary } from '../../protocol/failure.ts'
import { receivedLine, transactionIdOfReceived } from '../../protocol/headers.ts'
import { mailDate } from '../../protocol/mail-date.ts'
import { encodeQmtpHead, encodeQmtpTail } from '../../protocol/qmtp.ts'
import type { QmtpAnswer, QmtpLink, QmtpLinkOutcome, QmtpLinkPackage } from '../../runtime/qmtp-link.ts'
import type { Connection } from '../../runtime/world.ts'

export interface QmtpOrigin {
  readonly cluster: string
  readonly instance: string
  /** Wall clock, milliseconds. */
  readonly now: number
}

/** More than a Received line of ours takes. */
const firstLinesBytes = 768
const replyTextBytesMax = 2048

export class QmtpDelivery implements QmtpLinkPackage {
  readonly attempt: Attempt
  readonly bytes: number
  readonly recipientCount: number
  readonly begunAt: number
  /** Hosts nothing could be sent to, in this round. */
  readonly tried = new Set<string>()
  /** The host whose outcome is unclear; no other may be asked. */
  boundTo: string | undefined
  unclearAt: number | undefined
  /** The link it was given to last. */
  link: QmtpLink | undefined
  /** Why the last offer came to nothing. */
  why = ''
  readonly #head: ByteString
  readonly #text: Buffer
  readonly #tail: ByteString
  readonly #onSettled: (delivery: QmtpDelivery, outcome: QmtpLinkOutcome) => void

  constructor(
    attempt: Attempt,
    text: Buffer,
    origin: QmtpOrigin,
    begunAt: number,
    onSettled: (delivery: QmtpDelivery, outcome: QmtpLinkOutcome) => void,
  ) {
    this.attempt = attempt
    this.begunAt = begunAt
    const received = ownsFirstLine(attempt, text) ? '' : lineFor(attempt, origin)
    this.#head = encodeQmtpHead(attempt.body.form, received.length + text.length) + received
    this.#text = text
    this.#tail = encodeQmtpTail(attempt.sender, attempt.recipients)
    this.#onSettled = onSettled
    this.bytes = this.#head.length + text.length + this.#tail.length
    this.recipientCount = attempt.recipients.length
  }

  get hosts(): readonly QmtpHost[] {
    return this.attempt.destination.kind === 'qmtp' ? this.attempt.destination.hosts : []
  }

  writeTo(connection: Connection): boolean {
    connection.write(this.#head)
    connection.write(this.#text)
    return connection.write(this.#tail)
  }

  settled(outcome: QmtpLinkOutcome): void {
    this.#onSettled(this, outcome)
  }

  outcomesOf(answers: readonly QmtpAnswer[]): readonly Outcome[] {
    const to = this.#to()
    return answers.map((answer) => {
      const text = oneLine(answer.text)
      if (answer.letter === 'K') return { kind: 'delivered', to, text }
      return { kind: 'failed', to, failure: failureOf(answer.letter, text) }
    })
  }

  failed(failure: Failure): readonly Outcome[] {
    const outcome: Outcome = { kind: 'failed', to: this.#to(), failure }
    return this.attempt.recipients.map(() => outcome)
  }

  #to(): string {
    if (this.link === undefined) return this.attempt.destination.key
    const { host, port } = this.link.address
    return `qmtp ${host.includes(':') ? `[${host}]` : host}:${port}`
  }
}

function ownsFirstLine(attempt: Attempt, text: Buffer): boolean {
  return transactionIdOfReceived(text.toString('latin1', 0, firstLinesBytes)) === attempt.id
}

function lineFor(attempt: Attempt, origin: QmtpOrigin): ByteString {
  const { cluster, instance, now } = origin
  const hop = { helo: instance, address: '127.0.0.1', by: cluster, protocol: 'LOCAL', id: attempt.id }
  return receivedLine({ ...hop, date: mailDate(now) }, attempt.body.form)
}

/** qmail's servers end their words with `(#5.7.1)`; the letter decides the class whatever the number says. */
function failureOf(letter: 'Z' | 'D', text: ByteString): Failure {
  const number = /\(#[245](\.[0-9]{1,3}\.[0-9]{1,3})\)\s*$/.exec(text)?.[1] ?? '.0.0'
  return letter === 'D' ? permanent('peer', `5${number}`, text) : temporary('peer', `4${number}`, text)
}

function oneLine(text: ByteString): ByteString {
  return text.slice(0, replyTextBytesMax).replace(/[\x00-\x1f\x7f]+/g, '?')
}
