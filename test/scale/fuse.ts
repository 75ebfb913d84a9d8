/** Which of the answers on a link are lost: those that come after a number of others has passed. */

/**
 * `client`: the edge's 250. `intake`: an instance's `K` to the edge. `handover`: a target's `taken` to the source. `delivery`: the next hop's
 * 250 to an instance.
 */
export const links = ['client', 'intake', 'handover', 'delivery'] as const
export type Link = (typeof links)[number]

export class Fuse {
  #left: number[] = []
  #armed = 0
  #lost = 0

  /** One answer is to be lost, once `passing` more have passed. */
  arm(passing: number): void {
    this.#armed++
    this.#left.push(passing)
  }

  /** What has not come about is not waited for any more. */
  disarm(): void {
    this.#left = []
  }

  /** `answers` are about to pass together: true where they are lost instead. */
  blows(answers: number): boolean {
    if (answers === 0 || this.#left.length === 0) return false
    this.#left = this.#left.map((left) => left - 1)
    const due = this.#left.findIndex((left) => left < 0)
    if (due < 0) return false
    this.#left.splice(due, 1)
    this.#lost += answers
    return true
  }

  get tally(): CutTally {
    return { armed: this.#armed, lost: this.#lost }
  }
}

export interface CutTally {
  /** How many were asked for. */
  readonly armed: number
  /** Answers that were lost. */
  readonly lost: number
}

export type Fuses = Readonly<Record<Link, Fuse>>
export type CutTallies = Readonly<Record<Link, CutTally>>

export function newFuses(): Fuses {
  return { client: new Fuse(), intake: new Fuse(), handover: new Fuse(), delivery: new Fuse() }
}

export function talliesOf(fuses: Fuses): CutTallies {
  const { client, intake, handover, delivery } = fuses
  return { client: client.tally, intake: intake.tally, handover: handover.tally, delivery: delivery.tally }
}
