/** One content per recipient: sender, recipient and text; our own trace line is not part of it. The text is hashed once, or never. */

import type { ByteString } from '../protocol/byte-string.ts'
import { sha256 } from '../runtime/digest.ts'
import type { Content } from './committed-memory.ts'
import type { Transaction } from './transaction.ts'

export class Contents {
  readonly #transaction: Transaction
  #text = ''

  constructor(transaction: Transaction) {
    this.#transaction = transaction
  }

  hintOf(address: ByteString): string {
    return `${this.#transaction.bytes}\0${this.#transaction.sender}\0${address}`
  }

  of(address: ByteString): Content {
    if (this.#text === '') this.#text = sha256(this.#transaction.chunks)
    return { id: sha256([`${this.#text}\0${this.#transaction.sender}\0${address}`]), hint: this.hintOf(address) }
  }
}
