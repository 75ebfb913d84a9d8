/**
 * What follows MAIL and RCPT, RFC 5321 4.1.1.2 and 4.1.1.3: `FROM:` or `TO:`, a path, parameters of the extensions we offer.
 *
 * Either the meaning or the reply that refuses it. A parameter we do not offer gets 555 (RFC 5321 4.1.1.11), and so does any
 * after HELO, which offers none. Spaces before the path are an old habit of many clients and harmless.
 */

import type { ByteString } from '../byte-string.ts'
import { hasHighByte, parsePath } from './address.ts'
import { type Parameters, parseParameters, parseSize } from './parameters.ts'
import type { Reply } from './reply.ts'
import { replies } from './server-replies.ts'

export interface MailArgument {
  readonly kind: 'mail'
  readonly sender: ByteString
  /** What the client announced, RFC 1870 6.1. */
  readonly size: number | undefined
  /** SMTPUTF8 was asked for, RFC 6531 3.4. */
  readonly utf8: boolean
}

export interface RecipientArgument {
  readonly kind: 'recipient'
  readonly address: ByteString
}

const pathReplies = {
  syntax: replies.pathSyntax,
  'too-long': replies.pathTooLong,
  'needs-utf8': replies.pathNeedsUtf8,
} as const

export function readMailArgument(argument: ByteString, extended: boolean): MailArgument | Reply {
  const start = pathStart(argument, 'FROM:')
  if (start < 0) return replies.pathSyntax
  // SMTPUTF8 stands after the path it applies to.
  const path = parsePath(argument, start, { kind: 'reverse', utf8: true })
  if (path.kind === 'refused') return pathReplies[path.why]
  const parameters = parseParameters(argument.slice(path.end))
  if (parameters === undefined) return replies.argument
  const fault = parameterFault(parameters, extended)
  if (fault !== undefined) return fault
  const utf8 = parameters.has('SMTPUTF8')
  if (!utf8 && hasHighByte(path.address)) return replies.pathNeedsUtf8
  return { kind: 'mail', sender: path.address, size: parseSize(parameters.get('SIZE')), utf8 }
}

export function readRecipientArgument(argument: ByteString, utf8: boolean): RecipientArgument | Reply {
  const start = pathStart(argument, 'TO:')
  if (start < 0) return replies.pathSyntax
  const path = parsePath(argument, start, { kind: 'forward', utf8 })
  if (path.kind === 'refused') return pathReplies[path.why]
  const parameters = parseParameters(argument.slice(path.end))
  if (parameters === undefined) return replies.argument
  if (parameters.size > 0) return replies.parameter
  return { kind: 'recipient', address: path.address }
}

function parameterFault(parameters: Parameters, extended: boolean): Reply | undefined {
  for (const [keyword, value] of parameters) {
    if (!extended) return replies.parameter
    if (keyword === 'SIZE') {
      if (parseSize(value) === undefined) return replies.argument
    } else if (keyword === 'BODY') {
      if (value === undefined || !/^(?:7BIT|8BITMIME)$/i.test(value)) return replies.argument
    } else if (keyword === 'SMTPUTF8') {
      if (value !== undefined) return replies.argument
    } else return replies.parameter
  }
  return undefined
}

/** The index of the path, -1 where `word` is missing. */
function pathStart(argument: ByteString, word: string): number {
  if (argument.slice(0, word.length).toUpperCase() !== word) return -1
  let start = word.length
  while (argument[start] === ' ') start++
  return start
}
