/**
 * A drill: for a while an instance behaves as if something it depends on were gone, so that a person can see on the running cluster that
 * mail does not mind.
 *
 * Bounded by `drillMsMax` and over by itself, also where whoever ordered it never comes back: while coordination is taken away nobody
 * could call it off. Nothing is cut outside the instance; its own calls are answered as if nobody were there.
 */

import type { Json } from './coordination.ts'

export type DrilledDependency = 'coordination' | 'shared-state'

/** What the operation `drill` takes; it answers `DrillState`. */
export interface DrillOrder {
  readonly dependency: DrilledDependency
  readonly forMs: number
}

/** Part of an instance's state while one runs. */
export interface DrillState {
  readonly dependency: DrilledDependency
  /** Unix milliseconds. */
  readonly until: number
}

export const drillMsMin = 1000
export const drillMsMax = 60_000

/** The order, or in words why it is none. */
export function readDrillOrder(value: Json): DrillOrder | string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'a drill names a dependency and forMs'
  const { dependency, forMs } = value as { readonly [key: string]: Json | undefined }
  if (dependency !== 'coordination' && dependency !== 'shared-state') {
    return 'dependency is coordination or shared-state'
  }
  if (typeof forMs !== 'number' || !Number.isInteger(forMs) || forMs < drillMsMin || forMs > drillMsMax) {
    return `forMs is a whole number from ${drillMsMin} to ${drillMsMax}`
  }
  return { dependency, forMs }
}
