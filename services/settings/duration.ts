/**
 * Durations as people write them: a whole number and a unit, `250ms`, `60s`, `15m`, `24h`, `7d`.
 *
 * A number without a unit is refused, with what it would have meant: the historical template of this file set
 * queuelifetime to 1440 for "24 hours", and qmail bounced mail after 24 minutes.
 */

import { type Reading, right, shown, wrong } from './reading.ts'

const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** Ten years: longer is a slip of the pen. */
const durationMsMax = 3650 * unitMs.d

export const durationPattern = '^(0|[1-9][0-9]{0,14})(ms|s|m|h|d)$'
const duration = new RegExp(durationPattern)

/** Milliseconds. */
export function readDuration(input: unknown): Reading<number> {
  const text = String(input).trim()
  if (typeof input === 'number' || /^[0-9]+$/.test(text)) return bareNumber(text)
  const match = typeof input === 'string' ? duration.exec(text) : null
  if (match === null) {
    return wrong(
      `${shown(input)} is not a duration`,
      'write a whole number and one of ms, s, m, h, d, such as 60s or 7d',
    )
  }
  const milliseconds = Number(match[1]) * unitMs[match[2] as keyof typeof unitMs]
  if (milliseconds > durationMsMax) return wrong(`${text} is longer than ten years`, 'write a shorter duration')
  return right(milliseconds)
}

/** The shortest exact form; hours up to two days, so that a day reads `24h`. */
export function writeDuration(milliseconds: number): string {
  if (milliseconds === 0) return '0s'
  if (milliseconds % unitMs.d === 0 && milliseconds >= 2 * unitMs.d) return `${milliseconds / unitMs.d}d`
  for (const unit of ['h', 'm', 's'] as const) {
    if (milliseconds % unitMs[unit] === 0) return `${milliseconds / unitMs[unit]}${unit}`
  }
  return `${milliseconds}ms`
}

function bareNumber(text: string): Reading<number> {
  const count = Number(text)
  if (!Number.isSafeInteger(count) || count < 0 || count * unitMs.m > durationMsMax) {
    return wrong(`${shown(text)} has no unit`, 'write a unit: ms, s, m, h or d, such as 60s or 7d')
  }
  const seconds = writeDuration(count * unitMs.s)
  const minutes = writeDuration(count * unitMs.m)
  return wrong(
    `${count} has no unit: it would be ${count} seconds = ${seconds}`,
    `write ${seconds} if that was meant, ${minutes} for ${count} minutes, or another of ms, s, m, h, d`,
  )
}
