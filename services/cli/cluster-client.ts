/**
 * A command's view of a cluster: the layout on disk, and the running instances through the hub's socket where there is one.
 * Nothing here fails because the cluster is down; it says so.
 */

import type { Coordination, Json, RequestResult } from '../contract/coordination.ts'
import { operationSubject } from '../contract/coordination.ts'
import type { Layout } from '../contract/layout.ts'
import type { InstanceState, OperationName } from '../contract/operations.ts'
import { errorText } from '../protocol/failure.ts'
import { EmbeddedCoordination } from '../runtime/embedded-coordination.ts'
import { dialHub } from '../runtime/embedded-socket.ts'
import { homeOwner } from '../runtime/home-lock.ts'
import { layoutAbsent, layoutFileName, readLayoutFile, type TierKind } from '../runtime/tier-layout.ts'
import { socketName } from '../runtime/tier-process.ts'
import { readState } from './instance-states.ts'
import type { Context } from './verb.ts'

const requestTimeoutMs = 10_000

export interface Place {
  readonly id: string
  readonly tier: TierKind
  /** Absolute. */
  readonly home: string
  readonly pool: string
}

type Heard =
  | { readonly kind: 'heard'; readonly states: ReadonlyMap<string, InstanceState> }
  /** Nothing is known of the instances, for this reason, in words for the user. */
  | { readonly kind: 'unheard'; readonly why: string }

export class ClusterClient {
  readonly layout: Layout
  readonly #state: string
  readonly #coordination: Coordination
  /** Why the running cluster does not want us; undefined where it does, or where there is none. */
  #refusal: string | undefined

  private constructor(context: Context, layout: Layout) {
    const { world, state } = context
    this.layout = layout
    this.#state = state
    this.#coordination = new EmbeddedCoordination({
      clock: world.clock,
      dial: () => dialHub(`${state}/${socketName}`),
      onLost: (_why, refusal) => {
        this.#refusal = refusal
      },
    })
  }

  /** Rejects, in words for the user, where there is no layout that can be read. */
  static async open(context: Context): Promise<ClusterClient> {
    const { world, state } = context
    const layout = await readLayoutFile(world.disk, `${state}/${layoutFileName}`)
    if (layout === layoutAbsent) throw new Error(`no cluster in ${state}: ${layoutFileName} ${layout}`)
    if (typeof layout === 'string') throw new Error(`${state}/${layoutFileName} cannot be used: ${layout}`)
    return new ClusterClient(context, layout)
  }

  get places(): readonly Place[] {
    const { edges, instances, control } = this.layout
    const homeOf = (home: string) => `${this.#state}/${home}`
    return [
      ...edges.map(({ id, home }) => ({ id, tier: 'edge' as const, home: homeOf(home), pool: '' })),
      ...instances.map(({ id, home, pool }) => ({ id, tier: 'queue' as const, home: homeOf(home), pool })),
      ...control.map(({ id, home }) => ({ id, tier: 'control' as const, home: homeOf(home), pool: '' })),
    ]
  }

  get queues(): readonly Place[] {
    return this.places.filter((place) => place.tier === 'queue')
  }

  /** What the instances last said of themselves. Never rejects. */
  async states(): Promise<Heard> {
    try {
      const entries = await this.#coordination.list('state/')
      const states = entries.flatMap(({ value }) => readState(value) ?? [])
      return { kind: 'heard', states: new Map(states.map((state) => [state.id, state])) }
    } catch {
      return { kind: 'unheard', why: this.#whyUnheard() }
    }
  }

  async ask(id: string, operation: OperationName, value: Json, timeoutMs = requestTimeoutMs): Promise<RequestResult> {
    const result = await this.#coordination.request(operationSubject(id, operation), value, timeoutMs)
    if (result.kind !== 'no-responder' || this.#refusal === undefined) return result
    return { kind: 'refused', why: this.#refusal }
  }

  #whyUnheard(): string {
    if (this.#refusal !== undefined) return `the running cluster refuses this command: ${this.#refusal}`
    try {
      const owner = homeOwner(this.#state)
      if (owner === undefined) return 'no `qmq up` is running on this state'
      return `\`qmq up\` runs on this state as process ${owner}, but does not answer`
    } catch (error) {
      return `it cannot be seen whether \`qmq up\` is running: ${errorText(error)}`
    }
  }

  close(): void {
    this.#coordination.close()
  }
}
