/**
 * The hand-over between two queue instances: what a draining instance offers, and what its target answers. Whatever carries it
 * (gRPC between processes, a simulated link in tests) is a `HandoverLink`.
 *
 * An offer carries the message as the source has it: envelope, state of every recipient, birth, hold. `taken` means durable at the target,
 * also where it was taken before: the target remembers keys as long as transaction ids. Every other end leaves the message with the source.
 */

export const handoverVersion = 1

export interface HandoverOffer {
  /** At the source; with the source's id the key the target remembers. */
  readonly number: number
  /** The envelope record of the source's journal (`queue/journal/record.ts`, type `carried`), its meta only. */
  readonly envelope: Buffer
  readonly body: readonly Buffer[]
  readonly bodyBytes: number
}

/** `refused`: not taken, ask another target. `unclear`: it may have been taken, ask this one again. */
export type HandoverAnswer =
  | { readonly kind: 'taken'; readonly envelope: string; readonly body: string }
  | { readonly kind: 'refused'; readonly why: string }
  | { readonly kind: 'unclear'; readonly why: string }

export interface HandoverHello {
  readonly version: number
  readonly cluster: string
  readonly plan: string
  readonly source: string
  readonly target: string
  /** Of the layout the source drains by. */
  readonly epoch: number
}

export interface HandoverLink {
  /** Called once per offer, in any order. Offers at most `windowBytes` ahead; never throws. */
  offer(offer: HandoverOffer, answered: (answer: HandoverAnswer) => void): void
  /** Offers that were sent and not answered become `unclear`. */
  close(): void
}

/** Makes a link to a target; connection trouble shows in the answers. */
export type DialHandover = (to: { readonly host: string; readonly port: number }, hello: HandoverHello) => HandoverLink

/** What a target does with offers, whatever carried them. */
export interface HandoverTaker {
  /** In words why this source is not served; undefined where it is. */
  refuse(hello: HandoverHello): string | undefined
  /** `answered` is called once, after the message is durable here, or with why it is not. */
  take(hello: HandoverHello, offer: HandoverOffer, answered: (answer: HandoverAnswer) => void): void
}
