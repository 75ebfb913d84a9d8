/** `qmq status`: every place of the layout and what runs there. Exit code 3 where anything is not ready. */

import type { InstanceState } from '../../contract/operations.ts'
import { ClusterClient, type Place } from '../cluster-client.ts'
import { shortDuration, textTable } from '../text-table.ts'
import type { Context, ExitCode, Verb } from '../verb.ts'

export const statusVerb: Verb = { name: 'status', summary: 'show every instance and how it is', run: status }

/** Heartbeats come every second; past this the process is stuck. */
const staleMs = 10_000

type Row = Place & { readonly state: InstanceState | undefined; readonly phase: string }

async function status(context: Context): Promise<ExitCode> {
  const client = await ClusterClient.open(context)
  const states = await client.states()
  client.close()
  const now = context.world.clock.now()
  const rows: readonly Row[] = client.places.map((place) => {
    const state = states?.get(place.id)
    const stuck = state !== undefined && now - state.at > staleMs
    return { ...place, state, phase: stuck ? 'stuck' : (state?.phase ?? 'down') }
  })
  const healthy = rows.every((row) => row.phase === 'ready')
  context.print(context.output === 'json' ? jsonText(client, rows, healthy) : tableText(context, client, rows, now))
  if (states === undefined) context.complain('no `qmq up` is running on this state')
  return healthy ? 0 : 3
}

function jsonText(client: ClusterClient, rows: readonly Row[], healthy: boolean): string {
  const instances = rows.map(({ id, tier, pool, phase, state }) => {
    const { pid, epoch, startedAt, at, why, listeners, load } = state ?? {}
    return { id, tier, pool, phase, pid, epoch, startedAt, at, why, listeners: listeners ?? [], load }
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
