/**
 * Edges and queue instances as control sees them: they take layouts some time after these are written, announce themselves, and the
 * leaving ones hand over what they have. Mail is a number; what moved is in the entries of both sides.
 */

import {
  type Entry,
  type Json,
  layoutKey,
  operationSubject,
  stateKey,
} from '../../../services/contract/coordination.ts'
import { instanceOf, instancesOfPool, type Layout, planOfLeaving } from '../../../services/contract/layout.ts'
import type { ManifestEntry } from '../../../services/contract/manifest.ts'
import type { DrainProgress } from '../../../services/contract/operations.ts'
import { stateRecord } from '../../../services/contract/state-record.ts'
import { EmbeddedCoordination } from '../../../services/runtime/embedded-coordination.ts'
import type { EmbeddedHub } from '../../../services/runtime/embedded-hub.ts'
import type { Clock } from '../../../services/runtime/world.ts'
import { embeddedPair } from '../../coordination/embedded-pair.ts'
import type { SeededRandom } from '../../simulation/seeded-random.ts'
import { answering, audit, entry } from '../receipt/manifests.ts'
import { pool, stateOf } from './plan-views.ts'

export interface Surroundings {
  readonly clock: Clock
  readonly random: SeededRandom
  readonly hub: EmbeddedHub
}

/** The layout of a signed record. That it is believed is another test's matter. */
export function layoutIn(record: Entry | undefined): Layout {
  if (record === undefined) throw new Error('there is no layout')
  return JSON.parse((record.value as { readonly document: string }).document) as Layout
}

/** Anything that runs: it takes the layout, later, and beats. */
abstract class Place {
  readonly id: string
  layout: Layout
  protected readonly around: Surroundings

  constructor(around: Surroundings, id: string, layout: Layout) {
    this.around = around
    this.id = id
    this.layout = layout
    const { hub, clock, random } = around
    hub.store.watch(layoutKey, ({ entry: record }) => {
      const next = record === undefined ? undefined : layoutIn(record)
      clock.after(random.between(1, 1500), () => {
        if (next !== undefined && next.epoch > this.layout.epoch) this.layout = next
        this.announce()
      })
    })
    const beat = () => {
      this.announce()
      clock.after(1000, beat)
    }
    beat()
  }

  abstract announce(): void

  protected say(drain?: DrainProgress): void {
    const { hub, clock } = this.around
    hub.store.put(stateKey(this.id), stateRecord(stateOf(this.id, this.layout.epoch, clock.now(), drain)))
  }
}

export class SimulatedQueue extends Place {
  readonly mail: number[] = []
  /** Of what left here and of what came. */
  readonly entries: ManifestEntry[] = []
  isSealed = false
  took = 0
  #others: ReadonlyMap<string, SimulatedQueue> = new Map()

  /** It moves some mail now and then while it drains. */
  run(others: ReadonlyMap<string, SimulatedQueue>): void {
    this.#others = others
    const { clock, hub } = this.around
    const pair = embeddedPair()
    hub.attach(pair.hub)
    const coordination = new EmbeddedCoordination({ clock, dial: () => pair.client })
    for (const operation of ['manifest', 'manifest-lines', 'audit']) {
      coordination.serve(operationSubject(this.id, operation), (value) => this.#answer(operation, value))
    }
    const move = () => {
      this.#move()
      clock.after(500, move)
    }
    move()
  }

  /** False where it is sealed: the sender goes elsewhere. */
  accept(message: number): boolean {
    if (this.isSealed) return false
    this.mail.push(message)
    this.took++
    return true
  }

  announce(): void {
    const plan = planOfLeaving(this.layout, this.id)
    this.say(plan === undefined ? undefined : this.#progress(plan.id))
  }

  get #standing() {
    return instanceOf(this.layout, this.id)?.standing
  }

  #move(): void {
    if (this.#standing !== 'draining' && this.#standing !== 'sealed') return
    for (const message of this.mail.splice(0, 10)) {
      const targets = planOfLeaving(this.layout, this.id)?.targets ?? []
      const target = targets[message % targets.length]
      const there = this.#others.get(target ?? '')
      if (target === undefined || there === undefined) throw new Error(`${this.id} has nobody to give ${message} to`)
      const moved = entry(message, target, { source: this.id, recipients: 1 })
      this.entries.push(moved)
      there.entries.push(moved)
      there.mail.push(message)
    }
    if (this.#standing === 'sealed' && this.mail.length === 0) this.isSealed = true
    this.announce()
  }

  #progress(plan: string): DrainProgress {
    const left = this.mail.length
    const isMoving = this.#standing === 'draining' || this.#standing === 'sealed'
    const empty = left === 0 && isMoving ? 'empty' : 'moving'
    const phase = this.isSealed ? 'sealed' : empty
    return { plan, phase, moved: this.took - left, movedBytes: 0, left, leftBytes: 0, offered: 0 }
  }

  async #answer(operation: string, value: Json): Promise<Json> {
    const counted = { ...audit, instance: this.id, accepted: this.took, delivered: 0, handedOver: this.took }
    const held = { entries: { [this.id]: this.entries }, audit: counted }
    const result = await answering(held, [], 5)(this.id, operation, value)
    if (result.kind !== 'reply') throw new Error('no answer')
    return result.value
  }
}

/** Gives mail to whoever its own layout says is active. */
export class SimulatedEdge extends Place {
  sent = 0

  run(queues: ReadonlyMap<string, SimulatedQueue>, untilMs: number): void {
    const { clock, random } = this.around
    const send = () => {
      if (clock.monotonic() > untilMs) return
      const active = instancesOfPool(this.layout, pool).filter(({ standing }) => standing === 'active')
      const message = this.sent
      if (active.some(({ id }) => queues.get(id)?.accept(message) === true)) this.sent++
      clock.after(random.between(50, 400), send)
    }
    send()
  }

  announce(): void {
    this.say()
  }
}
