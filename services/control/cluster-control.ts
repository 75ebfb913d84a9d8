/**
 * The control core of one process: contends for the lease `control`, carries plans out while it leads, takes orders, tells how things are.
 *
 * It holds nothing that matters: layout, states and receipts are in coordination and on disk, so any of several can be killed at any
 * moment. Without coordination it takes no orders and says so; mail is carried without it.
 */

import {
  type Coordination,
  type Json,
  keyLifetimes,
  layoutKey,
  leaseKey,
  operationSubject,
  type RequestResult,
  type Subscription,
} from '../contract/coordination.ts'
import type { Layout } from '../contract/layout.ts'
import { readLeaseRecord } from '../contract/lease.ts'
import type { ControlProgress, InstanceState, OperationName } from '../contract/operations.ts'
import { readStateRecord } from '../contract/state-record.ts'
import { errorText } from '../protocol/failure.ts'
import { Lease } from '../runtime/lease.ts'
import type { Signer, Verifier } from '../runtime/signature.ts'
import type { World } from '../runtime/world.ts'
import type { ControlPlane, ControlView, Order, OrderedBy, OrderOutcome, PreviewOutcome } from './control-plane.ts'
import { Executor } from './drain/executor.ts'
import { lostInstances } from './drain/plan-view.ts'
import { previewOf } from './drain/preview.ts'
import { cancel, cordon, drain, resume, uncordon } from './layout/instance-orders.ts'
import type { Ordered, OrderFrame } from './layout/order.ts'
import { scale } from './layout/scale.ts'
import { LayoutRegister } from './layout-register.ts'
import { ShareKeeper } from './limits/share-keeper.ts'
import { Orders, type OrderWords } from './orders.ts'
import { type JudgedReceipt, ReceiptBook } from './receipt/receipt-book.ts'
import type { Ask } from './receipt/receipt-maker.ts'
import { type ReceiptName, ReceiptStore } from './receipt/receipt-store.ts'

export interface ClusterControlParts {
  readonly world: Pick<World, 'clock' | 'random' | 'disk' | 'log'>
  readonly coordination: Coordination
  /** `c1`. */
  readonly id: string
  /** For people: `c1/host/4711`. Begins with the id. */
  readonly holder: string
  readonly home: string
  readonly signer: Signer
  /** Of receipts: the key that signs them. */
  readonly verifier: Verifier
  /** Of layouts: also the key before, while the cluster goes from one to the next. */
  readonly layoutKeys: () => Promise<readonly Verifier[]>
  /** The last layout that this process has taken. */
  readonly inForce: () => Layout
  /** Something to announce. */
  readonly onProgress: () => void
  readonly leaseLifeMs?: number
}

const leaseName = 'control'
/** A manifest of a long plan is read from disk first. */
const askTimeoutMs = 10_000

export class ClusterControl implements ControlPlane {
  readonly id: string
  readonly #parts: ClusterControlParts
  readonly #register: LayoutRegister
  readonly #lease: Lease
  readonly #book: ReceiptBook
  readonly #executor: Executor
  readonly #orders: Orders
  readonly #shares: ShareKeeper
  #watch: Subscription | undefined

