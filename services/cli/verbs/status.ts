/** `qmq status`: every place of the layout and what runs there. Exit code 3 where anything is not ready or not on the layout in force. */

import type { Audit, InstanceState } from '../../contract/operations.ts'
import { ClusterClient, type Place } from '../cluster-client.ts'
import { describeState } from '../instance-states.ts'
import { shortDuration, textTable } from '../text-table.ts'
import type { Context, ExitCode, Verb } from '../verb.ts'

export const statusVerb: Verb = { name: 'status', summary: 'show every instance and how it is', run: status }

/** Heartbeats come every second; past this the process is stuck. */
const staleMs = 10_000
/** A status is asked for when things are bad: it does not wait long for what it can do without. */
const auditTimeoutMs = 2000

type Row = Place & {
  readonly state: InstanceState | undefined
  readonly phase: string
  /** Damaged records set aside; undefined where the instance could not be asked. */
  readonly quarantined: number | undefined
}

async function status(context: Context): Promise<ExitCode> {
  const client = await ClusterClient.open(context)
  const heard = await client.states()
  const now = context.world.clock.now()
  const states = heard.kind === 'heard' ? heard.states : undefined
  const rows: readonly Row[] = await Promise.all(client.places.map((place) => rowOf(client, place, states, now)))
  client.close()
  const { epoch } = client.layout
  const healthy = rows.every(
    ({ phase, state }) => phase === 'ready' && state?.epoch === epoch && state.sharedState?.reached !== false,
  )
  context.print(context.output === 'json' ? jsonText(client, rows, healthy) : tableText(context, client, rows, now))
  if (heard.kind === 'unheard') context.complain(heard.why)
  for (const { id, state } of rows) {
    if (state !== undefined && state.epoch !== epoch) context.complain(`${id}: ${describeState(state, epoch)}`)
  }
  for (const { id, state } of rows) {
    if (state?.sharedState?.reached !== false) continue
    const { server, why } = state.sharedState
    context.complain(`${id}: counts for itself, without ${server}: ${why ?? 'not reached'}`)
  }
  const aside = rows.filter(({ quarantined = 0 }) => quarantined > 0).map(({ id }) => id)
  if (aside.length > 0) context.complain(`damaged records are set aside in ${aside.join(', ')}: see qmq audit`)
  return healthy ? 0 : 3
}

async function rowOf(
  client: ClusterClient,
  place: Place,
  states: ReadonlyMap<string, InstanceState> | undefined,
  now: number,
): Promise<Row> {
  const state = states?.get(place.id)
  const stuck = state !== undefined && now - state.at > staleMs
  const asked = place.tier === 'queue' && state !== undefined && !stuck
  const audit = asked ? await client.ask(place.id, 'audit', {}, auditTimeoutMs) : undefined
  const quarantined = audit?.kind === 'reply' ? (audit.value as unknown as Audit).quarantined : undefined
  return { ...place, state, phase: stuck ? 'stuck' : (state?.phase ?? 'down'), quarantined }
}

function jsonText(client: ClusterClient, rows: readonly Row[], healthy: boolean): string {
  const instances = rows.map(({ id, tier, pool, phase, state, quarantined }) => {
    const { pid, epoch, startedAt, at, why, listeners, load, sharedState } = state ?? {}
    const known = { pid, epoch, startedAt, at, why, listeners: listeners ?? [], load, sharedState }
    return { id, tier, pool, phase, ...known, quarantined }
  })
  const { cluster, epoch } = client.layout
  return JSON.stringify({ cluster, epoch, healthy, instances })
}

function tableText(context: Context, client: ClusterClient, rows: readonly Row[], now: number): string {
  const { cluster, epoch } = client.layout
  const wide = context.output === 'wide'
  const head = ['ID', 'TIER', 'POOL', 'PHASE', 'PID', 'EPOCH', 'QUEUED', 'IN FLIGHT', 'OLDEST', 'UP']
  const lines = rows.map(({ id, tier, pool, phase, state }) => {
    if (state === undefined) return [id, tier, pool, phase]
    const { pid, epoch: own, load, startedAt, listeners, why } = state
    const oldest = load.oldestAgeMs > 0 ? shortDuration(load.oldestAgeMs) : '-'
    const cells = [id, tier, pool, phase, String(pid), String(own), String(load.queued), String(load.inFlight), oldest]
    const listening = listeners.map(({ kind, host, port }) => `${kind} ${host}:${port}`).join(', ')
    const last = wide ? [`${load.acceptedPerSecond}`, listening, why ?? ''] : []
    return [...cells, shortDuration(now - startedAt), ...last]
  })
  const table = textTable(wide ? [...head, 'MSG/S', 'LISTENS ON', 'WHY'] : head, lines)
  return `${cluster}, epoch ${epoch}\n\n${table}`
}
