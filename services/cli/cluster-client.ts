/**
 * A command's view of a cluster: the layout on disk, and the running instances through this host's hub where there is one, and through
 * NATS where the layout names servers. Nothing here fails because the cluster, or NATS, is down; it says so.
 */

import fs from 'node:fs'
import type { Coordination, Entry, Json, RequestResult } from '../contract/coordination.ts'
import { operationSubject } from '../contract/coordination.ts'
import type { Layout, NatsSpec } from '../contract/layout.ts'
import type { InstanceState, OperationName } from '../contract/operations.ts'
import { readStateRecord } from '../contract/state-record.ts'
import { errorText } from '../protocol/failure.ts'
import { EmbeddedCoordination } from '../runtime/embedded-coordination.ts'
import { dialHub, socketName } from '../runtime/embedded-socket.ts'
import { homeOwner } from '../runtime/home-lock.ts'
import { below, type CoordinationLinks, openCoordination } from '../runtime/open-coordination.ts'
import { layoutAbsent, layoutFileName, readLayoutFile, type TierKind } from '../runtime/tier-layout.ts'
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
  | {
      readonly kind: 'heard'
      readonly states: ReadonlyMap<string, InstanceState>
      /** Why what was heard may not be all, or is not what it should be. One line each. */
      readonly notes: readonly string[]
    }
  /** Nothing is known of the instances, for this reason, in words for the user. */
  | { readonly kind: 'unheard'; readonly why: string }

/** Why the running cluster does not want us; undefined where it does, or where there is none. */
interface Refused {
  why: string | undefined
}

/** This host's hub. */
interface Near {
  readonly coordination: Coordination
  readonly refused: Refused
}

export class ClusterClient {
  readonly layout: Layout
  readonly #state: string
  readonly #near: Coordination
  readonly #links: CoordinationLinks
  readonly #refused: Refused

  private constructor(state: string, layout: Layout, near: Near, links: CoordinationLinks) {
    this.layout = layout
    this.#state = state
    this.#near = near.coordination
    this.#refused = near.refused
    this.#links = links
  }

  /** Rejects, in words for the user, where there is no layout that can be read. */
  static async open(context: Context): Promise<ClusterClient> {
    const { world, state } = context
    const layout = await readLayoutFile(world.disk, `${state}/${layoutFileName}`)
    if (layout === layoutAbsent) throw new Error(`no cluster in ${state}: ${layoutFileName} ${layout}`)
    if (typeof layout === 'string') throw new Error(`${state}/${layoutFileName} cannot be used: ${layout}`)
    const { coordination: spec } = layout
    const client = spec === undefined ? 'operator' : commandName(state, spec)
    const near = nearOf(context)
    const choice = { world, state, spec, client, makesBuckets: false, near: near.coordination }
    return new ClusterClient(state, layout, near, await openCoordination(choice))
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

  /** What the instances last said of themselves; of one heard on two ways, what this host's hub knows. Never rejects. */
  async states(): Promise<Heard> {
    const [near, shared] = await Promise.all([entriesOf(this.#near), this.#sharedEntries()])
    if (near === undefined && shared === undefined) return { kind: 'unheard', why: this.#whyUnheard() }
    const notes: string[] = []
    const states = new Map<string, InstanceState>()
    for (const entry of [...(shared ?? []), ...(near ?? [])]) {
      const reading = readStateRecord(entry)
      if (reading.ok) states.set(reading.state.id, reading.state)
      else notes.push(`the record ${entry.key} is passed over: ${reading.why}`)
    }
    const { trouble } = this.#links
    if (trouble !== undefined) notes.push(`NATS cannot be reached, this is what this host knows: ${trouble.why}`)
    return { kind: 'heard', states, notes }
  }

  async ask(id: string, operation: OperationName, value: Json, timeoutMs = requestTimeoutMs): Promise<RequestResult> {
    let result: RequestResult = { kind: 'no-responder' }
    for (const link of this.#links.all) {
      result = await link.request(operationSubject(id, operation), value, timeoutMs)
      if (result.kind !== 'no-responder') return result
    }
    return this.#refused.why === undefined ? result : { kind: 'refused', why: this.#refused.why }
  }

  async #sharedEntries(): Promise<readonly Entry[] | undefined> {
    return this.#links.shared === this.#near ? undefined : await entriesOf(this.#links.shared)
  }

  #whyUnheard(): string {
    const { why } = this.#refused
    if (why !== undefined) return `the running cluster refuses this command: ${why}`
    const { trouble } = this.#links
    const also = trouble === undefined ? '' : `, and NATS cannot be reached: ${trouble.why}`
    try {
      const owner = homeOwner(this.#state)
      if (owner === undefined)
        return `no \`qmq up\` is running on this state: start it, or name another cluster with --context${also}`
      return `\`qmq up\` runs on this state as process ${owner}, but does not answer${also}`
    } catch (error) {
      return `it cannot be seen whether \`qmq up\` is running: ${errorText(error)}${also}`
    }
  }

  close(): void {
    this.#links.close()
  }
}

function nearOf({ world, state }: Context): Near {
  const refused: Refused = { why: undefined }
  const dial = () => dialHub(`${state}/${socketName}`)
  const onLost = (_why: string, refusal: string | undefined) => {
    refused.why = refusal
  }
  return { coordination: new EmbeddedCoordination({ clock: world.clock, dial, onLost }), refused }
}

async function entriesOf(link: Coordination): Promise<readonly Entry[] | undefined> {
  return await link.list('state/').catch(() => undefined)
}

/** A host may have been given the key of a viewer only. */
function commandName(state: string, { credentials }: NatsSpec): string {
  const directory = below(state, credentials)
  const has = (client: string) => ['nk', 'creds'].some((ending) => fs.existsSync(`${directory}/${client}.${ending}`))
  return !has('operator') && has('viewer') ? 'viewer' : 'operator'
}
