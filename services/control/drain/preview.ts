/**
 * What an order would do, before anybody gives it: how much would move and to whom, about how long that takes, and what it would cost the
 * pool's service level. Pure. What is guessed says so: the rate is assumed, and ages are taken to be spread evenly up to the oldest.
 */

import { type Layout, poolOf } from '../../contract/layout.ts'
import type { InstanceState } from '../../contract/operations.ts'
import type { OrderPreview } from '../control-plane.ts'

type States = ReadonlyMap<string, InstanceState>

/** Of one hand-over between two processes on one machine; a network and a loaded disk have less. */
const assumedMessagesPerSecond = 2000
const assumedBytesPerSecond = 20 * 1024 * 1024
/** Room the targets should have for each byte that comes. */
const freeShareWanted = 1.2

/** `next`: the layout that the order would give. Growing moves nothing. */
export function previewOf(before: Layout, next: Layout, states: States): OrderPreview {
  const plan = next.plans.find((candidate) => !before.plans.some(({ id }) => id === candidate.id))
  const added = next.instances.filter(({ id }) => !before.instances.some((instance) => instance.id === id))
  const { leaving, targets } = plan ?? { leaving: [], targets: [] }
  const loads = leaving.flatMap((id) => states.get(id)?.load ?? [])
  const messages = loads.reduce((sum, { queued }) => sum + queued, 0)
  const bytes = loads.reduce((sum, { queuedBytes }) => sum + (queuedBytes ?? 0), 0)
  const oldestAgeMs = Math.max(0, ...loads.map((load) => load.oldestAgeMs))
  const seconds = Math.ceil(Math.max(messages / assumedMessagesPerSecond, bytes / assumedBytesPerSecond))
  const slaMs = plan === undefined ? undefined : poolOf(before, plan.pool).slaMs
  return {
    ...{ leaving, targets, added: added.map(({ id }) => id), messages, bytes, oldestAgeMs, seconds },
    rate: `assumed: ${assumedMessagesPerSecond} messages or ${assumedBytesPerSecond} bytes a second`,
    slaRisk: slaMs === undefined ? 0 : late(messages, oldestAgeMs, seconds * 1000, slaMs),
    notes: notesOf(leaving, targets, states, bytes),
  }
}

/** Those that are in time now and would not be after `delayMs`. */
function late(messages: number, oldestAgeMs: number, delayMs: number, slaMs: number): number {
  if (oldestAgeMs === 0) return delayMs > slaMs ? messages : 0
  const shareYounger = (ageMs: number) => Math.min(Math.max(ageMs, 0), oldestAgeMs) / oldestAgeMs
  return Math.round(messages * (shareYounger(slaMs) - shareYounger(slaMs - delayMs)))
}

function notesOf(
  leaving: readonly string[],
  targets: readonly string[],
  states: States,
  bytes: number,
): readonly string[] {
  const silent = leaving.filter((id) => !states.has(id))
  const unseen = silent.length === 0 ? [] : [`${silent.join(', ')} does not report: what it holds is not counted`]
  const free = targets.flatMap((id) => states.get(id)?.load.freeBytes ?? [])
  const least = Math.min(...free)
  const isTight = free.length > 0 && least < bytes * freeShareWanted
  return isTight ? [...unseen, `a target has ${least} bytes free on its disk, and up to ${bytes} would come`] : unseen
}
