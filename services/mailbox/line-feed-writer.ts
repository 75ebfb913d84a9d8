/**
 * A stored message as a Maildir keeps it: every line ends in LF, the last one too.
 *
 * `crlf` form loses the CR of each CR LF; a CR or LF that is not part of one stays as it is. `lf` form passes as the
 * same Buffer. Nothing can fail.
 */

const lineFeed = 0x0a
const carriageReturn = 0x0d
const heldCarriageReturn = Buffer.from('\r', 'latin1')
const empty = Buffer.alloc(0)
const finalLineFeed = Buffer.from('\n', 'latin1')

export class LineFeedWriter {
  readonly #convert: boolean
  #held = false
  #lastByte = lineFeed

  constructor(form: 'lf' | 'crlf') {
    this.#convert = form === 'crlf'
  }

  /** The bytes to keep for the next slice; a CR at its end is held back until the next byte is known. */
  write(slice: Buffer): readonly Buffer[] {
    if (slice.length === 0) return []
    if (!this.#convert) {
      this.#lastByte = slice[slice.length - 1]!
      return [slice]
    }
    const pieces: Buffer[] = []
    if (this.#held && slice[0] !== lineFeed) pieces.push(heldCarriageReturn)
    this.#held = slice[slice.length - 1] === carriageReturn
    const text = withoutLineEndReturns(this.#held ? slice.subarray(0, -1) : slice)
    if (text.length > 0) pieces.push(text)
    this.#lastByte = this.#held ? carriageReturn : text[text.length - 1]!
    return pieces
  }

  finish(): readonly Buffer[] {
    if (this.#held) return [heldCarriageReturn, finalLineFeed]
    return this.#lastByte === lineFeed ? [] : [finalLineFeed]
  }
}

function withoutLineEndReturns(slice: Buffer): Buffer {
  const first = slice.indexOf('\r\n', 0, 'latin1')
  if (first < 0) return slice
  if (slice.length === 0) return empty
  const result = Buffer.allocUnsafe(slice.length)
  let filled = 0
  let from = 0
  for (let end = first; end >= 0; end = slice.indexOf('\r\n', from, 'latin1')) {
    filled += slice.copy(result, filled, from, end)
    from = end + 1
  }
  filled += slice.copy(result, filled, from)
  return result.subarray(0, filled)
}
