/**
 * Delivery status notifications: multipart/report (RFC 6522) of words for a person, fields for a program (RFC 3464) and the
 * failed message or its header. Internationalised addresses by RFC 6533.
 *
 * Nothing a stranger says reaches a field unescaped: remote words become one printable line, addresses lose line
 * ends. The boundary is one that the quoted message does not hold. Lines end in CR LF.
 */

import type { QuotedMessage } from './bounce-text.ts'
import { safeLine, safeLines } from './bounce-text.ts'
import type { ByteString } from './byte-string.ts'
import { headerAddress } from './qsbmf.ts'
import { hasHighByte } from './smtp/address.ts'

export interface DsnRecipient {
  readonly address: ByteString
  /** RFC 3463. */
  readonly status: string
  /** The host that refused, '' where this system did. */
  readonly remote: ByteString
  /** True where `words` are an SMTP reply. */
  readonly fromSmtp: boolean
  readonly words: ByteString
  /** As `mailDate` writes it. */
  readonly date: ByteString
}

export interface Dsn {
  readonly id: string
  readonly date: ByteString
  readonly from: ByteString
  readonly to: ByteString
  /** The reporting system. */
  readonly host: ByteString
  readonly arrivalDate: ByteString
  readonly level: 'single' | 'double'
  readonly failed: readonly DsnRecipient[]
  /** Failed recipients that are not named. */
  readonly left: number
  readonly message: QuotedMessage
}

const wordsBytesMax = 900

export function composeDsn(dsn: Dsn): Buffer {
  const utf8 = dsn.failed.some(({ address }) => hasHighByte(address)) || hasHighByte(dsn.to)
  const boundary = freeBoundary(dsn)
  const report = utf8 ? 'global-delivery-status' : 'delivery-status'
  const parts = [
    part(boundary, 'text/plain; charset=utf-8', '8bit', humanLines(dsn)),
    part(boundary, `message/${report}`, utf8 ? '8bit' : '7bit', statusLines(dsn, utf8)),
  ]
  const head = Buffer.from(`${headerLines(dsn, boundary, report).join('\r\n')}\r\n\r\n${parts.join('')}`, 'latin1')
  return Buffer.concat([head, ...quotedPart(dsn.message, boundary, utf8), Buffer.from(`\r\n--${boundary}--\r\n`)])
}

function headerLines(dsn: Dsn, boundary: string, report: string): ByteString[] {
  return [
    `Date: ${dsn.date}`,
    `From: Mail Delivery System <${headerAddress(dsn.from)}>`,
    `To: ${headerAddress(dsn.to)}`,
    'Subject: failure notice',
    `Message-ID: <${safeToken(dsn.id)}@${safeToken(dsn.host)}>`,
    'Auto-Submitted: auto-replied',
    'MIME-Version: 1.0',
    `Content-Type: multipart/report; report-type=${report};`,
    ` boundary="${boundary}"`,
    'Content-Transfer-Encoding: 8bit',
  ]
}

function part(boundary: string, type: string, encoding: string, lines: readonly ByteString[]): ByteString {
  const header = `--${boundary}\r\nContent-Type: ${type}\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n`
  return `${header}${lines.join('\r\n')}\r\n\r\n`
}

function humanLines(dsn: Dsn): ByteString[] {
  const lines = [`This is the mail system at ${safeToken(dsn.host)}.`, '']
  if (dsn.level === 'single')
    lines.push('Your message could not be delivered to the addresses below, and will not be tried again.')
  else lines.push('A notice of failed delivery could not itself be delivered to the address below.')
  if (dsn.message.truncated) lines.push('Only the beginning of the message is attached.')
  for (const { address, words } of dsn.failed) {
    lines.push('', `<${headerAddress(address)}>:`, ...safeLines(words, true).map((line) => `    ${line}`))
  }
  if (dsn.left > 0) lines.push('', `${dsn.left} more addresses failed; their names are left out.`)
  return lines
}

function statusLines(dsn: Dsn, utf8: boolean): ByteString[] {
  const lines = [`Reporting-MTA: dns; ${safeToken(dsn.host)}`, `Arrival-Date: ${dsn.arrivalDate}`]
  for (const { address, status, remote, fromSmtp, words, date } of dsn.failed) {
    const type = utf8 && hasHighByte(address) ? 'utf-8' : 'rfc822'
    const said = safeLine(words.replace(/[\r\n]+/g, ' '), utf8, wordsBytesMax)
    lines.push(
      '',
      `Final-Recipient: ${type}; ${headerAddress(address)}`,
      'Action: failed',
      `Status: ${status}`,
      ...(remote === '' ? [] : [`Remote-MTA: dns; ${safeToken(remote)}`]),
      `Diagnostic-Code: ${fromSmtp ? 'smtp' : 'x-qmq'}; ${said}`,
      `Last-Attempt-Date: ${date}`,
    )
  }
  return lines
}

/** The message whole, or as much of it as there is; RFC 6522 3 wants message/rfc822 for a message and headers for a cut one. */
function quotedPart(message: QuotedMessage, boundary: string, utf8: boolean): Buffer[] {
  const { text, truncated } = message
  const headerEnd = text.indexOf('\r\n\r\n', 0, 'latin1')
  const onlyHeader = truncated && headerEnd < 0
  const whole = utf8 ? 'message/global' : 'message/rfc822'
  const header = utf8 ? 'message/global-headers' : 'text/rfc822-headers'
  const encoding = isSevenBit(text) ? '7bit' : '8bit'
  const lines = [
    `--${boundary}`,
    `Content-Type: ${onlyHeader ? header : whole}`,
    `Content-Transfer-Encoding: ${encoding}`,
    ...(truncated ? ['Content-Description: beginning of the undelivered message'] : []),
  ]
  return [Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), text]
}

function isSevenBit(text: Buffer): boolean {
  for (const byte of text) if (byte > 127) return false
  return true
}

/** Grows until the quoted message does not hold it. */
function freeBoundary(dsn: Dsn): string {
  let boundary = `=_${safeToken(dsn.id)}`
  while (dsn.message.text.includes(boundary, 0, 'latin1')) boundary += '_'
  return boundary
}

/** A word of a field: visible ASCII without what would end a quoted string or an angle bracket. */
function safeToken(word: ByteString): ByteString {
  return word.slice(0, 255).replace(/[^A-Za-z0-9.:[\]_-]/g, '?')
}
