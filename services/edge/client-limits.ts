/**
 * What one client may take of all edges together: connections, as slots that are held and renewed, and messages, as a rate of its
 * network. Clients that may relay are ours and are not counted.
 *
 * Nobody waits longer than the shared state's deadline. While its server is gone, this process counts by itself and allows its part,
 * one in as many as there are edges; what is answered late or never lets the client in. Nothing here is ever a 5xx.
 */

import type { EdgeLimits } from '../contract/layout.ts'
import type { RateTerms, SharedState, SlotTerms } from '../contract/shared-state.ts'
import type { World } from '../runtime/world.ts'
import type { Client } from './acceptance.ts'
import { clientHost, clientNetwork } from './client-network.ts'

/** A slot whose edge died is free again after this. */
const slotTtlMs = 300_000
const slotRenewalMs = slotTtlMs / 3

export class ClientLimits {
  readonly #state: SharedState
  /** Unlike that of any other life of this edge: its slots are not ours. */
  readonly #holder: string
  #limits: EdgeLimits
  #slots = 0

  constructor(world: Pick<World, 'random'>, edgeId: string, state: SharedState, limits: EdgeLimits) {
    this.#state = state
    this.#holder = `${edgeId}.${world.random.bytes(9).toString('base64url')}`
    this.#limits = limits
  }

  set limits(limits: EdgeLimits) {
    this.#limits = limits
  }

  /** Undefined where the client's connections are not counted. */
  slotFor(client: Client): ClientSlot | undefined {
    const slotsMax = this.#limits.connectionsPerClientClusterMax
    if (slotsMax === 0 || client.relays) return undefined
    const terms = { name: 'connections', slotsMax, ttlMs: slotTtlMs }
    return new ClientSlot(this.#state, terms, clientHost(client.address), `${this.#holder}.${++this.#slots}`)
  }

  /** Counts one message. Answers within the call where nobody need be asked. */
  takeMessage(client: Client, answered: (allowed: boolean) => void): void {
    const { messagesPerNetworkClusterMax: events, messagesPerNetworkWindowMs: perMs } = this.#limits
    if (events === 0 || client.relays) return answered(true)
    const terms: RateTerms = { name: 'messages', events, perMs }
    this.#state.takeRate(terms, clientNetwork(client.address), 1, (answer) => {
      answered(answer.kind === 'gone' || answer.value.allowed)
    })
  }
}

export class ClientSlot {
  readonly #state: SharedState
  readonly #terms: SlotTerms
  readonly #subject: string
  readonly #holder: string
  #keptAt: number | undefined
  #freed = false

  constructor(state: SharedState, terms: SlotTerms, subject: string, holder: string) {
    this.#state = state
    this.#terms = terms
    this.#subject = subject
    this.#holder = holder
  }

  take(now: number, answered: (taken: boolean) => void): void {
    this.#state.takeSlot(this.#terms, this.#subject, this.#holder, (answer) => {
      const taken = answer.kind === 'gone' || answer.value.taken
      if (taken && this.#freed) this.#state.freeSlot(this.#terms, this.#subject, this.#holder)
      else if (taken) this.#keptAt = now
      answered(taken)
    })
  }

  /** Renews it from time to time. */
  check(now: number): void {
    if (this.#keptAt === undefined || this.#freed || now - this.#keptAt < slotRenewalMs) return
    this.#keptAt = now
    this.#state.keepSlot(this.#terms, this.#subject, this.#holder, () => {})
  }

  free(): void {
    if (this.#freed) return
    this.#freed = true
    if (this.#keptAt !== undefined) this.#state.freeSlot(this.#terms, this.#subject, this.#holder)
  }
}
