/**
 * RESP2 replies, bounded before the Redis client's own parser sees them.
 *
 * The client trusts its server: a null that nobody asked for ends the process, and a text of any announced length is gathered in memory. So
 * only what our scripts can answer passes: statuses, errors, whole numbers, short texts, and one level of arrays of these. Anything else
 * closes the connection. Reads the frame only, keeps no content.
 */

export interface RespLimits {
  /** A status, an error, a number, a length. */
  readonly lineBytesMax: number
  readonly textBytesMax: number
  readonly arrayItemsMax: number
}

/** `line`: until CR LF. `text`: its bytes and the CR LF after them. */
type State = 'type' | 'line' | 'text'

const [status, error, number, text, array] = [0x2b, 0x2d, 0x3a, 0x24, 0x2a] as const
const carriageReturn = 0x0d
const lineFeed = 0x0a

export class RespGuard {
  readonly #limits: RespLimits
  #state: State = 'type'
  #type = 0
  #line = ''
  #textLeft = 0
  /** Items the array at hand still lacks. */
  #items = 0

  constructor(limits: RespLimits) {
    this.#limits = limits
  }

  /** Undefined where `chunk` may pass, else in words why not; nothing may pass after that. */
  receive(chunk: Buffer): string | undefined {
    for (let at = 0; at < chunk.length; ) {
      if (this.#state === 'text') {
        const skipped = Math.min(this.#textLeft, chunk.length - at)
        this.#textLeft -= skipped
        at += skipped
        if (this.#textLeft === 0) this.#endItem()
        continue
      }
      const byte = chunk[at++] as number
      const why = this.#state === 'type' ? this.#begin(byte) : this.#extend(byte)
      if (why !== undefined) return why
    }
    return undefined
  }

  #begin(type: number): string | undefined {
    if (type === array && this.#items > 0) return 'an array inside an array'
    if (![status, error, number, text, array].some((known) => known === type)) return 'a reply of no known type'
    this.#type = type
    this.#line = ''
    this.#state = 'line'
    return undefined
  }

  #extend(byte: number): string | undefined {
    if (this.#line.length >= this.#limits.lineBytesMax) return `a line longer than ${this.#limits.lineBytesMax} bytes`
    const afterReturn = this.#line.charCodeAt(this.#line.length - 1) === carriageReturn
    if (afterReturn !== (byte === lineFeed)) return 'a line that does not end in CR LF'
    this.#line += String.fromCharCode(byte)
    return byte === lineFeed ? this.#endLine() : undefined
  }

  #endLine(): string | undefined {
    const type = this.#type
    if (type === status || type === error) return this.#endItem()
    if (!/^-?[0-9]{1,16}\r\n$/.test(this.#line)) return 'a number that is none'
    if (type === number) return this.#endItem()
    const length = Number(this.#line)
    const lengthMax = type === text ? this.#limits.textBytesMax : this.#limits.arrayItemsMax
    if (length < 0) return 'a null'
    if (length > lengthMax) return `a length of ${length}, more than ${lengthMax}`
    if (type === text) {
      this.#textLeft = length + 2
      this.#state = 'text'
    } else {
      this.#items = length
      this.#state = 'type'
    }
    return undefined
  }

  #endItem(): undefined {
    if (this.#items > 0) this.#items--
    this.#state = 'type'
  }
}
