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
  /** The message as a record of the source's journal (`queue/handover/envelope.ts`), without its body. */
  readonly envelope: Buffer
  readonly body: readonly Buffer[]
  readonly bodyBytes: number
}

/**
 * `refused`: not taken by this offer, which may never have got there; an earlier one may have been. `absent`: the target looked, does not
 * have the message, and will not have it by any offer made before. `unclear`: it may have been taken, ask this one again.
 */
export type HandoverAnswer =
  | { readonly kind: 'taken'; readonly envelope: string; readonly body: string }
  | { readonly kind: 'absent'; readonly why: string }
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
  /**
   * In words why this source is not served; undefined where it is. Called once for each link; offers of earlier links of the source are
   * not taken any more, so that none can still be on its way when a later one is answered.
   */
  refuse(hello: HandoverHello): string | undefined
  /** `hello` is the very one of its link. `answered` is called once, after the message is durable here, or with why it is not. */
  take(hello: HandoverHello, offer: HandoverOffer, answered: (answer: HandoverAnswer) => void): void
}

/** Opens the port of a taker. Rejects where it cannot be had. */
export type ListenHandover = (
  at: { readonly host: string; readonly port: number },
  taker: HandoverTaker,
) => Promise<{ close(): Promise<void> }>
