/**
 * What becomes of a recipient on the way out: a server's reply as an outcome or a failure, and what is refused
 * before anything is sent.
 *
 * A server's words are kept, made one safe line and cut. Class comes from the code (`failure.ts`); an enhanced code
 * that contradicts it has its first digit corrected.
 */

import type { ByteString } from '../byte-string.ts'
import type { Failure } from '../failure.ts'
import { classOfReply, permanent, temporary } from '../failure.ts'
import { formatPath, hasHighByte, parsePath } from './address.ts'
import type { ServerOffer } from './client-offer.ts'
import type { SmtpTransaction } from './client-session.ts'
import type { Reply } from './reply.ts'
import { replyText } from './reply.ts'

export type SmtpOutcome =
  /** `text` is the server's reply after the final dot. */
  { readonly kind: 'delivered'; readonly text: ByteString } | { readonly kind: 'failed'; readonly failure: Failure }

/** A server's words kept with a recipient, for the log and the bounce. */
const replyTextBytesMax = 2048

export function delivered(reply: Reply): SmtpOutcome {
  return { kind: 'delivered', text: safeText(reply) }
}

/** A positive code where it makes no sense is a broken server, and temporary. */
export function failureOfReply(reply: Reply, context = ''): Failure {
  const failureClass = classOfReply(reply.code)
  const code = reply.code >= 400 ? reply.code : 451
  const digit = failureClass === 'permanent' ? '5' : '4'
  const enhanced = `${digit}${(reply.enhanced ?? 'x.0.0').slice(1)}`
  const text = safeText(reply)
  return { class: failureClass, blame: 'peer', code, enhanced, text: context === '' ? text : `${text} (${context})` }
}

export function hostFailure(enhanced: string, text: string): Failure {
  return temporary('peer', enhanced, text)
}

function safeText(reply: Reply): ByteString {
  const text = replyText(reply)
  return text.length > replyTextBytesMax ? `${text.slice(0, replyTextBytesMax)}...` : text
}

/** What is known before MAIL: a failure for each recipient that this server cannot be asked about, else undefined. */
export function outcomesOfTransaction(transaction: SmtpTransaction, offer: ServerOffer): (SmtpOutcome | undefined)[] {
  const whole = refusalOfMessage(transaction, offer)
  return transaction.recipients.map((recipient) => {
    const failure = whole ?? refusalOfRecipient(recipient, offer)
    return failure === undefined ? undefined : { kind: 'failed', failure }
  })
}

const needsSmtpUtf8 = permanent('peer', '5.6.7', 'SMTPUTF8 is needed and the server does not offer it', 553)

function refusalOfMessage(transaction: SmtpTransaction, offer: ServerOffer): Failure | undefined {
  if (transaction.sender !== '' && !isSendable(transaction.sender, 'reverse'))
    return permanent('sender', '5.1.7', 'sender address cannot be sent by SMTP', 553)
  if (transaction.bytes > offer.sizeMax)
    return permanent('sender', '5.3.4', `message exceeds the server's limit of ${offer.sizeMax} bytes`, 552)
  const utf8 = transaction.utf8 || hasHighByte(transaction.sender)
  return utf8 && !offer.smtpUtf8 ? needsSmtpUtf8 : undefined
}

function refusalOfRecipient(recipient: ByteString, offer: ServerOffer): Failure | undefined {
  if (!isSendable(recipient, 'forward'))
    return permanent('sender', '5.1.3', 'recipient address cannot be sent by SMTP', 553)
  return hasHighByte(recipient) && !offer.smtpUtf8 ? needsSmtpUtf8 : undefined
}

const anyLength = { addressBytesMax: Infinity, domainBytesMax: Infinity }

/** True where the path written for an address is read back as that address: no address can smuggle a parameter or a line. */
function isSendable(address: ByteString, kind: 'reverse' | 'forward'): boolean {
  const read = parsePath(formatPath(address), 0, { kind, utf8: true }, anyLength)
  return read.kind === 'path' && read.address === address
}
