/**
 * A package as links see it: our trace line, the text as received, the envelope of one pool. However often it is offered, it
 * writes the same bytes. The text is not converted and, unless it is small, not copied.
 */

import type { ByteString } from '../protocol/byte-string.ts'
import { encodeQmtpHead, encodeQmtpTail } from '../protocol/qmtp.ts'
import type { QmtpLink, QmtpLinkOutcome, QmtpLinkPackage } from '../runtime/qmtp-link.ts'
import type { Connection } from '../runtime/world.ts'
import type { Transaction } from './transaction.ts'

export interface PackageOwner {
  settled(index: number, outcome: QmtpLinkOutcome): void
}

/** A package up to this size costs less copied into one buffer than written in parts. */
const copiedBytesMax = 65_536

export class EdgePackage implements QmtpLinkPackage {
  readonly pool: string
  readonly addresses: readonly ByteString[]
  readonly bytes: number
  /** Where it was offered last. */
  link: QmtpLink | undefined
  readonly #owner: PackageOwner
  readonly #index: number
  readonly #transaction: Transaction
  readonly #start: ByteString
  readonly #tail: ByteString

  constructor(
    owner: PackageOwner,
    index: number,
    pool: string,
    addresses: readonly ByteString[],
    transaction: Transaction,
    trace: ByteString,
  ) {
    this.#owner = owner
    this.#index = index
    this.pool = pool
    this.addresses = addresses
    this.#transaction = transaction
    this.#start = encodeQmtpHead('crlf', trace.length + transaction.bytes) + trace
    this.#tail = encodeQmtpTail(transaction.sender, addresses)
    this.bytes = this.#start.length + transaction.bytes + this.#tail.length
  }

  get recipientCount(): number {
    return this.addresses.length
  }

  writeTo(connection: Connection): boolean {
    if (this.bytes <= copiedBytesMax) return connection.write(this.#whole())
    connection.write(this.#start)
    for (const chunk of this.#transaction.chunks) connection.write(chunk)
    return connection.write(this.#tail)
  }

  settled(outcome: QmtpLinkOutcome): void {
    this.#owner.settled(this.#index, outcome)
  }

  #whole(): Buffer {
    const whole = Buffer.allocUnsafe(this.bytes)
    let end = whole.write(this.#start, 0, 'latin1')
    for (const chunk of this.#transaction.chunks) end += chunk.copy(whole, end)
    whole.write(this.#tail, end, 'latin1')
    return whole
  }
}
