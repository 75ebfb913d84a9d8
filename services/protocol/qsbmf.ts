/**
 * QSBMF, qmail's bounce format: paragraphs of plain text that a program can read (QSBMF). The writer and the reader.
 *
 * Introduction; for each failed recipient a paragraph that begins `<address>:`; the break, which begins with `-`; then
 * Return-Path and the message. Words are qmail's own. No paragraph can hold an empty line, no address a line end, so that
 * nothing a stranger says can look like another recipient. Lines end in CR LF.
 */

import type { QuotedMessage } from './bounce-text.ts'
import { safeLine, safeLines } from './bounce-text.ts'
import type { ByteString } from './byte-string.ts'
import { formatPath } from './smtp/address.ts'

export interface QsbmfRecipient {
  readonly address: ByteString
  readonly words: ByteString
}

export interface QsbmfBounce {
  /** As `mailDate` writes it. */
  readonly date: ByteString
  readonly from: ByteString
  readonly to: ByteString
  /** The name the introduction gives this system. */
  readonly host: ByteString
  /** `double`: the failed message was itself a bounce. */
  readonly level: 'single' | 'double'
  /** In order of failure. */
  readonly failed: readonly QsbmfRecipient[]
  /** Envelope sender of the failed message. */
  readonly returnPath: ByteString
  readonly message: QuotedMessage
}

const introductions = {
  single: [
    "I'm afraid I wasn't able to deliver your message to the following addresses.",
    "This is a permanent error; I've given up. Sorry it didn't work out.",
  ],
  double: ['I tried to deliver a bounce message to this address, but the bounce bounced!'],
} as const

const breaks = {
  single: '--- Below this line is a copy of the message.',
  double: '--- Below this line is the original bounce.',
} as const

export const truncationMark = '--- The rest of the message is left out.'

/** Addresses of any length are legal in QMTP; a bounce needs no more than this of one. */
const addressBytesMax = 1000

export function composeQsbmf(bounce: QsbmfBounce): Buffer {
  const lines = [
    `Date: ${bounce.date}`,
    `From: ${headerAddress(bounce.from)}`,
    `To: ${headerAddress(bounce.to)}`,
    'Subject: failure notice',
    '',
    `Hi. This is the qmail-send program at ${safeLine(bounce.host, false, addressBytesMax)}.`,
    ...introductions[bounce.level],
    '',
  ]
  for (const { address, words } of bounce.failed) lines.push(`<${oneLine(address)}>:`, ...indented(words), '')
  lines.push(breaks[bounce.level], '', `Return-Path: ${formatPath(oneLine(bounce.returnPath))}`, '')
  const head = Buffer.from(lines.join('\r\n'), 'latin1')
  const mark = bounce.message.truncated ? `\r\n${truncationMark}\r\n` : ''
  return Buffer.concat([head, bounce.message.text, Buffer.from(mark, 'latin1')])
}

/** Only the first line stands at the margin, so that none of the others can look like a recipient. */
function indented(words: ByteString): ByteString[] {
  return safeLines(words, true).map((line, index) => (index === 0 ? line : `  ${line}`))
}

/** The address as a header shows it: quoted where it must be, one line. */
export function headerAddress(address: ByteString): ByteString {
  return formatPath(oneLine(address)).slice(1, -1)
}

/** qmail writes `_` for a line end in an address. */
function oneLine(address: ByteString): ByteString {
  const text = address.replace(/[\x00-\x1f\x7f]/g, '_')
  return text.length > addressBytesMax ? `${text.slice(0, addressBytesMax)}...` : text
}

export interface QsbmfReading {
  readonly failed: readonly QsbmfRecipient[]
  readonly breakLine: ByteString
}

/** Reads a bounce, lines ending in LF or CR LF; undefined where its text does not begin as QSBMF does. */
export function readQsbmf(message: Buffer): QsbmfReading | undefined {
  const text = message.toString('latin1').replaceAll('\r\n', '\n')
  const bodyAt = text.indexOf('\n\n')
  if (bodyAt < 0 || !text.startsWith('Hi. This is the', bodyAt + 2)) return undefined
  const failed: QsbmfRecipient[] = []
  const paragraphs = text.slice(bodyAt + 2).split(/\n\n+/)
  for (const paragraph of paragraphs.slice(1)) {
    if (paragraph.startsWith('-')) return { failed, breakLine: paragraph.split('\n')[0]! }
    const lineEnd = paragraph.indexOf(':\n')
    const end = lineEnd < 0 && paragraph.endsWith(':') ? paragraph.length - 1 : lineEnd
    if (!paragraph.startsWith('<') || paragraph[end - 1] !== '>') continue
    failed.push({ address: paragraph.slice(1, end - 1), words: paragraph.slice(end + 2) })
  }
  return undefined
}
