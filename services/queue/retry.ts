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

/** Unix milliseconds in and out; a birth in the future counts as now. */
export function nextAttemptAt(birthAt: number, attemptAt: number, channel: RetryChannel): number {
  const elapsedSeconds = Math.max(0, Math.floor((attemptAt - birthAt) / 1000))
  const root = Math.floor(Math.sqrt(elapsedSeconds)) + skipSeconds[channel]
  return birthAt + root * root * 1000
}

export function isLastAttempt(birthAt: number, attemptAt: number, lifetimeMs: number): boolean {
  return attemptAt > birthAt + lifetimeMs
}

/** What a temporary failure becomes at the last attempt. */
export function expired(failure: Failure): Failure {
  const text = `${failure.text}\nI'm not going to try again; this message has been in the queue too long.`
  return { ...permanent(failure.blame, '5.4.7', text), code: failure.code }
}
