/** `qmq trace ID`: what happened to a message in every tier, its bounces included; also with the cluster down. */

import type { LedgerEvent } from '../../contract/ledger.ts'
import { transactionIdPattern } from '../../contract/transaction-id.ts'
import { ClusterClient } from '../cluster-client.ts'
import { ControlClient } from '../control-client.ts'
import { traceMessage, traceTable } from '../message-trace.ts'
import type { Context, ExitCode, Input, Verb } from '../verb.ts'

export const traceVerb: Verb = {
  name: 'trace',
  summary: 'follow one message through all tiers',
  arguments: '<id>',
  remote: true,
  run: trace,
}

async function trace(context: Context, input: Input): Promise<ExitCode> {
  const [id = ''] = input.words
  if (!transactionIdPattern.test(id)) {
    context.complain(`${id} is no message id: 26 letters and digits, as the 250 reply gave it`)
    return 2
  }
  const events = context.remote === undefined ? await eventsHere(context, id) : await eventsThere(context, id)
  if (context.output === 'json') context.print(JSON.stringify(events))
  else if (events.length > 0) context.print(traceTable(events))
  if (events.length === 0) context.complain(`no ledger has ${id}`)
  return events.length === 0 ? 1 : 0
}

async function eventsHere(context: Context, id: string): Promise<readonly LedgerEvent[]> {
  const client = await ClusterClient.open(context)
  try {
    return await traceMessage(context, client, id)
  } finally {
    client.close()
  }
}

async function eventsThere(context: Context, id: string): Promise<readonly LedgerEvent[]> {
  const client = await ControlClient.open(context)
  try {
    const { events } = await client.must<{ events: readonly LedgerEvent[] }>('ClusterService', 'Trace', { id })
    return events
  } finally {
    client.close()
  }
}
