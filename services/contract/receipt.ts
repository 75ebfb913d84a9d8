/**
 * The receipt of a leaving instance: what left it, what arrived, that both agree. Signed by the leader who saw it, kept with the
 * manifests it speaks of, and checked offline by `qmq audit verify`.
 */

import type { ManifestPart } from './manifest.ts'
import type { Audit } from './operations.ts'

export const receiptVersion = 1

export interface Receipt {
  readonly version: typeof receiptVersion
  readonly cluster: string
  readonly plan: string
  readonly pool: string
  /** The instance that left. */
  readonly instance: string
  readonly by: string
  readonly reason: string
  /** Of the layout it was sealed under. */
  readonly epoch: number
  readonly fence: number
  /** Unix milliseconds. */
  readonly startedAt: number
  readonly sealedAt: number
  readonly messages: number
  readonly bytes: number
  readonly recipients: number
  /** By target, as the instance that left says, and as each target says. */
  readonly left: readonly ManifestPart[]
  readonly arrived: readonly ManifestPart[]
  /** The count of the instance that left, after its seal. `queued` is 0. */
  readonly audit: Audit
}
