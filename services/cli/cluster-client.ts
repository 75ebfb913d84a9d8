/**
 * A command's view of a cluster: the layout on disk, and the running instances through the hub's socket where there is one.
 * Nothing here fails because the cluster is down; it says so.
 */

import type { Coordination, Json, RequestResult } from '../contract/coordination.ts'
import { operationSubject } from '../contract/coordination.ts'
import type { Layout } from '../contract/layout.ts'
import type { InstanceState, OperationName } from '../contract/operations.ts'
import { EmbeddedCoordination } from '../runtime/embedded-coordination.ts'
import { dialHub } from '../runtime/embedded-socket.ts'
import { layoutFileName, readLayoutFile, type TierKind } from '../runtime/tier-layout.ts'
import { socketName } from '../runtime/tier-process.ts'
import type { Context } from './verb.ts'

const requestTimeoutMs = 10_000

export interface Place {
  readonly id: string
  readonly tier: TierKind
  /** Absolute. */
  readonly home: string
  readonly pool: string
}

export class ClusterClient {
  readonly layout: Layout
  readonly #state: string
  readonly #coordination: Coordination

  private constructor(layout: Layout, state: string, coordination: Coordination) {
    this.layout = layout
    this.#state = state
    this.#coordination = coordination
  }

  /** Rejects, in words for the user, where there is no layout yet. */
  static async open(context: Context): Promise<ClusterClient> {
    const { world, state } = context
    const layout = await readLayoutFile(world.disk, `${state}/${layoutFileName}`)
    if (typeof layout === 'string') throw new Error(`no cluster in ${state}: ${layoutFileName} ${layout}`)
    const dial = () => dialHub(`${state}/${socketName}`)
    return new ClusterClient(layout, state, new EmbeddedCoordination({ clock: world.clock, dial }))
  }

  get places(): readonly Place[] {
    const { edges, instances } = this.layout
    const homeOf = (home: string) => `${this.#state}/${home}`
    return [
      ...edges.map(({ id, home }) => ({ id, tier: 'edge' as const, home: homeOf(home), pool: '' })),
      ...instances.map(({ id, home, pool }) => ({ id, tier: 'queue' as const, home: homeOf(home), pool })),
    ]
  }

  get queues(): readonly Place[] {
    return this.places.filter((place) => place.tier === 'queue')
  }

  /** What the instances last said of themselves; undefined where no `qmq up` is running. */
  async states(): Promise<ReadonlyMap<string, InstanceState> | undefined> {
    try {
      const entries = await this.#coordination.list('state/')
      const states = entries.map((entry) => entry.value as unknown as InstanceState)
      return new Map(states.map((state) => [state.id, state]))
    } catch {
      return undefined
    }
  }

  ask(id: string, operation: OperationName, value: Json): Promise<RequestResult> {
    return this.#coordination.request(operationSubject(id, operation), value, requestTimeoutMs)
  }

  close(): void {
    this.#coordination.close()
  }
}
