/**
 * A stored message as SMTP sends it after DATA (RFC 5321 4.5.2): lines end in CR LF, a line that begins with a dot gets
 * one more, and a lone dot ends the text.
 *
 * It never makes a line that did not exist. In `lf` form a line ends in LF or CR LF; in `crlf` form in CR LF only. A CR
 * or LF anywhere else is bare: some receiver would take it for a line end and read commands out of the text, so the
 * writer refuses the message for good (`bare`) instead of guessing what was meant. What was written before a refusal
 * is no message: the connection has to be dropped without the final dot.
 *
 * Slices that need nothing pass as the same Buffer.
 */

const lineFeed = 0x0a
const carriageReturn = 0x0d
const dot = 0x2e

/** The text's last line is ended where it was not, then the lone dot. */
const endAfterLine = Buffer.from('.\r\n', 'latin1')
const endAfterText = Buffer.from('\r\n.\r\n', 'latin1')

export class DotWriter {
  readonly #lf: boolean
  #afterCarriageReturn = false
  #atLineStart = true
  #bare = false

  constructor(form: 'lf' | 'crlf') {
    this.#lf = form === 'lf'
  }

  /** The bytes to send for the next slice of the text. */
  write(slice: Buffer): Buffer | 'bare' {
    const insertions = this.#scan(slice)
    if (this.#bare) return 'bare'
    return insertions === undefined ? slice : insertBefore(slice, insertions)
  }

  /** The bytes that end the message; call once, after the last slice. */
  finish(): Buffer | 'bare' {
    if (this.#bare || this.#afterCarriageReturn) return 'bare'
    return this.#atLineStart ? endAfterLine : endAfterText
  }

  /** Positions before which a byte is missing: a dot before a dot, a CR before a LF. Sets `#bare` on a bare line end. */
  #scan(slice: Buffer): number[] | undefined {
    const lf = this.#lf
    let insertions: number[] | undefined
    let afterCarriageReturn = this.#afterCarriageReturn
    let atLineStart = this.#atLineStart
    for (let position = 0; position < slice.length; position++) {
      const byte = slice[position]!
      if (byte === lineFeed) {
        if (!afterCarriageReturn) {
          if (!lf) return this.#refuse()
          insertions ??= []
          insertions.push(position)
        }
        afterCarriageReturn = false
        atLineStart = true
        continue
      }
      if (afterCarriageReturn) return this.#refuse()
      if (byte === carriageReturn) afterCarriageReturn = true
      else if (atLineStart) {
        if (byte === dot) {
          insertions ??= []
          insertions.push(position)
        }
      }
      atLineStart = false
    }
    this.#afterCarriageReturn = afterCarriageReturn
    this.#atLineStart = atLineStart
    return insertions
  }

  #refuse(): undefined {
    this.#bare = true
    return undefined
  }
}

function insertBefore(slice: Buffer, positions: readonly number[]): Buffer {
  const result = Buffer.allocUnsafe(slice.length + positions.length)
  let from = 0
  let filled = 0
  for (const position of positions) {
    filled += slice.copy(result, filled, from, position)
    result[filled++] = slice[position] === dot ? dot : carriageReturn
    from = position
  }
  slice.copy(result, filled, from)
  return result
}
