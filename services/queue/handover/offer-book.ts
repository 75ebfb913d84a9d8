/**
 * Which message a leaving instance offers next, and to whom. Pure: messages, answers and times in, turns out.
 *
 * Targets are chosen by rendezvous among those that can be asked, so that each takes its share. A message whose last offer has no answer is
 * bound: no other target is asked before that one has said what became of it. What an answer means is a table, below. A target that
 * refuses or is not reached rests for a while, longer each time; each target has so many messages and bytes in flight.
 */

import { Heap } from '../heap.ts'

export interface OfferLimits {
  /** Per target, without an answer. */
  readonly windowMessages: number
  readonly windowBytes: number
  readonly restMinMs: number
  readonly restMaxMs: number
  /** After every target has refused a message. */
  readonly againMs: number
}

export const defaultOfferLimits: OfferLimits = {
  windowMessages: 2048,
  windowBytes: 32 * 1024 * 1024,
  restMinMs: 500,
  restMaxMs: 30_000,
  againMs: 5_000,
}

export interface Offering {
  readonly number: number
  readonly id: string
  readonly bytes: number
  /** Unix milliseconds: what is due first goes first. */
  readonly dueAt: number
  /** The target that was asked last, while its answer is not known. */
  bound: string | undefined
  /** Targets that have refused it in this round. */
  refusedBy: readonly string[]
}

export interface Turn {
  readonly offering: Offering
  readonly target: string
}

export type AnswerKind = 'taken' | 'absent' | 'refused' | 'unclear'

/** `over`: the target has it. `free`: nobody has it. `bound`: only this target can say. */
type Meaning = 'over' | 'free' | 'bound'

/** By what was known before: was every earlier offer of it answered? */
const meanings: Readonly<Record<'answered' | 'unanswered', Readonly<Record<AnswerKind, Meaning>>>> = {
  answered: { taken: 'over', absent: 'free', refused: 'free', unclear: 'bound' },
  unanswered: { taken: 'over', absent: 'free', refused: 'bound', unclear: 'bound' },
}

export function meaningOf(bound: string | undefined, answer: AnswerKind): Meaning {
  return meanings[bound === undefined ? 'answered' : 'unanswered'][answer]
}

interface Lane {
  readonly target: string
  /** Bound to this target, in the order they came; then those that chose it while its window was full. */
  readonly bound: Heap<Offering>
  readonly chosen: Heap<Offering>
  messages: number
  bytes: number
  failures: number
  restsUntil: number
}

export class OfferBook {
  readonly #limits: OfferLimits
  #targets: readonly string[] = []
  readonly #lanes = new Map<string, Lane>()
  readonly #free = new Heap<Offering>()
  readonly #later = new Heap<Offering>()
  #inFlight = 0
  #bound = 0

  constructor(limits: OfferLimits) {
    this.#limits = limits
  }

