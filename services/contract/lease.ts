/**
 * A lease: the right of one process to act for the whole cluster, for as long as it keeps renewing it.
 *
 * It lives under `leaseKey(name)` and vanishes by itself (`keyLifetimes.leaseMs`). The revision of its first record is the fencing
 * number of that term: whoever takes orders remembers the highest one it has seen and refuses lower ones, because a holder
 * that was cut off may not know yet that it is none any more.
 */

import type { Json } from './coordination.ts'

export const leaseSchema = 'qmq-lease'
export const leaseVersion = 1

export interface LeaseRecord {
  readonly schema: typeof leaseSchema
  readonly version: typeof leaseVersion
  /** Who holds it, for people: `control/host/4711`. */
  readonly holder: string
  /** Given back: the next one need not wait for the end of its life. */
  readonly released: boolean
}

export function leaseRecord(holder: string, released = false): Json {
  const record: LeaseRecord = { schema: leaseSchema, version: leaseVersion, holder, released }
  return { ...record }
}

/** Undefined where it is none of this version: it is then taken for held by somebody we do not understand. */
export function readLeaseRecord(value: Json): LeaseRecord | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const { schema, version, holder, released } = value as { readonly [key: string]: Json | undefined }
  if (schema !== leaseSchema) return undefined
  if (version !== leaseVersion || typeof holder !== 'string' || typeof released !== 'boolean') return undefined
  return { schema, version, holder, released }
}
