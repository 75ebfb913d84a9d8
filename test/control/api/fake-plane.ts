/** A control plane that says what a test told it to, and keeps what it was ordered. */

import type { Json, RequestResult } from '../../../services/contract/coordination.ts'
import type {
  ControlPlane,
  ControlView,
  Order,
  OrderedBy,
  OrderOutcome,
  PreviewOutcome,
} from '../../../services/control/control-plane.ts'
import type { ReceiptVerdict } from '../../../services/control/receipt/receipt-check.ts'
import type { ReceiptName } from '../../../services/control/receipt/receipt-store.ts'
import { shippedLayout } from '../../support/shipped-layout.ts'

export class FakePlane implements ControlPlane {
  id = 'c1'
  current: ControlView | undefined = {
    layout: shippedLayout(7),
    states: new Map(),
    leader: 'c1',
    waiting: new Map(),
    now: 1_700_000_000_000,
  }
  readonly ordered: { readonly order: Order; readonly by: OrderedBy }[] = []
  outcome: () => Promise<OrderOutcome> = () => Promise.resolve({ kind: 'done', epoch: 8, plan: undefined })
  previewed: PreviewOutcome = { kind: 'unchanged', why: 'it has 2 already' }
  answers: (instance: string, operation: string) => RequestResult = () => ({ kind: 'timeout' })
  readonly kept = new Map<string, { readonly text: string; readonly verdict: ReceiptVerdict }>()
  readonly #watchers = new Set<() => void>()

  view(): Promise<ControlView | undefined> {
    return Promise.resolve(this.current)
  }

  watch(changed: () => void) {
    this.#watchers.add(changed)
    return { stop: () => this.#watchers.delete(changed) }
  }

  get watchers(): number {
    return this.#watchers.size
  }

  show(view: ControlView | undefined): void {
    this.current = view
    for (const changed of this.#watchers) changed()
  }

  ask(instance: string, operation: string, _value: Json, _timeoutMs: number): Promise<RequestResult> {
    return Promise.resolve(this.answers(instance, operation))
  }

  order(order: Order, by: OrderedBy): Promise<OrderOutcome> {
    this.ordered.push({ order, by })
    return this.outcome()
  }

  preview(): Promise<PreviewOutcome> {
    return Promise.resolve(this.previewed)
  }

  receipts(): Promise<readonly ReceiptName[]> {
    const names = [...this.kept.keys()].map((name) => ({ plan: name.slice(0, 26), instance: name.slice(27) }))
    return Promise.resolve(names)
  }

  receipt({ plan, instance }: ReceiptName) {
    return Promise.resolve(this.kept.get(`${plan}-${instance}`))
  }
}
