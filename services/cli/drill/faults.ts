/**
 * The faults of `qmq drill`: what each does to the running cluster, how it shows that it was one, and what must be as before afterwards.
 *
 * None needs this command to go on: a dependency that is taken away comes back by the instances' own timers, a process that was killed
 * by its supervisor's. A pid is never taken from a report: the process killed is the one that holds the home on this machine.
 */

import { type DrilledDependency, drillMsMax } from '../../contract/drill.ts'
import { instanceOf } from '../../contract/layout.ts'
import type { InstanceState } from '../../contract/operations.ts'
import { homeOwner, killHomeOwner } from '../../runtime/home-lock.ts'
import type { ClusterClient, Place } from '../cluster-client.ts'
import { describeState, isReady } from '../instance-states.ts'
import type { Context } from '../verb.ts'

export interface Fault {
  /** `nats-down`, `kill 01`. */
  readonly name: string
  readonly isKill: boolean
  /** What is about to happen, for a person who must agree. */
  readonly what: string
  /** Why it cannot be, in words; undefined where it has begun. */
  begin(): Promise<string | undefined>
  /** Asked again and again while probes are sent: true once the fault has ended. */
  hasEnded(): Promise<boolean>
  /** Asked in the middle of the fault: why it is none, undefined where it is one. */
  unfelt(): Promise<string | undefined>
  /** Asked after its end: who is not as before, and how it is. */
  absent(): Promise<readonly string[]>
}

/** An instance that answers does so at once; one that plays gone shall not keep us. */
const askTimeoutMs = 2000

export function killOf(context: Context, client: ClusterClient, place: Place): Fault | string {
  const pid = homeOwner(place.home)
  if (pid === undefined) return `no process on this machine runs ${place.id}: there is nothing to kill`
  let killed: number | undefined
  const isBack = async (): Promise<string | undefined> => {
    const state = await stateOf(client, place.id)
    if (state !== undefined && state.pid === killed) return `${place.id} is still process ${killed}`
    return state !== undefined && isReady(state, state.epoch)
      ? undefined
      : `${place.id} (${describeState(state, state?.epoch ?? 0)})`
  }
  return {
    name: `kill ${place.id}`,
    isKill: true,
    what: `SIGKILL to ${place.tier} ${place.id}, process ${pid}; whoever supervises it must start it again`,
    begin: async () => {
      killed = killHomeOwner(place.home)
      return killed === undefined ? `${place.id} ended before it could be killed` : undefined
    },
    hasEnded: async () => (await isBack()) === undefined,
    unfelt: async () => {
      const now = homeOwner(place.home)
      return now === killed ? `process ${killed} lives on` : undefined
    },
    absent: async () => {
      const why = await isBack()
      if (why !== undefined) return [why]
      return await unready(context, client)
    },
  }
}

export function dependencyDown(
  context: Context,
  client: ClusterClient,
  parts: { readonly dependency: DrilledDependency; readonly forMs: number; readonly places: readonly Place[] },
): Fault {
  const { dependency, forMs, places } = parts
  const { clock } = context.world
  const told: string[] = []
  let until = 0
  return {
    name: dependency === 'coordination' ? 'nats-down' : 'redis-down',
    isKill: false,
    what: `${places.map(({ id }) => id).join(' ')} do without ${dependency} for ${forMs / 1000} s: ${meaningOf(client, dependency)}`,
    begin: async () => {
      const answers = await Promise.all(
        places.map(async ({ id }) => ({ id, result: await client.ask(id, 'drill', { dependency, forMs }) })),
      )
      const refusals: string[] = []
      for (const { id, result } of answers) {
        if (result.kind === 'reply') told.push(id)
        else refusals.push(`${id}: ${result.kind === 'refused' ? result.why : 'it does not answer'}`)
      }
      until = clock.monotonic() + forMs
      // Queues and control have no shared state: that they refuse is no fault of the drill.
      const enough = dependency === 'coordination' ? refusals.length === 0 : told.length > 0
      return enough ? undefined : refusals.join('; ')
    },
    hasEnded: async () => clock.monotonic() >= until,
    unfelt: async () => {
      const states = await Promise.all(told.map(async (id) => ({ id, state: await stateOf(client, id) })))
      const feels = (state: InstanceState | undefined) =>
        dependency === 'coordination' ? feelsAlone(client, state) : state?.sharedState?.reached === false
      const unmoved = states.filter(({ state }) => !feels(state)).map(({ id }) => id)
      return unmoved.length === 0 ? undefined : `${unmoved.join(', ')} went on as if nothing were gone`
    },
    absent: () => unready(context, client),
  }
}

/** With NATS, an instance still answers over its host's hub, and says what it misses; without, the hub is what it misses. */
function feelsAlone({ layout }: ClusterClient, state: InstanceState | undefined): boolean {
  return layout.coordination === undefined ? state === undefined : state?.coordinationLost !== undefined
}

/** The longest a fault may keep us. */
export function patienceMsOf(fault: Fault, forMs: number): number {
  return fault.isKill ? drillMsMax : forMs + askTimeoutMs
}

function meaningOf(client: ClusterClient, dependency: DrilledDependency): string {
  const { edges, instances } = client.layout
  if (dependency === 'shared-state') return 'each edge counts by itself and remembers by itself'
  const carriers = edges.length + instances.length
  return `no heartbeats, no new layout, no orders; all ${carriers} edges and queues carry mail by the layout they have`
}

/** Whoever shall run: a parked instance does not. */
export function runningPlaces({ layout, places }: ClusterClient): readonly Place[] {
  return places.filter(({ id }) => instanceOf(layout, id)?.standing !== 'parked')
}

/** Everybody of the layout who is not ready, has not reported, or misses what the drill took away. */
async function unready(context: Context, client: ClusterClient): Promise<readonly string[]> {
  const states = await Promise.all(
    runningPlaces(client).map(async ({ id }) => ({ id, state: await stateOf(client, id) })),
  )
  const now = context.world.clock.now()
  return states.flatMap(({ id, state }) => {
    if (state === undefined || !isReady(state, state.epoch))
      return [`${id} (${describeState(state, state?.epoch ?? 0)})`]
    if (state.drill !== undefined && state.drill.until < now) return [`${id} (still without ${state.drill.dependency})`]
    const lost =
      state.coordinationLost?.why ?? (state.sharedState?.reached === false ? state.sharedState.why : undefined)
    return lost === undefined ? [] : [`${id} (${lost})`]
  })
}

/** What it says now, not what it said last. */
async function stateOf(client: ClusterClient, id: string): Promise<InstanceState | undefined> {
  const result = await client.ask(id, 'status', {}, askTimeoutMs)
  return result.kind === 'reply' ? (result.value as unknown as InstanceState) : undefined
}
