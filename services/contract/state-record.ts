/** What an instance says of itself, as a record of coordination. A record that is none is passed over: anybody may write to the store. */

import { type Entry, stateKey } from './coordination.ts'
import type { InstanceState } from './operations.ts'

export type StateReading =
  | { readonly ok: true; readonly state: InstanceState }
  /** Why it is passed over, in words. */
  | { readonly ok: false; readonly why: string }

/** Never throws, whatever it is given. */
export function readStateRecord({ key, value }: Pick<Entry, 'key' | 'value'>): StateReading {
  if (typeof value !== 'object' || value === null) return { ok: false, why: 'it is no record' }
  const { id, tier, phase, pid, epoch, at, startedAt, listeners, load } = value as Readonly<Record<string, unknown>>
  if (typeof id !== 'string' || stateKey(id) !== key) return { ok: false, why: 'it is the state of another instance' }
  const words = [tier, phase].every((word) => typeof word === 'string')
  const numbers = [pid, epoch, at, startedAt].every((number) => Number.isFinite(number))
  const parts = Array.isArray(listeners) && typeof load === 'object' && load !== null
  const isWhole = words && numbers && parts
  return isWhole ? { ok: true, state: value as unknown as InstanceState } : { ok: false, why: 'it is damaged' }
}
