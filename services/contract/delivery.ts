/**
 * What a queue instance asks of whatever delivers: one attempt, one message, one destination, many recipients.
 *
 * A transport (SMTP, QMTP, Maildir) answers each attempt exactly once, with one outcome per recipient in order, whatever
 * happens; it keeps no memory that mail depends on. The queue marks a recipient only after the answer (promise 7).
 */

import type { ByteString } from '../protocol/byte-string.ts'
import type { Failure } from '../protocol/failure.ts'
import type { DeliverSpec, InstanceSpec } from './layout.ts'

/** `lf`: lines end in LF, as qmail stores them; `crlf`: as SMTP sends them. Never mixed by us, never converted in store. */
export type LineForm = 'lf' | 'crlf'

/** A stored message: header and text, beginning with the Received lines of our tiers. */
export interface Body {
  readonly form: LineForm
  readonly bytes: number
  /** Bytes [position, position + length), at once where they are in memory. Rejects where the disk cannot be read. */
  slice(position: number, length: number): Buffer | Promise<Buffer>
}

/** Where an attempt goes. `key` names what limits and fairness apply to: `smtp:host:port`, `mx:domain`, `maildir`. */
export type Destination =
  | { readonly key: string; readonly kind: 'maildir' }
  | { readonly key: string; readonly kind: 'smtp'; readonly host: string; readonly port: number }
  | { readonly key: string; readonly kind: 'mx'; readonly domain: ByteString }
  /** Any one of these, least loaded first; all are equal. */
  | { readonly key: string; readonly kind: 'qmtp'; readonly hosts: readonly QmtpHost[] }
  | { readonly key: string; readonly kind: 'hold' }

export interface QmtpHost {
  readonly host: string
  readonly port: number
  /** Given: an instance of this cluster, which speaks TLS and must prove that it is this one. */
  readonly instance?: string
}

export function qmtpHostOf({ id, host, port, tls }: InstanceSpec): QmtpHost {
  return tls === undefined ? { host, port } : { host, port, instance: id }
}

export interface Attempt {
  /** The message's id, and the transaction id given to the next hop. */
  readonly id: string
  readonly sender: ByteString
  readonly recipients: readonly ByteString[]
  readonly body: Body
  readonly destination: Destination
  readonly birthAt: number
}

export type Outcome =
  /** `to` is where it went, for the ledger: `smtp mx.example.net[192.0.2.1]:25`; `text` the peer's words. */
  | { readonly kind: 'delivered'; readonly to: string; readonly text: string }
  /** Temporary failures are tried again, permanent ones become a bounce. */
  | { readonly kind: 'failed'; readonly to: string; readonly failure: Failure }

export interface Transport {
  attempt(attempt: Attempt, done: (outcomes: readonly Outcome[]) => void): void
  /** Refuses new attempts; running ones end by themselves or by their timeouts. Idle connections close. */
  close(): void
}

/** Same outcome for every recipient of an attempt. */
export function sameForAll(attempt: Attempt, outcome: Outcome): readonly Outcome[] {
  return attempt.recipients.map(() => outcome)
}

/** The next hop of a pool's own mail for one recipient domain. */
export function destinationOf(deliver: DeliverSpec, domain: ByteString): Destination {
  switch (deliver.kind) {
    case 'maildir':
      return { key: 'maildir', kind: 'maildir' }
    case 'hold':
      return { key: 'hold', kind: 'hold' }
    case 'mx':
      return { key: `mx:${domain}`, kind: 'mx', domain }
    case 'smtp':
      return { key: `smtp:${deliver.host}:${deliver.port}`, kind: 'smtp', host: deliver.host, port: deliver.port }
    case 'qmtp':
      return { key: `qmtp:${deliver.host}:${deliver.port}`, kind: 'qmtp', hosts: [deliver] }
  }
}
