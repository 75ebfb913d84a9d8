/**
 * One mail transaction at the edge: envelope, text as received, and what the Received line says of the client.
 *
 * The text stays in the buffers the network gave. A client that sends many small pieces would make each cost far more than its bytes, so
 * after the first few they are copied together.
 */

import type { ByteString } from '../protocol/byte-string.ts'

export interface TransactionRecipient {
  readonly address: ByteString
  readonly pool: string
}

/** Who hands the message in, as the trace line says it. */
export interface TransactionOrigin {
  readonly helo: ByteString
  readonly address: string
  readonly protocol: string
}

const piecesKeptMax = 8
const pieceBytesMin = 4096
const gatherBytes = 65_536

export class Transaction {
  readonly sender: ByteString
  readonly recipients: TransactionRecipient[] = []
  readonly utf8: boolean
  origin: TransactionOrigin = { helo: '', address: '', protocol: '' }
  id = ''
  /** Text bytes held. */
  bytes = 0
  #chunks: Buffer[] = []
  #gathered: Buffer | undefined
  #gatheredBytes = 0

  constructor(sender: ByteString, utf8: boolean) {
    this.sender = sender
    this.utf8 = utf8
  }

  /** The text so far, in order. */
  get chunks(): readonly Buffer[] {
    this.#endGathering()
    return this.#chunks
  }

  add(chunk: Buffer): void {
    this.bytes += chunk.length
    if (chunk.length >= pieceBytesMin || this.#chunks.length < piecesKeptMax) {
      this.#endGathering()
      this.#chunks.push(chunk)
      return
    }
    if (this.#gathered === undefined || this.#gatheredBytes + chunk.length > gatherBytes) {
      this.#endGathering()
      this.#gathered = Buffer.allocUnsafe(gatherBytes)
    }
    chunk.copy(this.#gathered, this.#gatheredBytes)
    this.#gatheredBytes += chunk.length
  }

  /** Forgets the text. */
  drop(): void {
    this.bytes = 0
    this.#chunks = []
    this.#gathered = undefined
    this.#gatheredBytes = 0
  }

  #endGathering(): void {
    if (this.#gathered === undefined) return
    this.#chunks.push(this.#gathered.subarray(0, this.#gatheredBytes))
    this.#gathered = undefined
    this.#gatheredBytes = 0
  }
}
