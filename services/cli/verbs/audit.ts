/**
 * `qmq audit`: is all mail accounted for? The sums over all instances, where each hop counts what it accepted; balanced only
 * where every instance is. Exit code 1 where it is not, 3 where it is but damaged records wait for a person to look. A running instance is asked, the journal of one that is not is read.
 */

import type { RequestResult } from '../../contract/coordination.ts'
import type { Audit } from '../../contract/operations.ts'
import { errorText } from '../../protocol/failure.ts'
import { ClusterClient } from '../cluster-client.ts'
import { ControlClient } from '../control-client.ts'
import { askOffline, lookOffline } from '../offline-instance.ts'
import { textTable } from '../text-table.ts'
import type { Context, ExitCode, Verb } from '../verb.ts'

export const auditVerb: Verb = {
  name: 'audit',
  summary: 'check that all accepted mail is accounted for',
  remote: true,
  run: audit,
}

const counted = ['accepted', 'delivered', 'bounced', 'discarded', 'queued', 'quarantined'] as const

async function audit(context: Context): Promise<ExitCode> {
  const answers = context.remote === undefined ? await auditsHere(context) : await auditsThere(context)
  const instances = answers.filter((answer) => typeof answer !== 'string')
  const missing = answers.filter((answer) => typeof answer === 'string')
  for (const why of missing) context.complain(why)
  const totals = totalsOf(instances)
  const balanced = missing.length === 0 && instances.every((one) => one.balanced)
  const json = () => JSON.stringify({ ...totals, balanced, instances })
  context.print(context.output === 'json' ? json() : auditText(instances, totals, balanced))
  if (totals.quarantined > 0) {
    context.complain(
      `${totals.quarantined} damaged records are set aside, below each home in quarantine/: look at them`,
    )
  }
  if (!balanced) return 1
  return totals.quarantined > 0 ? 3 : 0
}

/** An audit, or why there is none. */
async function auditsHere(context: Context): Promise<readonly (Audit | string)[]> {
  const client = await ClusterClient.open(context)
  try {
    const asked = await Promise.all(
      client.queues.map(async ({ id }) => ({ id, result: await client.ask(id, 'audit', {}) })),
    )
    return await lookOffline(asked, ({ id, result }) => auditOf(context, id, result))
  } finally {
    client.close()
  }
}

/** The journals of another host cannot be read: who does not answer is missing. */
async function auditsThere(context: Context): Promise<readonly (Audit | string)[]> {
  const client = await ControlClient.open(context)
  try {
    const { instances, silent } = await client.must<AuditReply>('ClusterService', 'Audit', {})
    return [...instances, ...silent.map(({ instance, why }) => `${instance}: no audit, ${why}`)]
  } finally {
    client.close()
  }
}

interface AuditReply {
  readonly instances: readonly Audit[]
  readonly silent: readonly { readonly instance: string; readonly why: string }[]
}

function totalsOf(instances: readonly Audit[]): Readonly<Record<(typeof counted)[number], number>> {
  const sum = (name: (typeof counted)[number]) => instances.reduce((total, one) => total + one[name], 0)
  const [accepted, delivered, bounced] = [sum('accepted'), sum('delivered'), sum('bounced')]
  const [discarded, queued, quarantined] = [sum('discarded'), sum('queued'), sum('quarantined')]
  return { accepted, delivered, bounced, discarded, queued, quarantined }
}

/** The audit, or why there is none. */
async function auditOf(context: Context, id: string, result: RequestResult): Promise<Audit | string> {
  if (result.kind === 'reply') return result.value as unknown as Audit
  if (result.kind !== 'no-responder') {
    return `${id}: no audit, ${result.kind === 'refused' ? result.why : 'it does not answer'}`
  }
  try {
    return (await askOffline('audit', context.state, id)) as Audit
  } catch (error) {
    return `${id}: no audit, ${errorText(error)}`
  }
}

function auditText(
  instances: readonly Audit[],
  totals: Readonly<Record<(typeof counted)[number], number>>,
  balanced: boolean,
): string {
  const cells = (one: typeof totals) => counted.map((name) => String(one[name]))
  const yes = (value: boolean) => (value ? 'yes' : 'NO')
  const rows = instances.map((one) => [one.instance, ...cells(one), yes(one.balanced)])
  const head = ['ID', 'ACCEPTED', 'DELIVERED', 'BOUNCED', 'DISCARDED', 'QUEUED', 'SET ASIDE', 'BALANCED']
  return textTable(head, [...rows, ['all', ...cells(totals), yes(balanced)]])
}
