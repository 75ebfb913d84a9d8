/**
 * `qmq scale POOL=N`: a pool with another count. Growing is done when the new instances are ready; shrinking when the mail of those that
 * leave has been handed over, compared and signed for. Exit code 3 where the order stands and its end was not seen.
 */

import type { ClusterStatus } from '../../contract/cluster-status.ts'
import { ControlClient } from '../control-client.ts'
import { confirmed, finalText, type OrderReply, outcomeOf, previewText } from '../order-outcome.ts'
import { followPlan } from '../plan-progress.ts'
import { complainOf } from '../refused-order.ts'
import { type Context, type ExitCode, type Input, textOption, type Verb } from '../verb.ts'

export const scaleVerb: Verb = {
  name: 'scale',
  summary: 'change the number of instances of a pool, without losing mail',
  arguments: '<pool=count>',
  remote: true,
  options: [
    ['--dry-run', 'show what would happen'],
    ['--force', 'park what cannot be moved instead of waiting for it'],
    ['--reason <text>', 'why, for the log of orders and the receipt'],
    ['--yes', 'do not ask'],
    ['--no-wait', 'do not wait for the end'],
  ],
  run: scale,
}

interface ScaleReply extends OrderReply {
  readonly from: number
  readonly to: number
}

/** Of new instances: a process has to start, and replay nothing. */
const readyWithinMs = 120_000
const lookAgainMs = 500

async function scale(context: Context, input: Input): Promise<ExitCode> {
  const parts = /^([^=]+)=(\d{1,4})$/.exec(input.words[0] ?? '')
  if (parts === null) {
    context.complain('name a pool and a count: qmq scale CUSTOMER_1=3')
    return 2
  }
  const { force, wait } = input.options
  const words = {
    pool: parts[1],
    count: Number(parts[2]),
    force: force === true,
    reason: textOption(input, 'reason') ?? '',
  }
  const client = await ControlClient.open(context)
  try {
    const dryRun = input.options['dryRun'] === true
    if (dryRun || (context.terminal !== undefined && input.options['yes'] !== true)) {
      const preview = await client.order<ScaleReply>('Scale', { ...words, dryRun: true })
      if (preview.kind === 'failed') return complainOf(context, preview.failure)
      const { from, to, result } = preview.value
      if (dryRun && context.output === 'json') context.print(JSON.stringify({ pool: words.pool, from, to, ...result }))
      else context.print(previewText(`${words.pool}: ${from} to ${to}`, result))
      if (dryRun || !(await confirmed(context, result))) return 0
    }
    const ordered = await client.order<ScaleReply>('Scale', words)
    if (ordered.kind === 'failed') return complainOf(context, ordered.failure)
    const { from, to, result } = ordered.value
    if (wait === false) return tellOrdered(context, ordered.value)
    if (result.plan !== '') {
      const followed = await followPlan(context, client, result.plan)
      return await finish(context, client, followed.kind === 'ended' ? followed.plan : followed.why, ordered.value)
    }
    const startedAt = context.world.clock.monotonic()
    const ready = await untilReady(context, client, String(words.pool), to, result.epoch)
    const seconds = Math.round(context.world.clock.monotonic() - startedAt) / 1000
    const grown = { pool: String(words.pool), from, to, messages: 0, bytes: 0, seconds, receipt: '', receipts: [] }
    const outcome = { ...grown, verified: true, balanced: await isBalanced(client) }
    context.print(context.output === 'json' ? JSON.stringify(outcome) : finalText(outcome, result.why))
    if (ready) return 0
    context.complain('not every instance of the pool is ready yet: qmq status')
    return 3
  } finally {
    client.close()
  }
}

function tellOrdered(context: Context, { from, to, result }: ScaleReply): ExitCode {
  const { plan, epoch, why } = result
  const text = why === '' ? `ordered, epoch ${epoch}${plan === '' ? '' : `, plan ${plan}`}` : why
  context.print(context.output === 'json' ? JSON.stringify({ from, to, ...result }) : text)
  return 0
}

async function finish(
  context: Context,
  client: ControlClient,
  plan: Parameters<typeof outcomeOf>[1] | string,
  { from, to }: ScaleReply,
): Promise<ExitCode> {
  if (typeof plan === 'string') {
    context.complain(`the end of the plan was not seen (${plan}); it goes on: qmq plan ls`)
    return 3
  }
  const outcome = await outcomeOf(client, plan, { from, to })
  context.print(context.output === 'json' ? JSON.stringify(outcome) : finalText(outcome, ''))
  if (plan.state === 'cancelled') {
    context.complain('the plan was cancelled')
    return 1
  }
  return outcome.verified && outcome.balanced ? 0 : 3
}

async function untilReady(
  context: Context,
  client: ControlClient,
  pool: string,
  count: number,
  epoch: number,
): Promise<boolean> {
  const { clock } = context.world
  for (const end = clock.monotonic() + readyWithinMs; clock.monotonic() < end; ) {
    const asked = await client.ask<{ status: ClusterStatus }>('ClusterService', 'GetStatus', {})
    if (asked.kind === 'reply') {
      const own = asked.value.status.places.filter((place) => place.pool === pool && place.standing === 'active')
      if (own.length === count && own.every((place) => place.phase === 'ready' && place.epoch >= epoch)) return true
    }
    await context.sleep(lookAgainMs)
  }
  return false
}

async function isBalanced(client: ControlClient): Promise<boolean> {
  const asked = await client.ask<{ balanced: boolean }>('ClusterService', 'Audit', {})
  return asked.kind === 'reply' && asked.value.balanced
}
