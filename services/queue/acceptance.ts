/**
 * What a queue instance answers to a QMTP package, before the journal has its say. Pure.
 *
 * Per-recipient refusals come first, then size, sender and hops, as qmail-qmtpd orders them; what is left is one message for
 * all acceptable recipients. The transaction id is read from the Received line of the tier before us; a message without
 * one (a foreign client) gets an id of its own, and a repetition of it is then another message.
 */

import { transactionIdPattern } from '../contract/transaction-id.ts'
import type { ByteString } from '../protocol/byte-string.ts'
import { countHops, headerOf, transactionIdOfReceived } from '../protocol/headers.ts'
import { byteStringOfChunks } from '../protocol/netstring.ts'
import type { QmtpLetter, QmtpPackage } from '../protocol/qmtp.ts'

export interface AcceptanceLimits {
  readonly messageBytesMax: number
  readonly addressBytesMax: number
  readonly recipientsPerMessageMax: number
  readonly headerBytesMax: number
  readonly hopsMax: number
}

export const defaultAcceptanceLimits: AcceptanceLimits = {
  messageBytesMax: 50 * 1024 * 1024,
  addressBytesMax: 999,
  recipientsPerMessageMax: 50_000,
  headerBytesMax: 1024 * 1024,
  hopsMax: 100,
}

export interface PackageReply {
  readonly letter: QmtpLetter
  readonly text: ByteString
}

export interface Judgement {
  /** One per recipient; undefined where the message's own reply decides. */
  readonly refusals: readonly (PackageReply | undefined)[]
  readonly accepted: readonly ByteString[]
  /** The whole message is refused: the reply of every recipient not refused by itself. */
  readonly refusal: PackageReply | undefined
}

const badRecipient: PackageReply = { letter: 'D', text: "sorry, I can't handle that recipient (#5.1.3)" }
const badSender: PackageReply = { letter: 'D', text: 'unacceptable sender (#5.1.7)' }
const tooBig: PackageReply = { letter: 'D', text: 'sorry, that message size exceeds my databytes limit (#5.3.4)' }
const tooManyHops: PackageReply = { letter: 'D', text: 'too many hops, this message is looping (#5.4.6)' }
const tooManyRecipients: PackageReply = { letter: 'Z', text: 'too many recipients in one package (#4.5.3)' }
const headerTooBig: PackageReply = { letter: 'D', text: 'the header of that message exceeds my limit (#5.3.4)' }

export function judgePackage(given: QmtpPackage, limits: AcceptanceLimits): Judgement {
  const refusals = given.recipients.map((recipient) =>
    isAcceptable(recipient, limits.addressBytesMax) ? undefined : badRecipient,
  )
  const accepted = given.recipients.filter((_, index) => refusals[index] === undefined)
  return { refusals, accepted, refusal: refuseMessage(given, accepted.length, limits) }
}

function refuseMessage(given: QmtpPackage, accepted: number, limits: AcceptanceLimits): PackageReply | undefined {
  if (given.oversize || given.bodyBytes > limits.messageBytesMax) return tooBig
  if (!isAcceptable(given.sender, limits.addressBytesMax)) return badSender
  if (accepted > limits.recipientsPerMessageMax) return tooManyRecipients
  const header = headerOf(given.body, given.form, limits.headerBytesMax)
  if (header === undefined) return headerTooBig
  return countHops(header) >= limits.hopsMax ? tooManyHops : undefined
}

function isAcceptable(address: ByteString, bytesMax: number): boolean {
  return address.length <= bytesMax && !address.includes('\0')
}

const receivedBytesMax = 768

/** The id the tier before us gave the package; undefined where it is not one of ours. */
export function givenId(given: QmtpPackage): string | undefined {
  const first = given.body[0]
  if (first === undefined) return undefined
  const start =
    first.length >= receivedBytesMax || given.body.length === 1
      ? first.toString('latin1', 0, receivedBytesMax)
      : byteStringOfChunks(given.body.slice(0, 16)).slice(0, receivedBytesMax)
  const id = transactionIdOfReceived(start)
  return id !== undefined && transactionIdPattern.test(id) ? id : undefined
}
