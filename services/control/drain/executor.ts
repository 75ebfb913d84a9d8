/**
 * The shell around `step`: while this process leads, it looks, takes one step, and looks again. Any number of control processes have one;
 * only the one with a fence acts, and every write is a compare-and-set under it.
 *
 * Coordination gone: nothing is done and nothing is lost, the next look comes by itself. This process dead: the next leader sees what it
 * saw. A receipt that cannot be made is tried again every `proveAgainMs`, and its plan waits and says why.
 */

import type { Coordination } from '../../contract/coordination.ts'
import type { DrainPlan } from '../../contract/layout.ts'
import type { InstanceState, PlanProgress } from '../../contract/operations.ts'
import { readStateRecord } from '../../contract/state-record.ts'
import { errorText } from '../../protocol/failure.ts'
import type { Clock, Log, Timer } from '../../runtime/world.ts'
import type { LayoutInForce, LayoutRegister } from '../layout-register.ts'
import { enterTrouble, type ReceiptBook } from '../receipt/receipt-book.ts'
import { type Ask, makeReceipt } from '../receipt/receipt-maker.ts'
import type { PlanView } from './plan-view.ts'
import { ProgressWatch } from './progress-watch.ts'
import { type Action, step } from './step.ts'

export interface ExecutorParts {
  readonly clock: Clock
  readonly log: Log
  readonly coordination: Coordination
  readonly register: LayoutRegister
  readonly book: ReceiptBook
  readonly ask: Ask
  /** The fence of our term, while we lead. */
  readonly fence: () => number | undefined
  /** What is waited for has changed. */
  readonly onProgress: () => void
}

/** Between two looks at a plan under way. */
const lookMs = 250
/** A receipt that was in dispute is compared again. */
const proveAgainMs = 10_000

export class Executor {
  readonly #parts: ExecutorParts
  readonly #watch = new ProgressWatch()
  /** By plan and instance; each with when it is to be looked at again, on the monotonic clock. */
  readonly #disputes = new Map<string, { readonly why: string; readonly untilMs: number }>()
  #plans: readonly PlanProgress[] = []
  #next: Timer | undefined
  #isBusy = false
  #isAsked = false
  #isStopped = false

  constructor(parts: ExecutorParts) {
    this.#parts = parts
  }

  /** What is waited for, by plan. */
  get plans(): readonly PlanProgress[] {
    return this.#parts.fence() === undefined ? [] : this.#plans
  }

