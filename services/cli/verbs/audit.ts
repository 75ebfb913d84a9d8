/**
 * `qmq audit`: is all mail accounted for? The sums over all instances, and over those that left and whose homes are here, where each hop counts what it accepted; balanced only
 * where every instance is. Exit code 1 where it is not, 3 where it is but damaged records wait for a person to look. A running instance is asked, the journal of one that is not is read.
 */

import fs from 'node:fs'
import path from 'node:path'
import type { RequestResult } from '../../contract/coordination.ts'
import { instanceOf, type Layout } from '../../contract/layout.ts'
import type { Audit } from '../../contract/operations.ts'
import { errorText } from '../../protocol/failure.ts'
import { tierDirectories } from '../../runtime/tier-layout.ts'
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

const counted = [
  ...(['accepted', 'takenOver', 'delivered', 'bounced', 'discarded'] as const),
  ...(['handedOver', 'queued', 'quarantined'] as const),
]

interface Audits {
  /** An audit, or why there is none. */
  readonly answers: readonly (Audit | string)[]
  /** Ids of those that left and whose homes are here. */
  readonly left: readonly string[]
  /** While mail moves, source and target are asked at different moments. */
  readonly isMoving: boolean
}

async function audit(context: Context): Promise<ExitCode> {
  const { answers, left, isMoving } =
    context.remote === undefined ? await auditsHere(context) : await auditsThere(context)
  const instances = answers.filter((answer) => typeof answer !== 'string')
  const missing = answers.filter((answer) => typeof answer === 'string')
  for (const why of missing) context.complain(why)
  const totals = totalsOf(instances)
  const astray = isMoving ? 0 : totals.handedOver - totals.takenOver
  if (astray > 0) context.complain(`${astray} recipients were handed over to instances that are not among these`)
  const balanced = missing.length === 0 && astray <= 0 && instances.every((one) => one.balanced)
  const json = () => JSON.stringify({ ...totals, balanced, instances, left })
  context.print(context.output === 'json' ? json() : auditText(instances, left, totals, balanced))
  if (totals.quarantined > 0) {
    context.complain(
      `${totals.quarantined} damaged records are set aside, below each home in quarantine/: look at them`,
    )
  }
  if (!balanced) return 1
  return totals.quarantined > 0 ? 3 : 0
}

async function auditsHere(context: Context): Promise<Audits> {
  const client = await ClusterClient.open(context)
  try {
    const asked = await Promise.all(
      client.queues.map(async ({ id }) => ({ id, result: await client.ask(id, 'audit', {}) })),
    )
    const left = leftHomes(context.state, client.layout)
    const places = [...asked, ...left.map((id) => ({ id, result: { kind: 'no-responder' } as const }))]
    const answers = await lookOffline(places, ({ id, result }) => auditOf(context, id, result))
    return { answers, left, isMoving: client.layout.plans.length > 0 }
  } finally {
    client.close()
  }
}

/** The journals of another host cannot be read: who does not answer is missing, and of who left nothing is known. */
async function auditsThere(context: Context): Promise<Audits> {
  const client = await ControlClient.open(context)
  try {
    const { instances, silent } = await client.must<AuditReply>('ClusterService', 'Audit', {})
    const answers = [...instances, ...silent.map(({ instance, why }) => `${instance}: no audit, ${why}`)]
    return { answers, left: [], isMoving: true }
  } finally {
    client.close()
  }
}

interface AuditReply {
  readonly instances: readonly Audit[]
  readonly silent: readonly { readonly instance: string; readonly why: string }[]
}

/**
 * Instances that left the layout and whose homes are still on this host: what they had accepted and handed over belongs to the sums, and
 * what they may still hold is mail.
 */
function leftHomes(state: string, layout: Layout): readonly string[] {
  const homes = path.join(state, tierDirectories.queue)
  if (!fs.existsSync(homes)) return []
  const left = fs.readdirSync(homes).filter((id) => instanceOf(layout, id) === undefined)
  return left.filter((id) => fs.existsSync(path.join(homes, id, 'journal'))).toSorted()
}

type Counts = Readonly<Record<(typeof counted)[number], number>>

function totalsOf(instances: readonly Audit[]): Counts {
  const sum = (name: (typeof counted)[number]) => instances.reduce((total, one) => total + one[name], 0)
  const [accepted, delivered, bounced] = [sum('accepted'), sum('delivered'), sum('bounced')]
  const [discarded, queued, quarantined] = [sum('discarded'), sum('queued'), sum('quarantined')]
  const [takenOver, handedOver] = [sum('takenOver'), sum('handedOver')]
  return { accepted, takenOver, delivered, bounced, discarded, handedOver, queued, quarantined }
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

function auditText(instances: readonly Audit[], left: readonly string[], totals: Counts, balanced: boolean): string {
  const cells = (one: typeof totals) => counted.map((name) => String(one[name]))
  const yes = (value: boolean) => (value ? 'yes' : 'NO')
  const rows = instances.map((one) => [
    left.includes(one.instance) ? `${one.instance} (left)` : one.instance,
    ...cells(one),
    yes(one.balanced),
  ])
  const came = ['ACCEPTED', 'TAKEN OVER', 'DELIVERED', 'BOUNCED', 'DISCARDED']
  const head = ['ID', ...came, 'HANDED OVER', 'QUEUED', 'SET ASIDE', 'BALANCED']
  return textTable(head, [...rows, ['all', ...cells(totals), yes(balanced)]])
}
