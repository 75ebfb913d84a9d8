/**
 * The way of one message through all tiers: every instance's ledger events of its transaction and of the bounces they
 * name, in order of time. Asks running instances, and reads the files of those that are not.
 */

import type { LedgerEvent } from '../contract/ledger.ts'
import { displayText } from '../protocol/byte-string.ts'
import { searchLedger } from '../runtime/ledger-search.ts'
import { traceLedgers } from '../runtime/ledger-trace.ts'
import type { ClusterClient, Place } from './cluster-client.ts'
import { textTable } from './text-table.ts'
import type { Context } from './verb.ts'

export function traceMessage(context: Context, client: ClusterClient, id: string): Promise<readonly LedgerEvent[]> {
  return traceLedgers(id, (transaction) => eventsOf(context, client, transaction))
}

async function eventsOf(context: Context, client: ClusterClient, id: string): Promise<readonly LedgerEvent[]> {
  const perPlace = await Promise.all(client.places.map((place) => eventsAt(context, client, place, id)))
  return perPlace.flat()
}

async function eventsAt(
  context: Context,
  client: ClusterClient,
  place: Place,
  id: string,
): Promise<readonly LedgerEvent[]> {
  const result = await client.ask(place.id, 'trace', { id })
  if (result.kind === 'reply') return result.value as unknown as readonly LedgerEvent[]
  return searchLedger(context.world.disk, `${place.home}/ledger`, id)
}

export function traceTable(events: readonly LedgerEvent[]): string {
  const start = events[0]?.at ?? 0
  const rows = events.map((event) => {
    const { tier, instance, sender, recipients, to, text, bounce } = event
    const way = [
      ...(sender === undefined ? [] : [`<${sender}>`]),
      ...(recipients === undefined ? [] : ['->', recipients.map((recipient) => `<${recipient}>`).join(' ')]),
      ...(to === undefined ? [] : [`by ${to}`]),
      ...(bounce === undefined ? [] : [`bounce ${bounce}`]),
      ...(text === undefined || text === '' ? [] : [`(${text})`]),
    ]
    return [`+${event.at - start} ms`, tier, instance, event.event, displayText(way.join(' ')).slice(0, 200)]
  })
  return textTable(['TIME', 'TIER', 'INSTANCE', 'EVENT', 'WHAT'], rows)
}
