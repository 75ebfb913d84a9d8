/**
 * What an SMTP server session says by itself, RFC 5321 4.2.3 with the enhanced codes of RFC 3463 and, where qmail has words of its
 * own that log readers look for, those.
 */

import type { TextFault } from './dot-reader.ts'
import { type Reply, reply } from './reply.ts'

export const replies = {
  ok: reply(250, '2.0.0', 'ok'),
  senderOk: reply(250, '2.1.0', 'ok'),
  recipientOk: reply(250, '2.1.5', 'ok'),
  goAhead: reply(354, '', 'go ahead'),
  startTls: reply(220, '2.0.0', 'ready to start TLS'),
  help: reply(214, '2.0.0', 'see RFC 5321'),
  noVerify: reply(252, '2.1.5', 'send some mail, I will do my best'),
  lineTooLong: reply(500, '5.5.2', 'line too long'),
  badBytes: reply(500, '5.5.2', 'command line with a bare CR, bare LF or NUL'),
  argument: reply(501, '5.5.4', 'syntax error in the argument'),
  helloFirst: reply(503, '5.5.1', 'EHLO first'),
  mailFirst: reply(503, '5.5.1', 'MAIL first'),
  recipientFirst: reply(503, '5.5.1', 'RCPT first'),
  noValidRecipients: reply(554, '5.5.1', 'no valid recipients'),
  inTransaction: reply(503, '5.5.1', 'a transaction is open already'),
  unimplemented: reply(502, '5.5.1', 'unimplemented'),
  pathSyntax: reply(555, '5.5.4', 'syntax error in the address'),
  pathTooLong: reply(555, '5.1.7', 'address too long'),
  pathNeedsUtf8: reply(553, '5.6.7', 'the address needs SMTPUTF8'),
  parameter: reply(555, '5.5.4', 'parameter not recognised'),
  alreadySecure: reply(503, '5.5.1', 'TLS is up already'),
  tooManyRecipients: reply(452, '4.5.3', 'too many recipients'),
  tooManyErrors: reply(421, '4.7.0', 'too many errors'),
  tooManyCommands: reply(421, '4.7.0', 'too many commands without mail'),
  tooManyMessages: reply(421, '4.7.0', 'too many messages on this connection'),
} as const

export const faultReplies: { readonly [fault in TextFault]: Reply } = {
  'bare-cr': reply(554, '5.6.0', 'message with a bare CR refused'),
  'bare-lf': reply(554, '5.6.0', 'message with a bare LF refused, see https://cr.yp.to/docs/smtplf.html'),
  nul: reply(554, '5.6.0', 'message with a NUL byte refused'),
  'line-too-long': reply(554, '5.6.0', 'message with a line too long refused'),
  'too-big': reply(552, '5.3.4', 'sorry, that message size exceeds my databytes limit (#5.3.4)'),
}