  /** Something may have changed: a term began, a layout came. */
  nudge(): void {
    if (this.#isBusy) this.#isAsked = true
    else this.#lookIn(0)
  }

  stop(): void {
    this.#isStopped = true
    this.#next?.cancel()
  }

  #lookIn(delayMs: number): void {
    this.#next?.cancel()
    if (this.#isStopped) return
    this.#next = this.#parts.clock.after(delayMs, () => {
      this.#look().catch((error: unknown) => this.#parts.log.error('look failed', { error: errorText(error) }))
    })
  }

  async #look(): Promise<void> {
    if (this.#isBusy) return
    this.#isBusy = true
    this.#isAsked = false
    let delayMs: number | undefined = lookMs
    try {
      delayMs = await this.#takeSteps()
    } catch (error) {
      this.#tell([{ plan: '', why: [`coordination cannot be reached: ${errorText(error)}`] }])
    } finally {
      this.#isBusy = false
    }
    if (this.#isAsked) this.#lookIn(0)
    else if (delayMs !== undefined) this.#lookIn(delayMs)
  }

  /** How soon to look again; undefined where only a nudge can bring something to do. */
  async #takeSteps(): Promise<number | undefined> {
    const { fence: fenceOf, register, clock } = this.#parts
    if (fenceOf() === undefined) {
      this.#watch.clear()
      return undefined
    }
    const current = await register.read()
    if (typeof current === 'string') {
      this.#tell([{ plan: '', why: [current] }])
      return lookMs
    }
    const { layout } = current
    if (layout.plans.length === 0) {
      this.#tell([])
      return undefined
    }
    const states = await this.#states()
    this.#watch.look(layout, states, clock.monotonic())
    const progress: PlanProgress[] = []
    for (const plan of layout.plans) {
      const fence = fenceOf()
      if (fence === undefined) return undefined
      const action = step(await this.#viewOf(current, plan, states, fence))
      progress.push({ plan: plan.id, why: action.kind === 'wait' ? action.why : [] })
      if (action.kind === 'write') return await this.#write(action, current)
      if (action.kind === 'prove') {
        await this.#prove(action.instance, plan, current, fence)
        return 0
      }
    }
    this.#tell(progress)
    return lookMs
  }

  async #viewOf(
    { layout }: LayoutInForce,
    plan: DrainPlan,
    states: ReadonlyMap<string, InstanceState>,
    fence: number,
  ): Promise<PlanView> {
    const { clock, book, coordination } = this.#parts
    const receipts = new Map<string, number>()
    for (const { id } of layout.instances.filter(
      ({ id, standing }) => standing === 'sealed' && plan.leaving.includes(id),
    )) {
      const sealedAt = await book.sealedAt({ plan: plan.id, instance: id })
      if (sealedAt !== undefined) receipts.set(id, sealedAt)
    }
    const disputes = new Map(plan.leaving.flatMap((id) => this.#disputeOf(plan.id, id)))
    const quietMs = this.#watch.quietMs(plan, clock.monotonic())
    return { layout, plan, states, receipts, disputes, quietMs, now: await coordination.now(), fence }
  }

  /** Rejects where the store cannot be reached: who is not seen must not be taken for gone. */
  async #states(): Promise<ReadonlyMap<string, InstanceState>> {
    const entries = await this.#parts.coordination.list('state/')
    const readings = entries.map(readStateRecord)
    return new Map(readings.flatMap((reading) => (reading.ok ? [[reading.state.id, reading.state] as const] : [])))
  }

  /** A conflict means that somebody was first: what to do now shows in what he wrote. */
  async #write(action: Action & { kind: 'write' }, current: LayoutInForce): Promise<number> {
    const { log, register, fence, book } = this.#parts
    const term = fence()
    if (term === undefined) return lookMs
    const result = await register.write(action.layout, current, term)
    if (result.kind === 'written') {
      log.info('step', { epoch: action.layout.epoch, what: action.why })
      if (action.layout.plans.length === 0) await book.tidy().catch(() => {})
      return 0
    }
    log.debug('step not taken', { what: action.why, result: result.kind })
    return lookMs
  }

  async #prove(instance: string, plan: DrainPlan, { layout }: LayoutInForce, fence: number): Promise<void> {
    const { ask, book, coordination, log } = this.#parts
    const making = await makeReceipt(ask, { layout, plan, instance, fence, now: await coordination.now() })
    const name = { plan: plan.id, instance }
    if (making.kind === 'made') {
      const entered = await book.enter(name, making).catch(enterTrouble)
      if (entered.kind === 'entered') {
        log.info('receipt', { ...name, messages: making.receipt.messages, bytes: making.receipt.bytes })
        return
      }
      this.#dispute(name, entered.why, lookMs * 4)
      return
    }
    if (making.kind === 'disputed') log.error('manifests differ', { ...name, why: making.why })
    this.#dispute(name, making.why, making.kind === 'disputed' ? proveAgainMs : lookMs * 4)
  }

  #dispute({ plan, instance }: { readonly plan: string; readonly instance: string }, why: string, forMs: number): void {
    this.#disputes.set(`${plan} ${instance}`, { why, untilMs: this.#parts.clock.monotonic() + forMs })
  }

  #disputeOf(plan: string, id: string): readonly (readonly [string, string])[] {
    const key = `${plan} ${id}`
    const dispute = this.#disputes.get(key)
    if (dispute === undefined) return []
    if (dispute.untilMs > this.#parts.clock.monotonic()) return [[id, dispute.why]]
    this.#disputes.delete(key)
    return []
  }

  #tell(plans: readonly PlanProgress[]): void {
    const isSame = JSON.stringify(plans) === JSON.stringify(this.#plans)
    this.#plans = plans
    if (!isSame) this.#parts.onProgress()
  }
}