  /** Who may be offered what is free; none, where only what is bound is to be settled. */
  set targets(targets: readonly string[]) {
    this.#targets = targets
    for (const lane of this.#lanes.values()) for (const offering of lane.chosen.drain()) this.add(offering)
  }

  /** Offers without an answer. */
  get inFlight(): number {
    return this.#inFlight
  }

  /** Messages waiting for the one target that may have them. */
  get bound(): number {
    return this.#bound
  }

  add(offering: Offering): void {
    if (offering.bound === undefined) this.#free.push(offering.dueAt, offering)
    else {
      this.#bound++
      this.#lane(offering.bound).bound.push(offering.dueAt, offering)
    }
  }

  /** The next offer to make, or undefined where none can be made now. It is in flight until `answered`. */
  next(now: number): Turn | undefined {
    for (const lane of this.#lanes.values()) {
      const queue = lane.bound.size > 0 ? lane.bound : lane.chosen
      const offering = queue.peek()
      if (offering === undefined || !this.#isOpen(lane, offering, now)) continue
      queue.pop()
      if (queue === lane.bound) this.#bound--
      return this.#begin(lane, offering)
    }
    while (this.#later.leastKey() <= now) this.add(this.#later.pop()!)
    return this.#nextFree(now)
  }

  /** When `next` should be asked again though nothing was answered; Infinity: never. */
  nextAt(now: number): number {
    let at = this.#later.leastKey()
    for (const lane of this.#lanes.values()) {
      const isWanted = this.#free.size > 0 || lane.bound.size > 0 || lane.chosen.size > 0
      if (lane.restsUntil > now && isWanted) at = Math.min(at, lane.restsUntil)
    }
    return at
  }

  /** The end of a turn. What is free or bound again is given back with `add`. */
  answered({ offering, target }: Turn, answer: AnswerKind, now: number): Meaning {
    const lane = this.#lane(target)
    lane.messages--
    lane.bytes -= offering.bytes
    this.#inFlight--
    if (answer === 'taken') lane.failures = 0
    else this.#rest(lane, now)
    const meaning = meaningOf(offering.bound, answer)
    offering.bound = meaning === 'bound' ? target : undefined
    if (meaning === 'free') offering.refusedBy = [...offering.refusedBy, target]
    return meaning
  }

  /** A turn that came to nothing before the target was asked. */
  abandoned({ offering, target }: Turn): void {
    const lane = this.#lane(target)
    lane.messages--
    lane.bytes -= offering.bytes
    this.#inFlight--
  }

  /** Takes out all that nobody has. */
  takeFree(): Offering[] {
    const chosen = [...this.#lanes.values()].flatMap((lane) => lane.chosen.drain())
    return [...this.#free.drain(), ...this.#later.drain(), ...chosen]
  }

  /** Targets that rest. */
  resting(now: number): readonly string[] {
    return [...this.#lanes.values()].filter(({ restsUntil }) => restsUntil > now).map(({ target }) => target)
  }

  #nextFree(now: number): Turn | undefined {
    if (this.#targets.length === 0) return undefined
    for (let offering = this.#free.peek(); offering !== undefined; offering = this.#free.peek()) {
      const willing = this.#targets.filter((target) => !offering?.refusedBy.includes(target))
      if (willing.length === 0) {
        this.#free.pop()
        this.#putOff(offering, now)
        continue
      }
      const target = rendezvous(
        offering.id,
        willing.filter((one) => this.#lane(one).restsUntil <= now),
      )
      if (target === undefined) return undefined
      const lane = this.#lane(target)
      if (!this.#isOpen(lane, offering, now)) {
        if (lane.chosen.size >= this.#limits.windowMessages) return undefined
        this.#free.pop()
        lane.chosen.push(offering.dueAt, offering)
        continue
      }
      this.#free.pop()
      return this.#begin(lane, offering)
    }
    return undefined
  }

  #putOff(offering: Offering, now: number): void {
    offering.refusedBy = []
    this.#later.push(now + this.#limits.againMs, offering)
  }

  #begin(lane: Lane, offering: Offering): Turn {
    lane.messages++
    lane.bytes += offering.bytes
    this.#inFlight++
    return { offering, target: lane.target }
  }

  #isOpen(lane: Lane, offering: Offering, now: number): boolean {
    if (lane.restsUntil > now || lane.messages >= this.#limits.windowMessages) return false
    return lane.messages === 0 || lane.bytes + offering.bytes <= this.#limits.windowBytes
  }

  /** What came back together rests its target once. */
  #rest(lane: Lane, now: number): void {
    if (lane.restsUntil > now) return
    const { restMinMs, restMaxMs } = this.#limits
    lane.restsUntil = now + Math.min(restMaxMs, restMinMs * 2 ** Math.min(lane.failures++, 20))
    for (const offering of lane.chosen.drain()) this.add(offering)
  }

  #lane(target: string): Lane {
    let lane = this.#lanes.get(target)
    if (lane === undefined) {
      const [bound, chosen] = [new Heap<Offering>(), new Heap<Offering>()]
      lane = { target, bound, chosen, messages: 0, bytes: 0, failures: 0, restsUntil: 0 }
      this.#lanes.set(target, lane)
    }
    return lane
  }
}

/** Highest random weight: every message has an order of targets of its own, and keeps it when targets come or go. */
export function rendezvous(id: string, targets: readonly string[]): string | undefined {
  let chosen: string | undefined
  let most = -1
  for (const target of targets) {
    const weight = weightOf(`${target}>${id}`)
    if (weight > most) [chosen, most] = [target, weight]
  }
  return chosen
}

/** FNV-1a, with its bits mixed: the last characters alone would decide too little. */
function weightOf(text: string): number {
  let hash = 2166136261
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 16777619)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
