/** `qmq drain`, `cordon`, `uncordon`: orders to one instance. A drained instance is empty, has a receipt, and stays in the layout, cordoned. */

import { ControlClient } from '../control-client.ts'
import { confirmed, type OrderReply, outcomeOf, previewText } from '../order-outcome.ts'
import { bytesText, followPlan } from '../plan-progress.ts'
import { complainOf } from '../refused-order.ts'
import { type Context, type ExitCode, type Input, textOption, type Verb } from '../verb.ts'

const reasonOption = ['--reason <text>', 'why, for the log of orders'] as const

export const instanceVerbs: readonly Verb[] = [
  {
    name: 'drain',
    summary: 'hand over all mail of one instance, which stays, cordoned',
    arguments: '<instance>',
    remote: true,
    options: [
      ['--to-pool <pool>', 'the pool that takes its mail, default its own'],
      ['--dry-run', 'show what would happen'],
      ['--force', 'park what cannot be moved instead of waiting for it'],
      reasonOption,
      ['--yes', 'do not ask'],
      ['--no-wait', 'do not wait for the end'],
    ],
    run: drain,
  },
  {
    name: 'cordon',
    summary: 'send no new mail to an instance; it delivers what it has',
    arguments: '<instance>',
    remote: true,
    options: [reasonOption, ['--yes', 'as with the other orders; nothing is asked here']],
    run: (context, input) => orderOnce(context, 'Cordon', { instance: input.words[0], ...reasonOf(input) }),
  },
  {
    name: 'uncordon',
    summary: 'take back a cordon, or bring a parked instance back',
    arguments: '<instance>',
    remote: true,
    options: [reasonOption, ['--yes', 'as with the other orders; nothing is asked here']],
    run: (context, input) => orderOnce(context, 'Uncordon', { instance: input.words[0], ...reasonOf(input) }),
  },
]

export function reasonOf(input: Input): { readonly reason: string } {
  return { reason: textOption(input, 'reason') ?? '' }
}

/** An order that is done when it is answered. */
export async function orderOnce(context: Context, method: string, request: object): Promise<ExitCode> {
  const client = await ControlClient.open(context)
  try {
    const ordered = await client.order<OrderReply>(method, request)
    if (ordered.kind === 'failed') return complainOf(context, ordered.failure)
    const { why, epoch, plan } = ordered.value.result
    const text = why === '' ? `done, epoch ${epoch}${plan === '' ? '' : `, plan ${plan}`}` : why
    context.print(context.output === 'json' ? JSON.stringify(ordered.value.result) : text)
    return 0
  } finally {
    client.close()
  }
}

async function drain(context: Context, input: Input): Promise<ExitCode> {
  const [instance = ''] = input.words
  const { force, yes, wait } = input.options
  const words = { instance, toPool: textOption(input, 'toPool') ?? '', force: force === true, ...reasonOf(input) }
  const client = await ControlClient.open(context)
  try {
    const dryRun = input.options['dryRun'] === true
    if (dryRun || (context.terminal !== undefined && yes !== true)) {
      const preview = await client.order<OrderReply>('Drain', { ...words, dryRun: true })
      if (preview.kind === 'failed') return complainOf(context, preview.failure)
      const { result } = preview.value
      context.print(
        dryRun && context.output === 'json' ? JSON.stringify(result) : previewText(`drain ${instance}`, result),
      )
      if (dryRun || !(await confirmed(context, result))) return 0
    }
    const ordered = await client.order<OrderReply>('Drain', words)
    if (ordered.kind === 'failed') return complainOf(context, ordered.failure)
    const { result } = ordered.value
    if (wait === false || result.plan === '') {
      const text = result.why === '' ? `ordered, epoch ${result.epoch}, plan ${result.plan}` : result.why
      context.print(context.output === 'json' ? JSON.stringify(result) : text)
      return 0
    }
    return await follow(context, client, result.plan, instance)
  } finally {
    client.close()
  }
}

async function follow(context: Context, client: ControlClient, plan: string, instance: string): Promise<ExitCode> {
  const followed = await followPlan(context, client, plan)
  if (followed.kind === 'unseen') {
    context.complain(`the end of the plan was not seen (${followed.why}); it goes on: qmq plan ls`)
    return 3
  }
  const outcome = await outcomeOf(client, followed.plan, followed.plan)
  const { messages, bytes, receipt, verified, balanced } = outcome
  const text = `${instance} is drained: ${messages} messages (${bytesText(bytes)}) moved, receipt ${receipt}`
  const cancelled = followed.plan.state === 'cancelled'
  context.print(
    context.output === 'json' ? JSON.stringify({ instance, ...outcome }) : cancelled ? 'the plan was cancelled' : text,
  )
  if (cancelled) return 1
  return verified && balanced ? 0 : 3
}
