/**
 * `qmq audit`: is all mail accounted for? The sums over all instances, where each hop counts what it accepted; balanced only
 * where every instance is. A running instance is asked, the journal of one that is not is read.
 */

import type { Audit } from '../../contract/operations.ts'
import { errorText } from '../../protocol/failure.ts'
import { ClusterClient } from '../cluster-client.ts'
import { askOffline } from '../offline-instance.ts'
import { textTable } from '../text-table.ts'
import type { Context, ExitCode, Verb } from '../verb.ts'

export const auditVerb: Verb = { name: 'audit', summary: 'check that all accepted mail is accounted for', run: audit }

const counted = ['accepted', 'delivered', 'bounced', 'discarded', 'queued'] as const

async function audit(context: Context): Promise<ExitCode> {
  const client = await ClusterClient.open(context)
  try {
    const answers = await Promise.all(client.queues.map(({ id }) => auditOf(context, client, id)))
    const instances = answers.filter((answer) => typeof answer !== 'string')
    const missing = answers.filter((answer) => typeof answer === 'string')
    for (const why of missing) context.complain(why)
    const sum = (name: (typeof counted)[number]) => instances.reduce((total, one) => total + one[name], 0)
    const [accepted, delivered, bounced, discarded, queued] = counted.map(sum)
    const balanced = missing.length === 0 && instances.every((one) => one.balanced)
    const totals = { accepted, delivered, bounced, discarded, queued, balanced }
    context.print(context.output === 'json' ? JSON.stringify({ ...totals, instances }) : auditText(instances, balanced))
    return balanced ? 0 : 1
  } finally {
    client.close()
  }
}

/** The audit, or why there is none. */
async function auditOf(context: Context, client: ClusterClient, id: string): Promise<Audit | string> {
  const result = await client.ask(id, 'audit', {})
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

function auditText(instances: readonly Audit[], balanced: boolean): string {
  const cells = (one: Audit) => counted.map((name) => String(one[name]))
  const rows = instances.map((one) => [
    one.instance,
    ...cells(one),
    String(one.quarantined),
    one.balanced ? 'yes' : 'NO',
  ])
  const sums = counted.map((name) => String(instances.reduce((total, one) => total + one[name], 0)))
  const quarantined = String(instances.reduce((total, one) => total + one.quarantined, 0))
  const head = ['ID', 'ACCEPTED', 'DELIVERED', 'BOUNCED', 'DISCARDED', 'QUEUED', 'SET ASIDE', 'BALANCED']
  return textTable(head, [...rows, ['all', ...sums, quarantined, balanced ? 'yes' : 'NO']])
}
