/**
 * What the tiers read and write of a message's header: the Received line of a hop, the count of hops, marks of loops.
 *
 * Nothing here parses addresses or decodes anything; a header is bytes whose lines end in LF or CR LF, up to the first empty
 * line. A hop's words are made harmless as qmail does it: every byte outside letters, digits and `. @ % + / = : - [ ]` becomes `?`,
 * so that nothing a client says can look like our own ` id TOKEN;`.
 */

import type { ByteString } from './byte-string.ts'

export interface ReceivedHop {
  /** What the client called itself; '' is written as `unknown`. */
  readonly helo: ByteString
  /** The client's IP address without brackets. */
  readonly address: ByteString
  /** Our name. */
  readonly by: ByteString
  /** RFC 3848: `SMTP`, `ESMTP`, `ESMTPS`, `UTF8SMTPS`, `QMTP`. */
  readonly protocol: string
  readonly id: string
  /** As `mailDate` writes it. */
  readonly date: ByteString
}

/** The trace line of a hop in qmail's shape, RFC 5321 4.4; lines end as `form` says. */
export function receivedLine(hop: ReceivedHop, form: 'lf' | 'crlf'): ByteString {
  const end = form === 'lf' ? '\n' : '\r\n'
  const from = `Received: from ${harmless(hop.helo)} ([${harmless(hop.address)}])${end}`
  return `${from}  by ${harmless(hop.by)} with ${hop.protocol} id ${hop.id}; ${hop.date}${end}`
}

/** A line of the header must stay below the 998 bytes of RFC 5322 2.1.1. */
const wordBytesMax = 255

function harmless(text: ByteString): ByteString {
  return text === '' ? 'unknown' : text.slice(0, wordBytesMax).replace(/[^A-Za-z0-9.@%+/=:[\]-]/g, '?')
}

/**
 * The id in the first Received line, which the tier before us wrote; undefined where the message does not begin with one
 * of that shape. `start` needs no more than the first few hundred bytes. Whether to believe it is the caller's to say.
 */
export function transactionIdOfReceived(start: ByteString): string | undefined {
  const parts = receivedForm.exec(start)
  return parts?.[1]
}

const receivedForm =
  /^Received: from [!-~]{1,255} \(\[[!-~]{1,255}\]\)\r?\n {2}by [!-~]{1,255} with [A-Z0-9]{1,16} id ([0-9A-Za-z-]{1,64}); /

const emptyLines = { crlf: Buffer.from('\r\n\r\n'), lf: Buffer.from('\n\n') } as const

/**
 * The header of a message held as `chunks`, its last line end included and the empty line not; the whole message where there
 * is no empty line. Undefined where it is longer than `headerBytesMax`.
 */
export function headerOf(chunks: readonly Buffer[], form: 'lf' | 'crlf', headerBytesMax: number): Buffer | undefined {
  const first = chunks[0]
  if (first === undefined) return Buffer.alloc(0)
  const window = headerBytesMax + emptyLines[form].length
  let header = first
  let end = headerEnd(header, form)
  if (end < 0 && chunks.length > 1 && first.length < window) {
    header = Buffer.concat(chunks.slice(0, chunksWithin(chunks, window)))
    end = headerEnd(header, form)
  }
  if (end < 0) return header.length > headerBytesMax ? undefined : header
  return end > headerBytesMax ? undefined : header.subarray(0, end)
}

/** How many leading chunks hold the first `bytes` bytes. */
function chunksWithin(chunks: readonly Buffer[], bytes: number): number {
  let count = 0
  for (let held = 0; count < chunks.length && held < bytes; count++) held += chunks[count]?.length ?? 0
  return count
}

/** The length of the header in `message`, -1 where no empty line ends it. */
function headerEnd(message: Buffer, form: 'lf' | 'crlf'): number {
  const lineEnd = form === 'lf' ? 1 : 2
  if (message[lineEnd - 1] === 10 && (lineEnd === 1 || message[0] === 13)) return 0
  const index = message.indexOf(emptyLines[form])
  return index < 0 ? -1 : index + lineEnd
}

/** Hops so far, as qmail counts them: lines Received and Delivered-To of a header. */
export function countHops(header: Buffer): number {
  let hops = 0
  for (let start = 0; start < header.length; start = nextLine(header, start)) {
    if (isField(header, start, 'received') || isField(header, start, 'delivered-to')) hops++
  }
  return hops
}

/** True where a line Delivered-To of the header names `address`: the message has been in that mailbox before. */
export function wasDeliveredTo(header: Buffer, address: ByteString): boolean {
  const wanted = address.toLowerCase()
  for (let start = 0; start < header.length; start = nextLine(header, start)) {
    if (!isField(header, start, 'delivered-to')) continue
    const line = header.toString('latin1', start, nextLine(header, start))
    if (
      line
        .slice(line.indexOf(':') + 1)
        .trim()
        .toLowerCase() === wanted
    )
      return true
  }
  return false
}

function nextLine(header: Buffer, start: number): number {
  const lineFeed = header.indexOf(10, start)
  return lineFeed < 0 ? header.length : lineFeed + 1
}

/** `name` in lower case; white space before the colon is legal in old mail, RFC 5322 4.5. */
function isField(header: Buffer, start: number, name: string): boolean {
  for (let index = 0; index < name.length; index++) {
    const byte = header[start + index] ?? 0
    const lower = byte >= 65 && byte <= 90 ? byte + 32 : byte
    if (lower !== name.charCodeAt(index)) return false
  }
  let colon = start + name.length
  while (header[colon] === 32 || header[colon] === 9) colon++
  return header[colon] === 58
}
