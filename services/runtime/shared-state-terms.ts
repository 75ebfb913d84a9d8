/** What terms of shared state must keep. They are ours, not a peer's: a wrong one is a defect, and throws. */

import type { GreylistTerms, RateTerms, Reputation, ReputationTerms, SlotTerms } from '../contract/shared-state.ts'

/** Longest time to live: far below where milliseconds since 1970 stop being exact. */
const ttlMsMax = 366 * 86_400_000

/** After so many half-lives a reputation is forgotten: 1/65536 of it is left. */
export const memoryHalfLives = 16

export function checkRate({ events, perMs }: RateTerms, cost: number): void {
  checkWhole('events', events)
  checkWhole('cost', cost)
  checkTtl(perMs)
}

export function checkSlot({ slotsMax, ttlMs }: SlotTerms): void {
  checkWhole('slotsMax', slotsMax)
  checkTtl(ttlMs)
}

export function checkGreylist({ delayMs, retryMs, keepMs }: GreylistTerms): void {
  for (const ttlMs of [delayMs, retryMs, keepMs]) checkTtl(ttlMs)
  if (retryMs <= delayMs) throw new Error(`retryMs ${retryMs} of shared state leaves no time after delayMs ${delayMs}`)
}

export function checkReputation({ halfLifeMs }: ReputationTerms, { good, bad }: Reputation): void {
  checkTtl(halfLifeMs * memoryHalfLives)
  checkWhole('good', good, 0)
  checkWhole('bad', bad, 0)
}

export function checkTtl(ttlMs: number): void {
  checkWhole('ttlMs', ttlMs)
  if (ttlMs > ttlMsMax) throw new Error(`${ttlMs} ms of shared state is longer than a year`)
}

function checkWhole(name: string, value: number, min = 1): void {
  if (!Number.isSafeInteger(value) || value < min) throw new Error(`${name} of shared state is ${value}`)
}
