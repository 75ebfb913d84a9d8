/**
 * What an instance says of itself as a record of coordination, below `stateKey(id)`: the state with schema and version. Whoever
 * reads one verifies it first: anybody who may write to the store may have written it.
 */

import { type Entry, type Json, stateKey } from './coordination.ts'
import type { InstanceState } from './operations.ts'

export const stateSchema = 'qmq-state'
export const stateVersion = 1

export type StateReading =
  | { readonly ok: true; readonly state: InstanceState }
  /** Why it is passed over, in words. */
  | { readonly ok: false; readonly why: string }

export function stateRecord(state: InstanceState): Json {
  return { schema: stateSchema, version: stateVersion, ...state } as unknown as Json
}

/** Never throws, whatever it is given. */
export function readStateRecord({ key, value }: Pick<Entry, 'key' | 'value'>): StateReading {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return no('it is no record')
  const { schema, version, ...state } = value as Readonly<Record<string, unknown>>
  if (schema !== stateSchema) return no('it is no state')
  if (version !== stateVersion) return no(`it is of version ${shortly(version)}, this program reads ${stateVersion}`)
  const { id, tier, phase, pid, epoch, at, startedAt, listeners, load } = state
  if (typeof id !== 'string' || stateKey(id) !== key) return no('it is the state of another instance')
  if (tier !== 'edge' && tier !== 'queue' && tier !== 'control') return no('it is of no tier')
  if (!phases.has(phase)) return no('it has no phase')
  const numbers = [pid, epoch, at, startedAt].every((one) => Number.isFinite(one))
  const parts = Array.isArray(listeners) && listeners.every(isListener) && isLoad(load)
  return numbers && parts ? { ok: true, state: state as unknown as InstanceState } : no('it is damaged')
}

const phases: ReadonlySet<unknown> = new Set<InstanceState['phase']>(['starting', 'ready', 'refusing', 'stopping'])

function isListener(one: unknown): boolean {
  if (typeof one !== 'object' || one === null) return false
  const { kind, host, port } = one as Readonly<Record<string, unknown>>
  return typeof kind === 'string' && typeof host === 'string' && typeof port === 'number'
}

function isLoad(load: unknown): boolean {
  if (typeof load !== 'object' || load === null) return false
  const { queued, inFlight, acceptedPerSecond, oldestAgeMs } = load as Readonly<Record<string, unknown>>
  return [queued, inFlight, acceptedPerSecond, oldestAgeMs].every((one) => Number.isFinite(one))
}

function no(why: string): StateReading {
  return { ok: false, why }
}

function shortly(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 40)
}
