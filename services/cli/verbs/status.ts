/**
 * `qmq status`: every place of the layout and what runs there, and what is being drained. Exit code 3 where anything is not as it should
 * be.
 */

import { type DrainPlan, instanceOf, type Standing } from '../../contract/layout.ts'
import type { Audit, InstanceState, Trouble } from '../../contract/operations.ts'
import { errorText } from '../../protocol/failure.ts'
import { ClusterClient, type Place } from '../cluster-client.ts'
import { openSight } from '../cluster-sight.ts'
import { describeState } from '../instance-states.ts'
import { shortDuration, textTable } from '../text-table.ts'
import type { Context, ExitCode, Input, Verb } from '../verb.ts'
import { topText } from './top.ts'

export const statusVerb: Verb = {
  name: 'status',
  summary: 'show every instance and how it is',
  remote: true,
  options: [['-w, --watch', 'show it again whenever it has changed']],
  run: status,
}

const lookEveryMs = 2000

/** Heartbeats come every second; past this the process is stuck. */
const staleMs = 10_000
/** A status is asked for when things are bad: it does not wait long for what it can do without. */
const auditTimeoutMs = 2000

type Row = Place & {
  readonly state: InstanceState | undefined
  readonly phase: string
  /** Of a queue instance. */
  readonly standing: Standing | undefined
  /** Damaged records set aside; undefined where the instance could not be asked. */
  readonly quarantined: number | undefined
}

async function status(context: Context, input: Input): Promise<ExitCode> {
  const look = context.remote === undefined ? statusHere : statusThere
  if (input.options['watch'] !== true) return await look(context)
  // Until Ctrl-C ends the process.
  for (let before = ''; ; await context.sleep(lookEveryMs)) {
    const lines: string[] = []
    const say = (text: string): number => lines.push(text)
    try {
      await look({ ...context, print: say, complain: say })
    } catch (error) {
      say(errorText(error))
    }
    const text = lines.join('\n')
    if (context.terminal !== undefined && context.output !== 'json') context.terminal.write(`\x1b[H\x1b[2J${text}\n`)
    else if (text !== before) context.print(text)
    before = text
  }
}

async function statusThere(context: Context): Promise<ExitCode> {
  const sight = await openSight(context)
  try {
    const { status, notes } = await sight.look()
    context.print(context.output === 'json' ? JSON.stringify(status) : topText(status))
    for (const note of notes) context.complain(note)
    return status.healthy ? 0 : 3
  } finally {
    sight.close()
  }
}

async function statusHere(context: Context): Promise<ExitCode> {
  const client = await ClusterClient.open(context)
  const heard = await client.states()
  const now = context.world.clock.now()
  const states = heard.kind === 'heard' ? heard.states : undefined
  const rows: readonly Row[] = await Promise.all(client.places.map((place) => rowOf(client, place, states, now)))
  client.close()
  const { epoch } = client.layout
  const notes = heard.kind === 'heard' ? heard.notes : [heard.why]
  const ready = rows.every((row) => isWell(row, epoch))
  const troubles = rows.flatMap(({ id, state }) => (state === undefined ? [] : troublesOf(id, state)))
  const shares = rows.every(({ state }) => state?.sharedState?.reached !== false)
  const healthy = ready && shares && notes.length === 0 && troubles.length === 0
  context.print(context.output === 'json' ? jsonText(client, rows, healthy) : tableText(context, client, rows, now))
  for (const note of [...notes, ...troubles, ...planLines(client, rows)]) context.complain(note)
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

/** A parked instance does not run, and a sealed one refuses: both as they should. */
function isWell({ standing, phase, state }: Row, epoch: number): boolean {
  if (standing === 'parked') return true
  return (phase === 'ready' || (standing === 'sealed' && phase === 'refusing')) && state?.epoch === epoch
}

/** One line for each plan, and for each thing it waits for. */
function planLines(client: ClusterClient, rows: readonly Row[]): readonly string[] {
  const leader = rows.find(({ state }) => state?.control?.fence !== undefined)?.state
  return client.layout.plans.flatMap((plan) => {
    const why = waitedFor(plan, leader)
    return [planText(plan), ...(leader === undefined ? ['  no control process leads: nobody carries it out now'] : why)]
  })
}

function waitedFor({ id }: DrainPlan, leader: InstanceState | undefined): readonly string[] {
  const told = leader?.control?.plans.filter(({ plan }) => plan === id || plan === '') ?? []
  return told.flatMap(({ why }) => why.map((line) => `  waits: ${line}`))
}

function planText({ id, pool, from, to, leaving, targets, state, force }: DrainPlan): string {
  const what = state === 'cancelling' ? 'is being cancelled' : `${from} to ${to}`
  return `plan ${id}: ${pool} ${what}, ${leaving.join(', ')} to ${targets.join(', ')}${force ? ', by force' : ''}`
}

/** What an instance carries mail in spite of. */
function troublesOf(id: string, { layoutRefused, coordinationLost }: InstanceState): readonly string[] {
  const since = ({ at }: Trouble) => `since ${new Date(at).toISOString()}`
  return [
    ...(layoutRefused === undefined ? [] : [`${id}: layout refused ${since(layoutRefused)}: ${layoutRefused.why}`]),
    ...(coordinationLost === undefined ? [] : [`${id}: NATS gone ${since(coordinationLost)}: ${coordinationLost.why}`]),
  ]
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
  const standing = instanceOf(client.layout, place.id)?.standing
  return { ...place, state, standing, phase: stuck ? 'stuck' : (state?.phase ?? 'down'), quarantined }
}

function jsonText(client: ClusterClient, rows: readonly Row[], healthy: boolean): string {
  const instances = rows.map(({ id, tier, pool, phase, standing, state, quarantined }) => {
    const { pid, epoch, startedAt, at, why, listeners, load, drain, control, sharedState } = state ?? {}
    const { layoutRefused, coordinationLost } = state ?? {}
    const said = { pid, epoch, startedAt, at, why, listeners: listeners ?? [], load, drain, control, sharedState }
    return { id, tier, pool, phase, standing, ...said, quarantined, layoutRefused, coordinationLost }
  })
  const { cluster, epoch, plans } = client.layout
  return JSON.stringify({ cluster, epoch, healthy, plans, instances })
}

function tableText(context: Context, client: ClusterClient, rows: readonly Row[], now: number): string {
  const { cluster, epoch } = client.layout
  const wide = context.output === 'wide'
  const head = ['ID', 'TIER', 'POOL', 'STANDING', 'PHASE', 'PID', 'EPOCH', 'QUEUED', 'IN FLIGHT', 'OLDEST', 'UP']
  const lines = rows.map(({ id, tier, pool, standing, phase, state }) => {
    const first = [id, tier, pool, standing ?? '', phase]
    if (state === undefined) return first
    const { pid, epoch: own, load, startedAt, listeners, why } = state
    const oldest = load.oldestAgeMs > 0 ? shortDuration(load.oldestAgeMs) : '-'
    const cells = [...first, String(pid), String(own), String(load.queued), String(load.inFlight), oldest]
    const listening = listeners.map(({ kind, host, port }) => `${kind} ${host}:${port}`).join(', ')
    const last = wide ? [`${load.acceptedPerSecond}`, listening, why ?? ''] : []
    return [...cells, shortDuration(now - startedAt), ...last]
  })
  const table = textTable(wide ? [...head, 'MSG/S', 'LISTENS ON', 'WHY'] : head, lines)
  return `${cluster}, epoch ${epoch}\n\n${table}`
}
