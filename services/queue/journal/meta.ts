/**
 * The fields of a record's meta, and the state of one recipient: how they are written and read back. No I/O.
 *
 * Numbers are little-endian; times are unix milliseconds; text is latin1, one byte a character. A reader never goes past
 * the end it was given: what does not fit throws RangeError.
 */

import type { ByteString } from '../../protocol/byte-string.ts'
import type { Failure } from '../../protocol/failure.ts'

export type RecipientStatus = 'pending' | 'delivered' | 'failed' | 'discarded'
export const statuses: readonly RecipientStatus[] = ['pending', 'delivered', 'failed', 'discarded']

/** What became of one recipient so far. */
export interface RecipientState {
  readonly address: ByteString
  readonly status: RecipientStatus
  readonly attempts: number
  /** Next attempt, while pending. */
  readonly dueAt: number
  /** The last failure, or why it failed for good. */
  readonly failure: Failure | undefined
  readonly remote: string
  /** When the status was reached. */
  readonly at: number
}

export function stateLength(state: RecipientState): number {
  return 2 + state.address.length + 1 + 4 + 8 + 8 + failureLength(state.failure, state.remote)
}

export function failureLength(failure: Failure | undefined, remote: string): number {
  if (failure === undefined) return 1 + 2 + cut(remote, remoteBytesMax).length
  return 1 + 2 + cut(remote, remoteBytesMax).length + 1 + 2 + 2 + failure.enhanced.length + 2 + cut(failure.text).length
}

/** Texts are ours or a peer's; a peer's length is bounded where it is read, and here once more. */
const textBytesMax = 1024
const remoteBytesMax = 256
function cut(text: string, bytesMax = textBytesMax): string {
  return text.length > bytesMax ? text.slice(0, bytesMax) : text
}

export class MetaWriter {
  position: number
  readonly #buffer: Buffer

  constructor(buffer: Buffer, position: number) {
    this.#buffer = buffer
    this.position = position
  }

  byte(value: number): void {
    this.position = this.#buffer.writeUInt8(value, this.position)
  }

  count(value: number): void {
    this.position = this.#buffer.writeUInt32LE(value, this.position)
  }

  float(value: number): void {
    this.position = this.#buffer.writeDoubleLE(value, this.position)
  }

  shortText(value: string): void {
    this.byte(value.length)
    this.position += this.#buffer.write(value, this.position, 'latin1')
  }

  text(value: string): void {
    this.position = this.#buffer.writeUInt16LE(value.length, this.position)
    this.position += this.#buffer.write(value, this.position, 'latin1')
  }

  failure(failure: Failure | undefined, remote: string): void {
    this.byte(failure === undefined ? 0 : failure.class === 'temporary' ? 1 : 2)
    this.text(cut(remote, remoteBytesMax))
    if (failure === undefined) return
    this.byte(failure.blame === 'sender' ? 0 : failure.blame === 'peer' ? 1 : 2)
    this.position = this.#buffer.writeUInt16LE(failure.code, this.position)
    this.text(failure.enhanced)
    this.text(cut(failure.text))
  }

  state(state: RecipientState): void {
    this.text(state.address)
    this.byte(statuses.indexOf(state.status))
    this.count(state.attempts)
    this.float(state.dueAt)
    this.float(state.at)
    this.failure(state.failure, state.remote)
  }
}

export class MetaReader {
  #position: number
  readonly #buffer: Buffer
  readonly #end: number

  constructor(buffer: Buffer, position: number, end: number) {
    this.#buffer = buffer
    this.#position = position
    this.#end = end
  }

  get isAtEnd(): boolean {
    return this.#position === this.#end
  }

  finish(): void {
    if (this.#position !== this.#end)
      throw new RangeError(`${this.#end - this.#position} bytes are left of a record's meta`)
  }

  byte(): number {
    return this.#buffer.readUInt8(this.#take(1))
  }

  count(): number {
    return this.#buffer.readUInt32LE(this.#take(4))
  }

  float(): number {
    return this.#buffer.readDoubleLE(this.#take(8))
  }

  shortText(): string {
    return this.#string(this.byte())
  }

  text(): string {
    return this.#string(this.#buffer.readUInt16LE(this.#take(2)))
  }

  many<Item>(count: number, read: () => Item): Item[] {
    if (count > this.#end - this.#position) throw new RangeError('a count larger than its record')
    const items: Item[] = []
    for (let index = 0; index < count; index++) items.push(read())
    return items
  }

  status(): RecipientStatus {
    const status = statuses[this.byte()]
    if (status === undefined) throw new RangeError('an unknown recipient status')
    return status
  }

  failure(): { failure: Failure | undefined; remote: string } {
    const kind = this.byte()
    const remote = this.text()
    if (kind === 0) return { failure: undefined, remote }
    const blame = this.byte()
    const code = this.#buffer.readUInt16LE(this.#take(2))
    const enhanced = this.text()
    const text = this.text()
    return {
      remote,
      failure: {
        class: kind === 1 ? 'temporary' : 'permanent',
        blame: blame === 0 ? 'sender' : blame === 1 ? 'peer' : 'self',
        code,
        enhanced,
        text,
      },
    }
  }

  state(): RecipientState {
    const address = this.text()
    const status = this.status()
    const attempts = this.count()
    const dueAt = this.float()
    const at = this.float()
    return { address, status, attempts, dueAt, at, ...this.failure() }
  }

  #string(length: number): string {
    const start = this.#take(length)
    return this.#buffer.toString('latin1', start, start + length)
  }

  #take(bytes: number): number {
    const start = this.#position
    if (start + bytes > this.#end) throw new RangeError('a record ends inside a field')
    this.#position = start + bytes
    return start
  }
}
