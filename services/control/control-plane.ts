/**
 * What the API of a control instance needs of the control plane behind it. Failures are values, in words for people.
 *
 * Without coordination nothing is known and nothing can be ordered: `view` and `order` say so, and mail flows on.
 */

import type { Json, RequestResult, Subscription } from '../contract/coordination.ts'
import type { Layout } from '../contract/layout.ts'
import type { InstanceState, OperationName } from '../contract/operations.ts'
import type { ReceiptVerdict } from './receipt/receipt-check.ts'
import type { ReceiptName } from './receipt/receipt-store.ts'

export type Order =
  | { readonly kind: 'scale'; readonly pool: string; readonly count: number; readonly force: boolean }
  | { readonly kind: 'drain'; readonly instance: string; readonly toPool: string | undefined; readonly force: boolean }
  | { readonly kind: 'cordon' | 'uncordon'; readonly instance: string }
  | { readonly kind: 'cancel'; readonly plan: string }
  | { readonly kind: 'resume'; readonly plan: string; readonly force: boolean }

export interface OrderedBy {
  /** A person or a program, as the layout and the receipt will name them. */
  readonly by: string
  readonly reason: string
  readonly requestId: string
}

export type OrderOutcome =
  /** The layout in force says it. `plan`: what carries it out, where it takes time. */
  | { readonly kind: 'done'; readonly epoch: number; readonly plan: string | undefined }
  /** It is so already, or on its way by `plan`. */
  | { readonly kind: 'unchanged'; readonly epoch: number; readonly plan: string | undefined; readonly why: string }
  | OrderRefusal

export type OrderRefusal =
  /** What it names is not there. */
  | { readonly kind: 'absent'; readonly why: string }
  /** Not in this state of the cluster. */
  | { readonly kind: 'refused'; readonly why: string }
  /** Another one leads; undefined where nobody is known to. */
  | { readonly kind: 'not-leader'; readonly leader: string | undefined }
  /** Coordination is gone, or gives no clear answer: nothing is known to have changed. */
  | { readonly kind: 'unavailable'; readonly why: string }

/** What an order would do. */
export interface OrderPreview {
  readonly leaving: readonly string[]
  readonly targets: readonly string[]
  readonly added: readonly string[]
  readonly messages: number
  readonly bytes: number
  readonly oldestAgeMs: number
  readonly seconds: number
  /** Where the rate of the estimate comes from. */
  readonly rate: string
  /** Messages that would pass the pool's service level meanwhile. */
  readonly slaRisk: number
  readonly notes: readonly string[]
}

export type PreviewOutcome =
  | { readonly kind: 'preview'; readonly preview: OrderPreview }
  | { readonly kind: 'unchanged'; readonly why: string }
  | OrderRefusal

/** The cluster as coordination shows it. */
export interface ControlView {
  readonly layout: Layout
  /** By id. Who does not report is missing. */
  readonly states: ReadonlyMap<string, InstanceState>
  /** Of the control instance that leads. */
  readonly leader: string | undefined
  /** What each plan waits for, by its id; known to the one who leads, empty elsewhere. */
  readonly waiting: ReadonlyMap<string, readonly string[]>
  /** The store's clock, unix milliseconds. */
  readonly now: number
}

export interface ControlPlane {
  /** `c1`. */
  readonly id: string
  /** Undefined where coordination cannot be reached. */
  view(): Promise<ControlView | undefined>
  /** `changed` is called when the view may be another; often, and without waiting for anybody. */
  watch(changed: () => void): Subscription
  /** An operation of one instance. */
  ask(instance: string, operation: OperationName, value: Json, timeoutMs: number): Promise<RequestResult>
  order(order: Order, by: OrderedBy): Promise<OrderOutcome>
  preview(order: Order, by: OrderedBy): Promise<PreviewOutcome>
  /** Of this and every other control instance whose receipts this one can read. */
  receipts(): Promise<readonly ReceiptName[]>
  /** The signed text, and what the check of it says; undefined where there is none. */
  receipt(name: ReceiptName): Promise<{ readonly text: string; readonly verdict: ReceiptVerdict } | undefined>
}
