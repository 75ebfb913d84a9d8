/**
 * Shares of the cluster's limits on a destination: what instances and the keeper of shares say to each other.
 *
 * An instance asks every `askMs` and is granted amounts of each ceiling, which it uses for `usableMs` from the moment it *asked*; the keeper
 * counts them for `lifeMs` from the moment it answered, which is later on any clock. An instance that has no grant any more uses nothing,
 * and from `quietMs` after the last one, or after its start, its static floor: its part of the ceiling by the layout alone.
 *
 * The floor is the ceiling over all ids that pools keep, not over the instances that run: scaling changes no floor, so that two layouts
 * under way agree. An instance that is known to be quiet for longer than a grant lives needs no floor kept for it; that is known once it
 * has confirmed a grant, and so what idle instances do not use is used by others.
 *
 * No clock runs more than a tenth faster than another; nothing else is assumed of them.
 */

import type { Json } from './coordination.ts'
import type { ClusterLimit, Layout, Role } from './layout.ts'

export const shareTerms = {
  askMs: 2000,
  /** For the instance, from its asking. */
  usableMs: 8000,
  /** For the keeper, from its answering. */
  lifeMs: 10_000,
  /** For the instance, from its taking a grant. */
  quietMs: 22_000,
  /** For the keeper, from its giving the grant that the instance has confirmed. */
  knownQuietMs: 19_000,
} as const

/** Who is asked: served by the control process that leads. */
export const shareKeeperName = 'shares'

export interface ShareAsk {
  readonly instance: string
  /** The grant this process holds or held last; absent where it has had none. */
  readonly last?: string
  readonly wants: readonly ShareWant[]
}

export interface ShareWant {
  readonly ceiling: string
  /** What it could use now. */
  readonly wanted: number
  /** What is in use and cannot be given back before it ends: deliveries under way. */
  readonly held: number
}

export interface ShareGrant {
  /** Unlike every other grant of any keeper. */
  readonly grant: string
  /** By ceiling; one that is missing is nothing. */
  readonly shares: Readonly<Record<string, number>>
}

export interface Ceiling {
  /** `concurrency HOST` or `rate HOST`. */
  readonly name: string
  /** Deliveries at a time, or messages within the limit's time. */
  readonly amount: number
  readonly floor: number
}

export function concurrencyName({ destination }: ClusterLimit): string {
  return `concurrency ${destination}`
}

export function rateName({ destination }: ClusterLimit): string {
  return `rate ${destination}`
}

/** Bounces have a pool of their own, and no limit of the mail that is not theirs. */
export function isSharer(role: Role): boolean {
  return role !== 'bounce'
}

export function ceilingsOf(layout: Layout): readonly Ceiling[] {
  const ids = layout.pools.filter(({ role }) => isSharer(role)).flatMap((pool) => pool.ids).length
  const places = Math.max(1, ids, sharersOf(layout).length)
  const ceiling = (name: string, amount: number) => ({ name, amount, floor: Math.floor(amount / places) })
  return (layout.clusterLimits ?? []).flatMap((limit) => [
    ...(limit.concurrency === undefined ? [] : [ceiling(concurrencyName(limit), limit.concurrency)]),
    ...(limit.rate === undefined ? [] : [ceiling(rateName(limit), limit.rate.events)]),
  ])
}

/** Ids of the instances that deliver under these limits. */
export function sharersOf(layout: Layout): readonly string[] {
  return layout.instances.filter(({ role, standing }) => isSharer(role) && standing !== 'parked').map(({ id }) => id)
}

/** Undefined where the value is none: anybody may write to the hub. */
export function readShareAsk(value: Json): ShareAsk | undefined {
  if (!isRecord(value)) return undefined
  const { instance, last, wants } = value
  const lawful =
    typeof instance === 'string' &&
    (last === undefined || typeof last === 'string') &&
    Array.isArray(wants) &&
    wants.every(
      (want) =>
        isRecord(want) && typeof want['ceiling'] === 'string' && isAmount(want['wanted']) && isAmount(want['held']),
    )
  return lawful ? (value as unknown as ShareAsk) : undefined
}

export function readShareGrant(value: Json): ShareGrant | undefined {
  if (!isRecord(value) || typeof value['grant'] !== 'string' || !isRecord(value['shares'])) return undefined
  return Object.values(value['shares']).every(isAmount) ? (value as unknown as ShareGrant) : undefined
}

function isRecord(value: unknown): value is { readonly [key: string]: Json | undefined } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isAmount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
