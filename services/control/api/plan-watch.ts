/**
 * What one watcher of a plan sees: the plan in the layout, and when it has left the layout, how it ended. A plan that ended before anybody
 * looked is known by its receipts, one that was cancelled by nothing.
 */

import { planStatus } from '../../contract/cluster-status.ts'
import type { DrainPlan } from '../../contract/layout.ts'
import type { Receipt } from '../../contract/receipt.ts'
import type { ControlPlane, ControlView } from '../control-plane.ts'
import type { ReceiptName } from '../receipt/receipt-store.ts'
import { failed, withoutCoordination } from './api-call.ts'
import type { Sight } from './watching.ts'

/** `01J...-03`; undefined where it is no such name. */
export function receiptNameOf(text: string): ReceiptName | undefined {
  const parts = /^([0-9A-HJKMNP-TV-Z]{26})-(\d{2,3})$/.exec(text)
  return parts === null ? undefined : { plan: parts[1] ?? '', instance: parts[2] ?? '' }
}

export class PlanWatch {
  readonly #plane: ControlPlane
  readonly #id: string
  /** As the layout had it last. */
  #known: DrainPlan | undefined

  constructor(plane: ControlPlane, id: string) {
    this.#plane = plane
    this.#id = id
  }

  async look(): Promise<Sight> {
    const view = await this.#plane.view()
    if (view === undefined) return withoutCoordination()
    const plan = view.layout.plans.find(({ id }) => id === this.#id)
    if (plan === undefined) return this.#ended(view)
    this.#known = plan
    const status = planStatus(view, plan)
    return { kind: 'sight', value: { plan: status }, mark: JSON.stringify(status), last: false }
  }

  async #ended(view: ControlView): Promise<Sight> {
    const names = (await this.#plane.receipts()).filter(({ plan }) => plan === this.#id)
    const receipts = (await Promise.all(names.map((name) => this.#receipt(name)))).flat()
    const [first] = receipts
    const known = this.#known ?? (first === undefined ? undefined : planOf(receipts, first))
    if (known === undefined) return failed('NOT_FOUND', `there is no plan ${this.#id}, and no receipt of it`)
    const state = known.state === 'cancelling' ? 'cancelled' : 'done'
    const endedAt = receipts.reduce((latest, { sealedAt }) => Math.max(latest, sealedAt), 0)
    const status = planStatus(
      view,
      known,
      { state, endedAt },
      names.map(({ plan, instance }) => `${plan}-${instance}`),
    )
    const sum = (name: 'messages' | 'bytes') => receipts.reduce((total, receipt) => total + receipt[name], 0)
    const told = { ...status, moved: sum('messages'), movedBytes: sum('bytes'), left: 0, leftBytes: 0, waiting: [] }
    const plan = receipts.length === 0 ? { ...status, waiting: [] } : told
    return { kind: 'sight', value: { plan }, mark: 'ended', last: true }
  }

  async #receipt(name: ReceiptName): Promise<readonly Receipt[]> {
    const found = await this.#plane.receipt(name)
    return found?.verdict.receipt === undefined ? [] : [found.verdict.receipt]
  }
}

/** As far as its receipts tell. */
function planOf(receipts: readonly Receipt[], { plan, pool, by, reason, startedAt, epoch }: Receipt): DrainPlan {
  const leaving = receipts.map(({ instance }) => instance)
  const targets = [...new Set(receipts.flatMap(({ left }) => left.map(({ target }) => target)))]
  return {
    ...{ id: plan, pool, from: 0, to: 0, leaving, targets, state: 'running', force: false, keep: false },
    ...{ by, reason, startedAt, cordonEpoch: epoch },
  }
}