  constructor(parts: ClusterControlParts) {
    this.#parts = parts
    this.id = parts.id
    const { world, coordination, home, signer, verifier, onProgress } = parts
    const { clock, random, disk, log } = world
    this.#register = new LayoutRegister({
      ...{ coordination, signer, keys: parts.layoutKeys, inForce: parts.inForce, leads: () => this.leads },
    })
    this.#book = new ReceiptBook({ coordination, store: new ReceiptStore(disk, home), signer, verifier })
    const fence = () => this.#lease.fence
    const ask: Ask = (id, operation, value) =>
      coordination.request(operationSubject(id, operation), value, askTimeoutMs)
    this.#lease = new Lease({
      ...{
        coordination,
        clock,
        random,
        name: leaseName,
        holder: parts.holder,
        lifeMs: parts.leaseLifeMs ?? keyLifetimes.leaseMs,
        fenceBelow: () => parts.inForce().fence,
      },
      onHeld: (term) => {
        this.#shares.start(term)
        this.#changed('leads', { fence: term })
      },
      onLost: (why) => {
        this.#shares.stop()
        this.#changed('leads no more', { why })
      },
    })
    this.#shares = new ShareKeeper({ coordination, clock, fence, layout: () => this.#layout() })
    this.#executor = new Executor({
      clock,
      log,
      coordination,
      register: this.#register,
      book: this.#book,
      ask,
      fence,
      onProgress,
    })
    this.#orders = new Orders({
      ...{ register: this.#register, random, fence, now: () => coordination.now() },
      lost: async (layout) => lostInstances(layout, await this.#states(), await coordination.now()),
      leader: () => this.#leader(),
    })
  }

  start(): void {
    this.#watch = this.#parts.coordination.watch(layoutKey, () => this.#executor.nudge())
    this.#lease.start()
  }

  /** Gives the lease back, so that the next one need not wait for its end. Never rejects. */
  async stop(): Promise<void> {
    this.#watch?.stop()
    this.#executor.stop()
    this.#shares.stop()
    await this.#lease.stop()
  }

  async #layout(): Promise<Layout> {
    const current = await this.#register.read()
    if (typeof current === 'string') throw new Error(current)
    return current.layout
  }

  get leads(): boolean {
    return this.#lease.fence !== undefined
  }

  /** For this process's own state. */
  progress(): ControlProgress {
    const { fence } = this.#lease
    return { ...(fence === undefined ? {} : { fence }), plans: this.#executor.plans }
  }

  async view(): Promise<ControlView | undefined> {
    const { coordination } = this.#parts
    try {
      const current = await this.#register.read()
      if (typeof current === 'string') return undefined
      const [states, leader, now] = [await this.#states(), await this.#leader(), await coordination.now()]
      const told = this.#lease.fence === undefined ? states.get(leader ?? '')?.control?.plans : this.#executor.plans
      const waiting = new Map((told ?? []).map(({ plan, why }) => [plan, why]))
      return { layout: current.layout, states, leader, waiting, now }
    } catch {
      return undefined
    }
  }

  watch(changed: () => void): Subscription {
    const { coordination } = this.#parts
    const watches = [layoutKey, 'state/', leaseKey(leaseName)].map((prefix) => coordination.watch(prefix, changed))
    return {
      stop: () => {
        for (const watch of watches) watch.stop()
      },
    }
  }

  ask(instance: string, operation: OperationName, value: Json, timeoutMs: number): Promise<RequestResult> {
    return this.#parts.coordination.request(operationSubject(instance, operation), value, timeoutMs)
  }

  /** Never rejects; may be given again. */
  async order(order: Order, by: OrderedBy): Promise<OrderOutcome> {
    const outcome = await this.#orders.give((layout, frame) => orderStep(order, layout, frame), wordsOf(order, by))
    const fields = { order: order.kind, by: by.by, request: by.requestId, outcome: outcome.kind }
    this.#parts.world.log.info('order', fields)
    if (outcome.kind === 'done') this.#executor.nudge()
    return outcome
  }

  /** Never rejects. */
  async preview(order: Order, by: OrderedBy): Promise<PreviewOutcome> {
    try {
      const drawn = await this.#orders.draw((layout, frame) => orderStep(order, layout, frame), wordsOf(order, by))
      if (typeof drawn === 'string') return { kind: 'unavailable', why: drawn }
      const { before, ordered } = drawn
      if (ordered.kind === 'unchanged') return { kind: 'unchanged', why: ordered.why }
      if (ordered.kind !== 'changed') return ordered
      return { kind: 'preview', preview: previewOf(before, ordered.layout, await this.#states()) }
    } catch (error) {
      return { kind: 'unavailable', why: errorText(error) }
    }
  }

  /** Rejects where the disk fails. */
  receipts(): Promise<readonly ReceiptName[]> {
    return this.#book.list()
  }

  /** Its manifests are on the disk of whoever led when it was made: the others are asked. Rejects where neither disk nor coordination answers. */
  async receipt(name: ReceiptName): Promise<JudgedReceipt | undefined> {
    const own = await this.ownReceipt(name)
    if (own?.verdict.ok === true) return own
    const others = this.#parts.inForce().control.filter(({ id }) => id !== this.id)
    const asked = await Promise.all(others.map(({ id }) => this.ask(id, 'receipt', { ...name }, askTimeoutMs)))
    const replies = asked.flatMap((result) => (result.kind === 'reply' ? [result.value] : []))
    const judged = replies.flatMap((value) => readJudged(value) ?? [])
    // The same words only: of two that differ, the one in coordination is right.
    return judged.find(({ text, verdict }) => verdict.ok && (own === undefined || text === own.text)) ?? own
  }

  /** What this process can say of it by itself. */
  ownReceipt(name: ReceiptName): Promise<JudgedReceipt | undefined> {
    return this.#book.judged(name)
  }

  async #leader(): Promise<string | undefined> {
    const entry = await this.#parts.coordination.get(leaseKey(leaseName))
    const record = entry === undefined ? undefined : readLeaseRecord(entry.value)
    return record === undefined || record.released ? undefined : record.holder.split('/')[0]
  }

  async #states(): Promise<ReadonlyMap<string, InstanceState>> {
    const readings = (await this.#parts.coordination.list('state/')).map(readStateRecord)
    return new Map(readings.flatMap((reading) => (reading.ok ? [[reading.state.id, reading.state] as const] : [])))
  }

  #changed(event: string, fields: Readonly<Record<string, string | number>>): void {
    this.#parts.world.log.info(event, fields)
    this.#executor.nudge()
    this.#parts.onProgress()
  }
}

function readJudged(value: Json): JudgedReceipt | undefined {
  if (typeof value !== 'object' || value === null || !('text' in value) || !('verdict' in value)) return undefined
  const { text, verdict } = value as unknown as JudgedReceipt
  return typeof text === 'string' && typeof verdict === 'object' && verdict !== null ? { text, verdict } : undefined
}

function wordsOf(order: Order, { by, reason }: OrderedBy): OrderWords {
  return { by, reason, force: 'force' in order && order.force }
}

function orderStep(order: Order, layout: Layout, frame: OrderFrame): Ordered {
  switch (order.kind) {
    case 'scale':
      return scale(layout, order.pool, order.count, frame)
    case 'drain':
      return drain(layout, order.instance, order.toPool, frame)
    case 'cordon':
      return cordon(layout, order.instance, frame)
    case 'uncordon':
      return uncordon(layout, order.instance, frame)
    case 'cancel':
      return cancel(layout, order.plan, frame)
    case 'resume':
      return resume(layout, order.plan, frame)
  }
}
