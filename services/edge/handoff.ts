/**
 * The hand-over of one transaction to the queue instances, decided without doing anything (promises 1, 5 and 6).
 *
 * One package per pool. Rules, per package:
 *   not sent, or `Z` for every recipient that got no `D`: nothing was committed; the next instance of the pool, then the BACKUP pool's, then 451.
 *   unclear: the instance may have committed it. From then on only this instance is asked, with the same bytes and id, whatever
 *     else it says, until it answers `K` or `D`, or `unclearRetryMs` have passed: then 451.
 *   `K` for some recipients and not for others: settled as it is; offering it again elsewhere would duplicate the `K`s.
 * The verdict comes when every package is settled. 250 only where every recipient has its `K`. Permanent refusal only
 * where every recipient not yet committed was refused with `D` and none was committed in this try. Anything else is 451, and
 * the committed recipients are named, so that the client's next try does not send them again; when all that remains is
 * `D`, that try ends in 554.
 */

import type { ByteString } from '../protocol/byte-string.ts'

export interface HandoffAnswer {
  readonly letter: 'K' | 'Z' | 'D'
  readonly text: ByteString
}

export interface InstanceChooser {
  /** The best instance of a pool that can be offered a package now and is not among `tried`. */
  choose(pool: string, tried: readonly string[]): string | undefined
}

export type HandoffStep =
  | { readonly kind: 'offer'; readonly package: number; readonly instance: string }
  | { readonly kind: 'offer-later'; readonly package: number; readonly instance: string; readonly afterMs: number }
  /** Other packages are still under way. */
  | { readonly kind: 'wait' }
  | { readonly kind: 'finish'; readonly verdict: HandoffVerdict }

export type HandoffVerdict =
  | { readonly kind: 'accepted' }
  | {
      readonly kind: 'refused'
      readonly class: 'temporary' | 'permanent'
      readonly text: ByteString
      /** Packages' recipients, by package and place in it, that an instance has committed. */
      readonly committed: readonly { readonly package: number; readonly recipient: number }[]
    }

export interface HandoffPackage {
  readonly pool: string
  readonly recipientCount: number
}

/** `unclear` and `settled` never go back; a package is `offered` at most at one instance at a time. */
type PackageState = 'placing' | 'offered' | 'unclear' | 'settled'

interface Progress {
  readonly package: HandoffPackage
  state: PackageState
  instance: string
  tried: string[]
  unclearSince: number
  reoffers: number
  answers: readonly HandoffAnswer[]
  /** Why it was not placed, where it has no answers. */
  why: string
}

const wait: HandoffStep = { kind: 'wait' }
const accepted: HandoffStep = { kind: 'finish', verdict: { kind: 'accepted' } }
const notNow = 'no queue instance can take the message now'

/** Pause before an unclear package is offered again; doubles up to the second. */
const reofferMinMs = 50
const reofferMaxMs = 1000

export class Handoff {
  readonly #progress: readonly Progress[]
  readonly #chooser: InstanceChooser
  readonly #backupPool: string | undefined
  readonly #unclearRetryMs: number
  #unsettled: number

  constructor(
    packages: readonly HandoffPackage[],
    chooser: InstanceChooser,
    backupPool: string | undefined,
    unclearRetryMs: number,
  ) {
    this.#chooser = chooser
    this.#backupPool = backupPool
    this.#unclearRetryMs = unclearRetryMs
    this.#unsettled = packages.length
    this.#progress = packages.map((one) => ({
      package: one,
      state: 'placing',
      instance: '',
      tried: [],
      unclearSince: 0,
      reoffers: 0,
      answers: [],
      why: notNow,
    }))
  }

  /** The first step of a package. */
  place(index: number): HandoffStep {
    return this.#place(index, this.#at(index, 'placing'))
  }

  /** The link did not take the package, or gave it back without sending a byte. */
  notSent(index: number, now: number, why: string): HandoffStep {
    const progress = this.#at(index, 'offered', 'unclear')
    if (progress.state === 'unclear') return this.#again(index, progress, now)
    progress.why = why
    progress.tried.push(progress.instance)
    return this.#place(index, progress)
  }

  /** Bytes were sent and the connection was lost, or no reply came in time. `now` never goes back. */
  unclear(index: number, now: number): HandoffStep {
    const progress = this.#at(index, 'offered', 'unclear')
    if (progress.state === 'offered') {
      progress.state = 'unclear'
      progress.unclearSince = now
    }
    return this.#again(index, progress, now)
  }

  /** One answer per recipient of the package, in order. */
  answered(index: number, answers: readonly HandoffAnswer[], now: number): HandoffStep {
    const progress = this.#at(index, 'offered', 'unclear')
    if (answers.length !== progress.package.recipientCount) throw new Error('answers and recipients differ in number')
    const committed = answers.some((answer) => answer.letter === 'K')
    const deferral = answers.find((answer) => answer.letter === 'Z')
    if (!committed && deferral !== undefined) {
      progress.why = deferral.text
      if (progress.state === 'unclear') return this.#again(index, progress, now)
      progress.tried.push(progress.instance)
      return this.#place(index, progress)
    }
    progress.answers = answers
    return this.#settle(progress)
  }

  /** Where the package was last offered. */
  instanceOf(index: number): string {
    return this.#progress[index]?.instance ?? ''
  }

  #at(index: number, ...states: readonly PackageState[]): Progress {
    const progress = this.#progress[index]
    if (progress === undefined || !states.includes(progress.state))
      throw new Error(`package ${index} is in no such state`)
    return progress
  }

  #place(index: number, progress: Progress): HandoffStep {
    const instance =
      this.#chooser.choose(progress.package.pool, progress.tried) ??
      (this.#backupPool === undefined ? undefined : this.#chooser.choose(this.#backupPool, progress.tried))
    if (instance === undefined) return this.#settle(progress)
    progress.state = 'offered'
    progress.instance = instance
    return { kind: 'offer', package: index, instance }
  }

  /** Never another instance: this one may have it. */
  #again(index: number, progress: Progress, now: number): HandoffStep {
    const left = progress.unclearSince + this.#unclearRetryMs - now
    if (left <= 0) {
      progress.why = 'the outcome of the hand-over is not known'
      return this.#settle(progress)
    }
    const pause = Math.min(reofferMaxMs, reofferMinMs * 2 ** Math.min(progress.reoffers, 10), left)
    progress.reoffers++
    return { kind: 'offer-later', package: index, instance: progress.instance, afterMs: pause }
  }

  #settle(progress: Progress): HandoffStep {
    progress.state = 'settled'
    this.#unsettled--
    return this.#unsettled > 0 ? wait : this.#finish()
  }

  #finish(): HandoffStep {
    const committed: { package: number; recipient: number }[] = []
    let refusal: HandoffAnswer | undefined
    let deferral: string | undefined
    for (const [index, progress] of this.#progress.entries()) {
      if (progress.answers.length === 0) deferral ??= progress.why
      for (const [recipient, answer] of progress.answers.entries()) {
        if (answer.letter === 'K') committed.push({ package: index, recipient })
        else if (answer.letter === 'D') refusal ??= answer
        else deferral ??= answer.text
      }
    }
    if (refusal === undefined && deferral === undefined) return accepted
    const permanent = deferral === undefined && committed.length === 0
    const text = (permanent ? refusal?.text : (deferral ?? refusal?.text)) ?? notNow
    return {
      kind: 'finish',
      verdict: { kind: 'refused', class: permanent ? 'permanent' : 'temporary', text, committed },
    }
  }
}
