/**
 * What the operator may ask a running instance, and the shapes it answers with. Each is a request on
 * `operationSubject(instance, name)`; shapes are stable and part of the CLI's `-o json`.
 */

import type { DrillState } from './drill.ts'
import type { SharedStateStatus } from './shared-state.ts'

/** `state/<id>` in coordination (`state-record.ts`), renewed every `heartbeatMs`. */
export interface InstanceState {
  readonly id: string
  readonly tier: 'edge' | 'queue' | 'control'
  readonly pool?: string
  readonly pid: number
  readonly epoch: number
  /** `starting` is replaying its journal; `refusing` answers Z or 451, for the reason in `why`. */
  readonly phase: 'starting' | 'ready' | 'refusing' | 'stopping'
  readonly why?: string
  readonly listeners: readonly { readonly kind: string; readonly host: string; readonly port: number }[]
  readonly startedAt: number
  readonly at: number
  readonly load: InstanceLoad
  /** The last layout it was offered and did not take; gone once it has taken one, or hears the one in force again. */
  readonly layoutRefused?: Trouble
  /** NATS cannot be reached from here; mail is carried by the layout at hand. */
  readonly coordinationLost?: Trouble
  /** Queue instances that drain or take over. */
  readonly drain?: DrainProgress
  /** While it plays that something it depends on is gone (`drill.ts`). */
  readonly drill?: DrillState
  /** Control processes. */
  readonly control?: ControlProgress
  /** Edges that share through a server. */
  readonly sharedState?: SharedStateStatus
}

/** What a control process does. Only the one that leads has a fence, and tells of plans. */
export interface ControlProgress {
  /** Of its term. */
  readonly fence?: number
  readonly plans: readonly PlanProgress[]
}

export interface PlanProgress {
  readonly plan: string
  /** What is waited for, one line each; empty while something is being done. */
  readonly why: readonly string[]
}

export interface Trouble {
  readonly why: string
  /** Unix milliseconds. */
  readonly at: number
}

/** How far a leaving instance is with its plan. Counts are messages. */
export interface DrainProgress {
  readonly plan: string
  /**
   * `quiescing` waits for running deliveries; `moving` hands over; `empty` has nothing left, and goes back to `moving` if something still
   * comes; `sealed` refuses everything and has written its seal.
   */
  readonly phase: 'quiescing' | 'moving' | 'empty' | 'sealed'
  readonly moved: number
  readonly movedBytes: number
  readonly left: number
  readonly leftBytes: number
  /** Offered to a target whose answer is not known yet: only this target is asked again. */
  readonly offered: number
  /** Why it does not go on, where it does not. */
  readonly why?: string
}

export interface InstanceLoad {
  /** Messages in the queue, or sessions at an edge. */
  readonly queued: number
  readonly inFlight: number
  readonly acceptedPerSecond: number
  readonly oldestAgeMs: number
  /** Queue instances: bytes of the messages in the queue, and what their disk has left. */
  readonly queuedBytes?: number
  readonly freeBytes?: number
}

export const heartbeatMs = 1000

/**
 * Conservation of mail (promise 8), counted in recipients: every recipient accepted or taken over is delivered, bounced, discarded by a
 * named rule, handed over, or still queued. All but the last come from the journal; `queued` is counted from the live queue itself, so
 * that the equation can fail.
 */
export interface Audit {
  readonly instance: string
  readonly accepted: number
  readonly delivered: number
  readonly bounced: number
  readonly discarded: number
  readonly queued: number
  /** Recipients that came from, and went to, another instance by hand-over: neither accepted nor delivered here. */
  readonly takenOver: number
  readonly handedOver: number
  readonly balanced: boolean
  /** Damaged records set aside; each is mail a person must look at. */
  readonly quarantined: number
}

export interface QueuedMessage {
  readonly id: string
  readonly instance: string
  readonly sender: string
  readonly bytes: number
  readonly birthAt: number
  readonly recipients: readonly QueuedRecipient[]
}

export interface QueuedRecipient {
  readonly address: string
  readonly status: 'pending' | 'delivered' | 'failed' | 'bouncing'
  readonly attempts: number
  readonly dueAt: number
  readonly destination: string
  readonly lastText: string
}

/** Operations of a queue instance: `list` {limit} -> QueuedMessage[], `show` {id} -> {message, header}[], `audit` {} -> Audit. */
/** `manifest` {plan} -> Manifest: what left or arrived here by a plan (`manifest.ts`). */
/** `manifest-lines` {plan, source, target, after, limit} -> ManifestPage: the lines of one part behind the key `after`, '' for the first. */
/** Operations of every instance: `trace` {id} -> LedgerEvent[], `status` {} -> InstanceState, `drill` DrillOrder -> DrillState. */
/** Of a control process: `receipt` {plan, instance} -> {text, verdict}, of what is on its own disk. */
export type OperationName =
  | 'list'
  | 'show'
  | 'audit'
  | 'manifest'
  | 'manifest-lines'
  | 'receipt'
  | 'trace'
  | 'status'
  | 'drill'
