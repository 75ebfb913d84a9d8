/** Rates as people write them: a count and a time, `100/s`, `600/m`, `5000/h`. */

import { type Reading, right, shown, wrong } from './reading.ts'

export interface Rate {
  readonly events: number
  readonly perMs: number
}

export const ratePattern = '^[1-9][0-9]{0,8}/(s|m|h)$'

const rate = new RegExp(ratePattern)
const unitMs = { s: 1000, m: 60_000, h: 3_600_000 } as const

export function readRate(input: unknown): Reading<Rate> {
  if (typeof input !== 'string' || !rate.test(input)) {
    return wrong(`${shown(input)} is not a rate`, 'write a count and one of /s, /m, /h, such as 100/s')
  }
  const [events, unit] = input.split('/')
  return right({ events: Number(events), perMs: unitMs[unit as keyof typeof unitMs] })
}
