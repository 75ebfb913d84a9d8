/**
 * `qmq top`: a table that lives. Every queue instance with what it holds, how fast mail comes in, how old the oldest is and what the pool
 * promises; those in trouble first. On a terminal it is drawn over itself, with nothing but cursor movements every terminal
 * knows; elsewhere, and with `--once`, it is printed once.
 */

import type { ClusterStatus, PlaceStatus } from '../../contract/cluster-status.ts'
import { errorText } from '../../protocol/failure.ts'
import { openSight, type Seen } from '../cluster-sight.ts'
import { progressText } from '../plan-progress.ts'
import { shortDuration, textTable } from '../text-table.ts'
import type { Context, ExitCode, Input, Verb } from '../verb.ts'

export const topVerb: Verb = {
  name: 'top',
  summary: 'watch every instance live: queued, rate, oldest, standing, service level',
  remote: true,
  options: [['--once', 'print it once']],
  run: top,
}

const lookEveryMs = 1000

async function top(context: Context, input: Input): Promise<ExitCode> {
  const { terminal } = context
  const sight = await openSight(context)
  try {
    if (terminal === undefined || input.options['once'] === true || context.output === 'json') {
      const { status, notes } = await sight.look()
      context.print(context.output === 'json' ? JSON.stringify(status) : topText(status))
      for (const note of notes) context.complain(note)
      return status.healthy ? 0 : 3
    }
    terminal.write('\x1b[2J')
    // Until Ctrl-C ends the process: nothing was changed on the terminal that would have to be put back.
    for (;;) {
      const text = await sight.look().then(liveText, (error: unknown) => `nothing is known now: ${errorText(error)}`)
      terminal.write(drawn(text, terminal.columns, terminal.rows))
      await context.sleep(lookEveryMs)
    }
  } finally {
    sight.close()
  }
}

/** From the upper left corner, each line cleared behind its end, and all below cleared. */
function drawn(text: string, columns: number, rows: number): string {
  const lines = text.split('\n').slice(0, rows - 1)
  return `\x1b[H${lines.map((line) => `${line.slice(0, columns - 1)}\x1b[K`).join('\r\n')}\r\n\x1b[J`
}

/** What is wrong comes before the table, which may be longer than the terminal. */
function liveText({ status, notes }: Seen): string {
  return [...notes, ...(notes.length === 0 ? [] : ['']), topText(status)].join('\n')
}

export function topText(status: ClusterStatus): string {
  const { cluster, epoch, leader, places, plans } = status
  const queues = places.filter(({ tier }) => tier === 'queue')
  const queued = queues.reduce((sum, place) => sum + place.queued, 0)
  const rate = queues.reduce((sum, place) => sum + place.acceptedPerSecond, 0)
  const lead = leader === '' ? 'nobody leads' : `${leader} leads`
  const head = `${cluster}, epoch ${epoch}, ${lead}: ${queued} queued, ${rate.toFixed(1)} messages/s in`
  const rows = places
    .toSorted((one, other) => rankOf(one, epoch) - rankOf(other, epoch))
    .map((place) => rowOf(place, epoch))
  const columns = ['ID', 'TIER', 'POOL', 'STANDING', 'PHASE', 'QUEUED', 'RUNNING', 'MSG/S', 'OLDEST', 'SLA']
  const running = plans.map((plan) => `plan ${plan.id}: ${progressText(plan)}`)
  return [head, '', textTable(columns, rows), ...(running.length === 0 ? [] : ['', ...running])].join('\n')
}

/** Trouble first, then late mail, then the rest as the layout has it. */
function rankOf(place: PlaceStatus, epoch: number): number {
  if (place.phase !== 'ready' && place.phase !== 'parked') return 0
  if (isLate(place)) return 1
  return place.epoch === epoch || place.phase === 'parked' ? 3 : 2
}

function isLate({ slaMs, oldestAgeMs }: PlaceStatus): boolean {
  return slaMs > 0 && oldestAgeMs > slaMs
}

function rowOf(place: PlaceStatus, epoch: number): string[] {
  const { id, tier, pool, standing, phase, queued, inFlight, acceptedPerSecond, oldestAgeMs, slaMs } = place
  const said = place.epoch === epoch || place.epoch === 0 ? phase : `${phase} (epoch ${place.epoch})`
  const promise = slaMs === 0 ? '-' : `${shortDuration(slaMs)}${isLate(place) ? ' LATE' : ''}`
  const counts = [String(queued), String(inFlight), acceptedPerSecond.toFixed(1)]
  return [
    id,
    tier,
    pool,
    standing || '-',
    said,
    ...counts,
    oldestAgeMs === 0 ? '-' : shortDuration(oldestAgeMs),
    promise,
  ]
}
