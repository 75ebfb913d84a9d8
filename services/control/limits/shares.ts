/**
 * The keeper's book of shares (`contract/share.ts`): an ask in, a grant out. Pure: times are arguments, of one monotonic clock.
 *
 * What an instance may be using is, at any moment, the most of: every grant to it that has not surely expired or been replaced, what
 * it holds, and its floor, unless it is known to be quiet. A grant is never more than what the others' uses leave of the ceiling.
 *
 * A book knows nothing of the grants of another one: it gives nothing before `openAt`, one life of a grant after its keeper began to lead.
 */

import type { Ceiling, ShareAsk, ShareGrant, ShareWant, shareTerms } from '../../contract/share.ts'
import { divide } from './division.ts'

type ShareTerms = { readonly [Name in keyof typeof shareTerms]: number }

interface Given {
  readonly grant: string
  readonly at: number
  readonly shares: ReadonlyMap<string, number>
}

interface Account {
  wants: ReadonlyMap<string, ShareWant>
  heardAt: number
  /** Oldest first: those that may be in use. */
  given: Given[]
  /** When the last grant that it has confirmed was given. */
  confirmedAt: number
}

export class ShareBook {
  readonly #terms: ShareTerms
  readonly #openAt: number
  readonly #name: string
  readonly #accounts = new Map<string, Account>()
  #grants = 0

  /** `name`: unlike that of every other book. */
  constructor(terms: ShareTerms, name: string, openAt: number) {
    this.#terms = terms
    this.#name = name
    this.#openAt = openAt
  }

  /** `sharers` and `ceilings` are of a layout that was read after the ask had come. Undefined: nothing is granted yet, or ever. */
  answer(ask: ShareAsk, ceilings: readonly Ceiling[], sharers: readonly string[], now: number): ShareGrant | undefined {
    if (!sharers.includes(ask.instance)) return undefined
    const account = this.#hear(ask, now)
    if (now < this.#openAt) return undefined
    const shares = new Map<string, number>()
    for (const ceiling of ceilings) shares.set(ceiling.name, this.#share(ask.instance, ceiling, sharers, now))
    const grant = `${this.#name}-${++this.#grants}`
    account.given.push({ grant, at: now, shares })
    return { grant, shares: Object.fromEntries(shares) }
  }

  #hear(ask: ShareAsk, now: number): Account {
    let account = this.#accounts.get(ask.instance)
    if (account === undefined) {
      account = { wants: new Map(), heardAt: now, given: [], confirmedAt: Number.NEGATIVE_INFINITY }
      this.#accounts.set(ask.instance, account)
    }
    account.wants = new Map(ask.wants.map((want) => [want.ceiling, want]))
    account.heardAt = now
    const confirmed = account.given.findIndex(({ grant }) => grant === ask.last)
    if (confirmed >= 0) {
      account.confirmedAt = account.given[confirmed]!.at
      account.given.splice(0, confirmed)
    }
    account.given = account.given.filter(({ at }) => at + this.#terms.lifeMs > now)
    return account
  }

  #share(instance: string, ceiling: Ceiling, sharers: readonly string[], now: number): number {
    const others = sharers.filter((id) => id !== instance)
    const free = ceiling.amount - sum(others.map((id) => this.#inUse(id, ceiling, now)))
    const heard = others.filter((id) => this.#isHeard(id, now))
    const silent = sum(others.filter((id) => !heard.includes(id)).map((id) => this.#inUse(id, ceiling, now)))
    const wants = [instance, ...heard].map((id) => this.#want(id, ceiling))
    const [target = 0] = divide(Math.max(0, ceiling.amount - silent), wants)
    return Math.max(0, Math.min(target, free))
  }

  #inUse(instance: string, { name, floor }: Ceiling, now: number): number {
    const account = this.#accounts.get(instance)
    if (account === undefined) return floor
    const { lifeMs, knownQuietMs } = this.#terms
    const live = account.given.filter(({ at }) => at + lifeMs > now).map(({ shares }) => shares.get(name) ?? 0)
    // A loan of the floor given now must have ended before the instance may use it again.
    const isQuiet = now + lifeMs <= account.confirmedAt + knownQuietMs
    return Math.max(isQuiet ? 0 : floor, account.wants.get(name)?.held ?? 0, ...live)
  }

  #isHeard(instance: string, now: number): boolean {
    const account = this.#accounts.get(instance)
    return account !== undefined && now - account.heardAt < this.#terms.lifeMs
  }

  #want(instance: string, { name, amount }: Ceiling): number {
    return Math.min(amount, this.#accounts.get(instance)?.wants.get(name)?.wanted ?? 0)
  }
}

function sum(amounts: readonly number[]): number {
  return amounts.reduce((total, amount) => total + amount, 0)
}
