/**
 * qmail's bounce levels, in the format the pool asks for.
 *
 * A failed message is reported to its sender with the empty sender; a failed bounce to the postmaster, from `#@[]`;
 * a failed double bounce is discarded, and nothing else ever is. A sender ending in `-@[]` (VERP) is told without
 * the ending. A bounce quotes at most `bounceBytesMax` of the message and a bounded part of what servers said.
 */

import type { BounceDecision, BouncePolicy, FailedMessage, FailedRecipient } from '../contract/bounce.ts'
import { doubleBounceSender } from '../contract/bounce.ts'
import type { Body } from '../contract/delivery.ts'
import type { PoolSpec } from '../contract/layout.ts'
import type { QuotedMessage } from '../protocol/bounce-text.ts'
import { quoteMessage } from '../protocol/bounce-text.ts'
import type { ByteString } from '../protocol/byte-string.ts'
import type { DsnRecipient } from '../protocol/delivery-status.ts'
import { composeDsn } from '../protocol/delivery-status.ts'
import { mailDate } from '../protocol/mail-date.ts'
import { composeQsbmf } from '../protocol/qsbmf.ts'

export interface BounceOptions {
  /** Name of this system in the text. */
  readonly host: ByteString
  /** Address bounces come from: `bouncefrom@bouncehost`, by default MAILER-DAEMON at `host`. */
  readonly from?: ByteString
  readonly doubleBounceTo: ByteString
  readonly format: 'qsbmf' | 'dsn'
  /** 0 quotes the whole message, as bouncemaxbytes does. */
  readonly bounceBytesMax: number
  /** Failed recipients named in one bounce; of further ones only the number is given. */
  readonly recipientsMax?: number
}

/** What the layout says about a pool's bounces. */
export function bounceOptionsOf(cluster: string, pool: PoolSpec): BounceOptions {
  const { doubleBounceTo, bounceFormat, bounceBytesMax } = pool
  return { host: cluster, doubleBounceTo, format: bounceFormat, bounceBytesMax }
}

const verpEnding = '-@[]'
const recipientsMaxStandard = 1000
const sliceBytesMax = 256 * 1024

export class QmailBouncePolicy implements BouncePolicy {
  readonly #options: BounceOptions

  constructor(options: BounceOptions) {
    this.#options = options
  }

  decide(message: FailedMessage): BounceDecision {
    const { sender } = message
    if (sender === doubleBounceSender) return { kind: 'discard', why: 'triple bounce' }
    if (sender === '') return { kind: 'send', sender: doubleBounceSender, recipient: this.#options.doubleBounceTo }
    return { kind: 'send', sender: '', recipient: withoutVerpEnding(sender) }
  }

  /** Rejects where the stored message cannot be read. */
  async compose(
    message: FailedMessage,
    decision: BounceDecision & { readonly kind: 'send' },
    id: string,
    now: number,
  ): Promise<Buffer> {
    const { host, format, recipientsMax = recipientsMaxStandard } = this.#options
    const failed = message.failed.slice(0, recipientsMax)
    const left = message.failed.length - failed.length
    const common = {
      date: mailDate(now),
      from: this.#options.from ?? `MAILER-DAEMON@${host}`,
      to: decision.recipient,
      host,
      level: decision.sender === '' ? 'single' : 'double',
      message: await quoted(message.body, this.#options.bounceBytesMax),
    } as const
    if (format === 'dsn')
      return composeDsn({
        ...common,
        id,
        arrivalDate: mailDate(message.birthAt),
        failed: failed.map(dsnRecipient),
        left,
      })
    const named = failed.map((one) => ({ address: one.address, words: qsbmfWords(one) }))
    if (left > 0) named.push({ address: `${left} more`, words: 'These failed too; their names are left out.' })
    return composeQsbmf({ ...common, failed: named, returnPath: message.sender })
  }
}

function withoutVerpEnding(sender: ByteString): ByteString {
  return sender.endsWith(verpEnding) ? sender.slice(0, -verpEnding.length) : sender
}

/** As qmail writes them: the host's words as they came, our own with the code behind. */
function qsbmfWords(recipient: FailedRecipient): ByteString {
  const { failure } = recipient
  const words = failure.text.includes(failure.enhanced) ? failure.text : `${failure.text} (#${failure.enhanced})`
  const host = refusingHost(recipient)
  return host === '' ? words : `${host} said:\r\n${words}`
}

/** The host that refused, from where the attempt went (`smtp mx.example.net[192.0.2.1]:25`); '' where this system did. */
function refusingHost({ remote, failure }: FailedRecipient): ByteString {
  if (failure.blame !== 'peer') return ''
  const parts = /^(?:[a-z]+ )?(\[[^\]]*\]|[^\s:[]+)(?:\[[^\]]*\])?(?::[0-9]+)?$/.exec(remote)
  return parts?.[1] ?? ''
}

function dsnRecipient(recipient: FailedRecipient): DsnRecipient {
  const { address, failure, at } = recipient
  const status = permanentStatus(failure.enhanced)
  const fromSmtp = /^[45][0-9][0-9] /.test(failure.text)
  return { address, status, remote: refusingHost(recipient), fromSmtp, words: failure.text, date: mailDate(at) }
}

/** A bounce says what is final now, so a delivery that ran out of time keeps its reason but not its class. */
function permanentStatus(enhanced: string): string {
  const parts = /^[245](\.[0-9]{1,3}\.[0-9]{1,3})$/.exec(enhanced)
  return `5${parts?.[1] ?? '.0.0'}`
}

async function quoted(body: Body, bytesMax: number): Promise<QuotedMessage> {
  const bytes = bytesMax === 0 ? body.bytes : Math.min(body.bytes, bytesMax)
  const pieces: Buffer[] = []
  for (let position = 0; position < bytes; position += sliceBytesMax) {
    pieces.push(await body.slice(position, Math.min(sliceBytesMax, bytes - position)))
  }
  return quoteMessage(Buffer.concat(pieces), body.form, bytes === body.bytes)
}
