/**
 * A keeper and instances on virtual time from one seed: the real book and the real holders, clocks that run at different speeds, messages that
 * come late or never, processes that stop, die and start again, leaders that follow one another, instances that join and leave.
 */

import { type Ceiling, shareTerms } from '../../../services/contract/share.ts'
import { ShareBook } from '../../../services/control/limits/shares.ts'
import { HeldShares } from '../../../services/queue/held-shares.ts'
import { SeededRandom } from '../../simulation/seeded-random.ts'

export interface ShareFaults {
  readonly hasFaults: boolean
  /** Planted: a new leader gives at once. */
  readonly keeperForgets?: boolean
  /** Planted: a grant counts from its receipt. */
  readonly countsFromReceipt?: boolean
  /** Planted: a new process uses its floor at once. */
  readonly startsAtFloor?: boolean
}

interface Member {
  readonly id: string
  readonly speed: number
  readonly origin: number
  shares: HeldShares
  isRunning: boolean
  /** It does nothing until then, and its allowance is what it was told: time goes on for it. */
  stoppedUntil: number
  wanted: number
  cutOffUntil: number
  life: number
}

export interface ShareRun {
  /** The most that was allowed at one instant, over the ceiling. */
  readonly overMax: number
  /** Of what could be used, the part that was. */
  readonly usedPart: number
}

const places = 8
const stepMs = 50

export class ShareCluster {
  readonly #random: SeededRandom
  readonly #faults: ShareFaults
  readonly #ceiling: Ceiling
  readonly #members: Member[] = []
  readonly #events: { at: number; act: () => void }[] = []
  /** In the layout; what the keeper reads. */
  #sharers: readonly string[] = []
  #book: ShareBook | undefined
  #books = 0
  #keeperSpeed = 1
  #now = 0

  constructor(seed: number, faults: ShareFaults) {
    this.#random = new SeededRandom(seed)
    this.#faults = faults
    const amount = 1 + this.#random.below(200)
    this.#ceiling = { name: 'c', amount, floor: Math.floor(amount / places) }
    const count = 1 + this.#random.below(places)
    for (let number = 0; number < count; number++) this.#join(String(number))
    this.#lead()
  }

