/**
 * What bounces of both formats share: words of strangers made safe to quote, and the copy of the failed message.
 *
 * A remote server's reply and the failed message are hostile input to whoever reads the bounce. Words become printable
 * lines that are cut; the copy keeps its bytes but gets CR LF line ends throughout: a CR or LF that is none becomes `?`, so
 * that the copy holds no line that did not exist and can be sent by SMTP.
 */

import type { ByteString } from './byte-string.ts'

export interface QuotedMessage {
  /** The copy, lines ending in CR LF, not cut inside a line unless a line is longer than the limit. */
  readonly text: Buffer
  /** Something is missing at the end. */
  readonly truncated: boolean
}

export interface WordLimits {
  readonly lineBytesMax: number
  readonly textBytesMax: number
}

export const defaultWordLimits: WordLimits = { lineBytesMax: 512, textBytesMax: 4096 }

const cutMark = '...'

/**
 * Words as printable ASCII lines; none is empty, so that they stay one paragraph. UTF-8 of the words is kept when `eightBit`,
 * else each byte above 126 is `?`.
 */
export function safeLines(words: ByteString, eightBit = false, limits: WordLimits = defaultWordLimits): ByteString[] {
  const cut = words.length > limits.textBytesMax
  const lines = (cut ? words.slice(0, limits.textBytesMax) : words)
    .split(/\r\n|\r|\n/)
    .map((line) => safeLine(line, eightBit, limits.lineBytesMax))
    .filter((line) => line.trim() !== '')
  if (cut) lines.push('(the rest of these words is left out)')
  return lines
}

/** One printable line; escape sequences lose the byte that makes them one. */
export function safeLine(words: ByteString, eightBit: boolean, bytesMax: number): ByteString {
  const printable = words.replace(eightBit ? /[\x00-\x1f\x7f]/g : /[^\x20-\x7e]/g, '?')
  return printable.length > bytesMax ? printable.slice(0, bytesMax - cutMark.length) + cutMark : printable
}

/** `message` is the beginning of the failed message, `whole` false where more of it exists. */
export function quoteMessage(message: Buffer, form: 'lf' | 'crlf', whole: boolean): QuotedMessage {
  const source = whole ? message : message.subarray(0, lastLineEnd(message))
  const result = Buffer.allocUnsafe(source.length * 2 + 2)
  let filled = 0
  for (let index = 0; index < source.length; index++) {
    const byte = source[index]!
    const lineEnd = byte === 10 ? form === 'lf' : byte === 13 && source[index + 1] === 10
    if (lineEnd) {
      if (byte === 13) index++
      result[filled++] = 13
      result[filled++] = 10
    } else result[filled++] = byte === 10 || byte === 13 ? 63 : byte
  }
  if (filled > 0 && result[filled - 1] !== 10) {
    result[filled++] = 13
    result[filled++] = 10
  }
  return { text: result.subarray(0, filled), truncated: !whole }
}

/** The length up to and with the last line end; all where there is none. */
function lastLineEnd(message: Buffer): number {
  const lineFeed = message.lastIndexOf(10)
  return lineFeed < 0 ? message.length : lineFeed + 1
}
