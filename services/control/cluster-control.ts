/**
 * The control core of one process: contends for the lease `control`, carries plans out while it leads, takes orders, tells how things are.
 *
 * It holds nothing that matters: layout, states and receipts are in coordination and on disk, so any of several can be killed at any
 * moment. Without coordination it takes no orders and says so; mail is carried without it.
 */

import {
  type Coordination,
  keyLifetimes,
  layoutKey,
  leaseKey,
  operationSubject,
  type Subscription,
} from '../contract/coordination.ts'
import type { Layout } from '../contract/layout.ts'
import { readLeaseRecord } from '../contract/lease.ts'
import type { ControlProgress, InstanceState, OperationName } from '../contract/operations.ts'
import { readStateRecord } from '../contract/state-record.ts'
import { Lease } from '../runtime/lease.ts'
import type { Signer, Verifier } from '../runtime/signature.ts'
import type { World } from '../runtime/world.ts'
import { Executor } from './drain/executor.ts'
import { type Forecast, forecastOf } from './drain/forecast.ts'
import { lostInstances } from './drain/plan-view.ts'
import { cancel, cordon, drain, force, uncordon } from './layout/instance-orders.ts'
import { scale } from './layout/scale.ts'
import { LayoutRegister } from './layout-register.ts'
import { type OrderOutcome, Orders, type OrderWords } from './orders.ts'
import { ReceiptBook } from './receipt/receipt-book.ts'
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
  readonly verifier: Verifier
  /** Something to announce. */
  readonly onProgress: () => void
  readonly leaseLifeMs?: number
}

export interface ClusterView {
  readonly layout: Layout
  readonly states: ReadonlyMap<string, InstanceState>
  readonly lost: ReadonlySet<string>
  /** Id of the control process that leads; undefined where none does. */
  readonly leader: string | undefined
}

/** What an order that was drawn would do, or why it would do nothing. */
export type Drawn =
  | { readonly kind: 'forecast'; readonly forecast: Forecast; readonly next: Layout }
  | { readonly kind: 'unchanged' | 'refused'; readonly why: string }

const leaseName = 'control'
/** A manifest of a long plan is read from disk first. */
const askTimeoutMs = 10_000

export class ClusterControl {
  readonly #parts: ClusterControlParts
  readonly #register: LayoutRegister
  readonly #lease: Lease
  readonly #book: ReceiptBook
  readonly #executor: Executor
  readonly #orders: Orders
  #watch: Subscription | undefined

  constructor(parts: ClusterControlParts) {
    this.#parts = parts
    const { world, coordination, home, signer, verifier, onProgress } = parts
    const { clock, random, disk, log } = world
    this.#register = new LayoutRegister(coordination)
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
      },
      onHeld: (term) => this.#changed('leads', { fence: term }),
      onLost: (why) => this.#changed('leads no more', { why }),
    })
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
    await this.#lease.stop()
  }

  get leads(): boolean {
    return this.#lease.fence !== undefined
  }

  /** For this process's own state. */
  progress(): ControlProgress {
    const { fence } = this.#lease
    return { ...(fence === undefined ? {} : { fence }), plans: this.#executor.plans }
  }

  /** In words, where there is no layout to speak of. Rejects where coordination cannot be reached. */
  async view(): Promise<ClusterView | string> {
    const { coordination } = this.#parts
    const current = await this.#register.read()
    if (typeof current === 'string') return current
    const { layout } = current
    const states = await this.#states()
    const lost = lostInstances(layout, states, await coordination.now())
    return { layout, states, lost, leader: await this.leader() }
  }

  /** Rejects where coordination cannot be reached. */
  async leader(): Promise<string | undefined> {
    const entry = await this.#parts.coordination.get(leaseKey(leaseName))
    const record = entry === undefined ? undefined : readLeaseRecord(entry.value)
    return record === undefined || record.released ? undefined : record.holder.split('/')[0]
  }

  /** Orders. None of them rejects; each may be repeated. */
  scale(pool: string, count: number, words: OrderWords): Promise<OrderOutcome> {
    return this.#give((layout, frame) => scale(layout, pool, count, frame), words)
  }

  drain(instance: string, toPool: string | undefined, words: OrderWords): Promise<OrderOutcome> {
    return this.#give((layout, frame) => drain(layout, instance, toPool, frame), words)
  }

  cordon(instance: string, words: OrderWords): Promise<OrderOutcome> {
    return this.#give((layout, frame) => cordon(layout, instance, frame), words)
  }

  uncordon(instance: string, words: OrderWords): Promise<OrderOutcome> {
    return this.#give((layout, frame) => uncordon(layout, instance, frame), words)
  }

  cancel(plan: string, words: OrderWords): Promise<OrderOutcome> {
    return this.#give((layout, frame) => cancel(layout, plan, frame), words)
  }

  /** A plan under way parks from now on what cannot be moved. */
  force(plan: string, words: OrderWords): Promise<OrderOutcome> {
    return this.#give((layout, frame) => force(layout, plan, frame), words)
  }

  /** What `scale` would do. Rejects where coordination cannot be reached. */
  async drawScale(pool: string, count: number, words: OrderWords): Promise<Drawn> {
    const drawn = await this.#orders.draw((layout, frame) => scale(layout, pool, count, frame), words)
    return await this.#forecast(drawn, () => pool)
  }

  async drawDrain(instance: string, toPool: string | undefined, words: OrderWords): Promise<Drawn> {
    const drawn = await this.#orders.draw((layout, frame) => drain(layout, instance, toPool, frame), words)
    return await this.#forecast(drawn, (layout) => layout.instances.find(({ id }) => id === instance)?.pool ?? '')
  }

  /** The signed text. Rejects where neither disk nor coordination answers. */
  receipt(name: ReceiptName): Promise<string | undefined> {
    return this.#book.read(name)
  }

  receipts(): Promise<readonly ReceiptName[]> {
    return this.#book.list()
  }

  /** What an instance answers, for those who may not ask it themselves. */
  ask(instance: string, operation: OperationName, value: Parameters<Ask>[2]): ReturnType<Ask> {
    return this.#parts.coordination.request(operationSubject(instance, operation), value, askTimeoutMs)
  }

  async #give(order: Parameters<Orders['give']>[0], words: OrderWords): Promise<OrderOutcome> {
    const outcome = await this.#orders.give(order, words)
    if (outcome.kind === 'done') this.#executor.nudge()
    return outcome
  }

  async #forecast(drawn: Awaited<ReturnType<Orders['draw']>>, poolOf: (layout: Layout) => string): Promise<Drawn> {
    if (typeof drawn === 'string') return { kind: 'refused', why: drawn }
    const { before, ordered } = drawn
    if (ordered.kind !== 'changed') return ordered
    const forecast = forecastOf(poolOf(before), { before, next: ordered.layout }, await this.#states())
    return { kind: 'forecast', forecast, next: ordered.layout }
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
