/** `qmq plan ls|cancel|resume`: what is being drained, and what becomes of it. */

import type { ClusterStatus } from '../../contract/cluster-status.ts'
import { ControlClient } from '../control-client.ts'
import { progressText } from '../plan-progress.ts'
import { complainOf } from '../refused-order.ts'
import { shortDuration, textTable } from '../text-table.ts'
import type { Context, ExitCode, Verb } from '../verb.ts'
import { orderOnce, reasonOf } from './drain.ts'

const reasonOption = ['--reason <text>', 'why, for the log of orders'] as const

export const planVerbs: readonly Verb[] = [
  { name: 'plan ls', summary: 'list the plans under way and what they wait for', remote: true, run: list },
  {
    name: 'plan cancel',
    summary: 'end a plan: what was moved stays where it is, what was not comes back',
    arguments: '<plan>',
    remote: true,
    options: [reasonOption],
    run: (context, input) => orderOnce(context, 'CancelPlan', { plan: input.words[0], ...reasonOf(input) }),
  },
  {
    name: 'plan resume',
    summary: 'go on with a plan that cannot; with --force, park what cannot be moved',
    arguments: '<plan>',
    remote: true,
    options: [['--force', 'park what cannot be moved instead of waiting for it'], reasonOption],
    run: (context, input) => {
      const force = input.options['force'] === true
      return orderOnce(context, 'ResumePlan', { plan: input.words[0], force, ...reasonOf(input) })
    },
  },
]

async function list(context: Context): Promise<ExitCode> {
  const client = await ControlClient.open(context)
  try {
    const asked = await client.ask<{ status: ClusterStatus }>('ClusterService', 'GetStatus', {})
    if (asked.kind === 'failed') return complainOf(context, asked.failure)
    const { plans, at } = asked.value.status
    if (context.output === 'json') context.print(JSON.stringify(plans))
    else if (plans.length === 0) context.print('No plan is under way.')
    else {
      const rows = plans.map((plan) => {
        const { id, pool, from, to, startedAt, by, reason } = plan
        const count = plan.keep ? 'drain' : `${from} to ${to}`
        return [id, pool, count, shortDuration(at - startedAt), progressText(plan), by, reason]
      })
      context.print(textTable(['PLAN', 'POOL', 'WHAT', 'AGE', 'HOW FAR', 'BY', 'REASON'], rows))
    }
    return 0
  } finally {
    client.close()
  }
}