  run(durationMs: number): ShareRun {
    let overMax = Number.NEGATIVE_INFINITY
    let used = 0
    let usable = 0
    for (; this.#now < durationMs; this.#now += stepMs) {
      if (this.#faults.hasFaults) this.#strike()
      this.#drift()
      this.#carryOut()
      const allowed = this.#members.map((member) => (member.isRunning ? this.#allowance(member) : 0))
      overMax = Math.max(overMax, sum(allowed) - this.#ceiling.amount)
      if (this.#now < 40_000) continue
      used += sum(this.#members.map(({ wanted }, index) => Math.min(wanted, allowed[index] ?? 0)))
      usable += Math.min(this.#ceiling.amount, sum(this.#members.map(({ wanted }) => wanted)))
    }
    return { overMax, usedPart: usable === 0 ? 1 : used / usable }
  }

  #allowance(member: Member): number {
    return member.shares.allowance('c', this.#timeOf(member))
  }

  #timeOf({ speed, origin }: Member): number {
    return origin + this.#now * speed
  }

  #join(id: string): void {
    this.#sharers = [...this.#sharers, id]
    const speed = 0.95 + this.#random.below(101) / 1000
    const member: Member = {
      ...{ id, speed, origin: this.#random.below(1_000_000) },
      shares: new HeldShares(shareTerms, 0),
      ...{ isRunning: true, stoppedUntil: 0, wanted: this.#random.below(100), cutOffUntil: 0, life: 0 },
    }
    this.#members.push(member)
    this.#begin(member)
  }

  /** A new process. */
  #begin(member: Member): void {
    const startedAt = this.#timeOf(member) - (this.#faults.startsAtFloor === true ? shareTerms.quietMs : 0)
    member.shares = new HeldShares(shareTerms, startedAt)
    member.shares.ceilings = [this.#ceiling]
    member.isRunning = true
    const life = ++member.life
    const ask = () => {
      if (member.life !== life || !member.isRunning) return
      this.#ask(member)
      this.#after(shareTerms.askMs / member.speed, () => this.#whenAwake(member, ask))
    }
    this.#after(this.#random.below(shareTerms.askMs), ask)
  }

  #ask(member: Member): void {
    const { life, shares } = member
    const askedAt = this.#timeOf(member)
    const { last } = shares
    const held = Math.min(member.wanted, this.#allowance(member))
    const wants = [{ ceiling: 'c', wanted: member.wanted, held }]
    const book = this.#book
    this.#send(member, () => {
      // The keeper that leads when the ask comes; one that was asked before and has lost its lease answers nothing.
      if (book !== this.#book || book === undefined) return
      const ask = { instance: member.id, ...(last === undefined ? {} : { last }), wants }
      const grant = book.answer(ask, [this.#ceiling], this.#sharers, this.#now * this.#keeperSpeed)
      if (grant === undefined) return
      this.#send(member, () =>
        this.#whenAwake(member, () => {
          const now = this.#timeOf(member)
          if (member.life !== life) return
          shares.take(grant, this.#faults.countsFromReceipt === true ? now : askedAt, now)
        }),
      )
    })
  }

  #send(member: Member, arrive: () => void): void {
    if (member.cutOffUntil > this.#now) return
    const slow = this.#faults.hasFaults && this.#random.below(10) === 0
    this.#after(1 + this.#random.below(slow ? 12_000 : 100), () => {
      if (member.cutOffUntil <= this.#now) arrive()
    })
  }

  #lead(): void {
    this.#keeperSpeed = 0.95 + this.#random.below(101) / 1000
    const openAt = this.#now * this.#keeperSpeed + (this.#faults.keeperForgets === true ? 0 : shareTerms.lifeMs)
    this.#book = new ShareBook(shareTerms, String(++this.#books), openAt)
  }

  /** Demand moves from one to another. */
  #drift(): void {
    for (const member of this.#members) {
      if (this.#random.below(2400) === 0) member.wanted = this.#random.below(3) === 0 ? 0 : this.#random.below(150)
    }
  }

  #strike(): void {
    if (this.#random.below(100) > 0 || this.#members.length === 0) return
    const member = this.#members[this.#random.below(this.#members.length)] as Member
    const whileMs = this.#random.below(30_000)
    const kind = this.#random.below(7)
    if (kind === 0) member.cutOffUntil = this.#now + whileMs
    else if (kind === 1) member.stoppedUntil = this.#now + whileMs
    else if (kind === 2) for (const one of this.#members) one.cutOffUntil = this.#now + whileMs
    else if (kind === 3 && member.isRunning) this.#begin(member)
    else if (kind === 4) {
      this.#book = undefined
      this.#after(this.#random.below(3000), () => this.#lead())
    } else if (kind === 5 && this.#sharers.length < places) this.#join(`j${this.#now}`)
    else if (kind === 6 && this.#sharers.length > 1) this.#leave(member)
  }

  /** Sealed and stopped first, then out of the layout. */
  #leave(member: Member): void {
    member.isRunning = false
    this.#members.splice(this.#members.indexOf(member), 1)
    this.#sharers = this.#sharers.filter((id) => id !== member.id)
  }

  #whenAwake(member: Member, act: () => void): void {
    if (member.stoppedUntil <= this.#now) act()
    else this.#after(member.stoppedUntil - this.#now, () => this.#whenAwake(member, act))
  }

  #after(delayMs: number, act: () => void): void {
    this.#events.push({ at: this.#now + delayMs, act })
  }

  #carryOut(): void {
    for (;;) {
      const due = this.#events.filter(({ at }) => at <= this.#now).toSorted((one, other) => one.at - other.at)
      if (due.length === 0) return
      const later = this.#events.filter(({ at }) => at > this.#now)
      this.#events.splice(0, this.#events.length, ...later)
      for (const { act } of due) act()
    }
  }
}

function sum(amounts: readonly number[]): number {
  return amounts.reduce((total, amount) => total + amount, 0)
}
