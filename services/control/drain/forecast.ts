/**
 * What a plan would do, before anybody orders it: how much would move and to whom, about how long that takes, and what it would cost the
 * pool's service level. Pure. Numbers that are guessed say so: the rate is assumed, and ages are taken to be spread evenly up to the oldest.
 */

import { type Layout, poolOf } from '../../contract/layout.ts'
import type { InstanceState } from '../../contract/operations.ts'

export interface Forecast {
  readonly pool: string
  readonly from: number
  readonly to: number
  readonly leaving: readonly string[]
  readonly targets: readonly string[]
  readonly messages: number
  readonly bytes: number
  readonly oldestAgeMs: number
  readonly seconds: number
  readonly rate: { readonly messagesPerSecond: number; readonly bytesPerSecond: number; readonly source: 'assumed' }
  /** Messages that would pass the pool's service level on the way; undefined where the pool has none. */
  readonly slaRisk: number | undefined
  /** What the targets' disks have left, the least of them. Undefined where none says. */
  readonly freeBytes: number | undefined
  /** What speaks against it. */
  readonly warnings: readonly string[]
}

/** Of one hand-over between two processes on one machine; a network and a loaded disk have less. */
const assumedMessagesPerSecond = 2000
const assumedBytesPerSecond = 20 * 1024 * 1024
/** Room the targets should have for each byte that comes. */
const freeShareWanted = 1.2

/** `next`: the layout that the order would give. Growing moves nothing. */
export function forecastOf(
  pool: string,
  { before, next }: { readonly before: Layout; readonly next: Layout },
  states: ReadonlyMap<string, InstanceState>,
): Forecast {
  const plan = next.plans.find((candidate) => !before.plans.some(({ id }) => id === candidate.id))
  const count = (layout: Layout) =>
    layout.instances.filter((one) => one.pool === pool && one.standing !== 'parked').length
  const { leaving, targets, from, to } = plan ?? { leaving: [], targets: [], from: count(before), to: count(next) }
  const loads = leaving.flatMap((id) => states.get(id)?.load ?? [])
  const messages = loads.reduce((sum, { queued }) => sum + queued, 0)
  const bytes = loads.reduce((sum, { queuedBytes }) => sum + (queuedBytes ?? 0), 0)
  const oldestAgeMs = Math.max(0, ...loads.map((load) => load.oldestAgeMs))
  const seconds = Math.ceil(Math.max(messages / assumedMessagesPerSecond, bytes / assumedBytesPerSecond))
  const free = targets.flatMap((id) => states.get(id)?.load.freeBytes ?? [])
  const freeBytes = free.length === 0 ? undefined : Math.min(...free)
  const { slaMs } = poolOf(before, pool)
  return {
    ...{ pool, from, to, leaving, targets, messages, bytes, oldestAgeMs, seconds, freeBytes },
    rate: { messagesPerSecond: assumedMessagesPerSecond, bytesPerSecond: assumedBytesPerSecond, source: 'assumed' },
    slaRisk: slaMs === undefined ? undefined : late(messages, oldestAgeMs, seconds * 1000, slaMs),
    warnings: warningsOf(leaving, states, bytes, freeBytes),
  }
}

/** Those that are in time now and would not be after `delayMs`. */
function late(messages: number, oldestAgeMs: number, delayMs: number, slaMs: number): number {
  if (oldestAgeMs === 0) return delayMs > slaMs ? messages : 0
  const within = (ageMs: number) => Math.min(Math.max(ageMs, 0), oldestAgeMs) / oldestAgeMs
  return Math.round(messages * (within(slaMs) - within(slaMs - delayMs)))
}

function warningsOf(
  leaving: readonly string[],
  states: ReadonlyMap<string, InstanceState>,
  bytes: number,
  freeBytes: number | undefined,
): readonly string[] {
  const silent = leaving.filter((id) => !states.has(id))
  const unseen = silent.length === 0 ? [] : [`${silent.join(', ')}: not reporting, so what it holds is not counted`]
  const isTight = freeBytes !== undefined && freeBytes < bytes * freeShareWanted
  return isTight ? [...unseen, `the targets have ${freeBytes} bytes free for ${bytes} that would come`] : unseen
}
