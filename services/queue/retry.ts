/**
 * When a deferred recipient is tried again: qmail's quadratic schedule, and its end.
 *
 *   next = birth + (floor(sqrt(now - birth)) + skip)^2 seconds, skip 10 for local and 20 for remote mail
 *
 * `now` is when the attempt began. Small delays do not shift the series: remote attempts fall at 0, 400, 1600, 3600 ... seconds.
 * The attempt that begins after birth + lifetime is the last one; its temporary failure counts as permanent.
 */

import { type Failure, permanent } from '../protocol/failure.ts'

export type RetryChannel = 'local' | 'remote'

const skipSeconds: { readonly [channel in RetryChannel]: number } = { local: 10, remote: 20 }

/**
 * Unix milliseconds in and out. A birth in the future, which only a clock that was set back can give, counts as now: unlike
 * qmail's, such a message does not wait for the clock to come round again.
 */
export function nextAttemptAt(birthAt: number, attemptAt: number, channel: RetryChannel): number {
  const from = Math.min(birthAt, attemptAt)
  const root = Math.floor(Math.sqrt(Math.floor((attemptAt - from) / 1000))) + skipSeconds[channel]
  return from + root * root * 1000
}

/** No message expires on the word of a clock alone: it has been tried this often before. */
const attemptsBeforeExpiry = 3

/** `attempts` are those made before this one. */
export function isLastAttempt(birthAt: number, attemptAt: number, lifetimeMs: number, attempts: number): boolean {
  return attemptAt > birthAt + lifetimeMs && attempts >= attemptsBeforeExpiry
}

/** A due time read back from the journal: never later than the schedule would have it from `now`. */
export function boundedDueAt(dueAt: number, birthAt: number, now: number): number {
  return Math.min(dueAt, nextAttemptAt(birthAt, now, 'remote'))
}

/** What a temporary failure becomes at the last attempt. */
export function expired(failure: Failure): Failure {
  const text = `${failure.text}\nI'm not going to try again; this message has been in the queue too long.`
  return { ...permanent(failure.blame, '5.4.7', text), code: failure.code }
}
