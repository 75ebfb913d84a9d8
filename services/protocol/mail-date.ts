/**
 * The date as qmail writes it in Received and Date lines: `3 Nov 2026 03:25:59 -0000`, always UTC, the day without a
 * leading zero (RFC 5322 3.3; the zone `-0000` says that nothing is known of the writer's own).
 */

import type { ByteString } from './byte-string.ts'

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'] as const

/** `unixMs` must be a time a `Date` can hold; anything else is a broken invariant of the caller. */
export function mailDate(unixMs: number): ByteString {
  const date = new Date(unixMs)
  const month = months[date.getUTCMonth()]
  if (month === undefined) throw new RangeError(`not a time: ${unixMs}`)
  const time = `${twoDigits(date.getUTCHours())}:${twoDigits(date.getUTCMinutes())}:${twoDigits(date.getUTCSeconds())}`
  return `${date.getUTCDate()} ${month} ${date.getUTCFullYear()} ${time} -0000`
}

function twoDigits(value: number): string {
  return value < 10 ? `0${value}` : `${value}`
}
