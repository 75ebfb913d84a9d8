/** `qmq queue ls|show|verify`: what is in the queues, running or not, and whether the journals are sound. */

import type { QueuedMessage } from '../../contract/operations.ts'
import { transactionIdPattern, transactionOf } from '../../contract/transaction-id.ts'
import { errorText } from '../../protocol/failure.ts'
import { ClusterClient, type Place } from '../cluster-client.ts'
import { ControlClient } from '../control-client.ts'
import { askOffline, lookOffline } from '../offline-instance.ts'
import { complainOf } from '../refused-order.ts'
import { shortDuration, textTable } from '../text-table.ts'
import { type Context, countOption, type ExitCode, type Input, type Verb } from '../verb.ts'

/** An instance lists no more in one answer. */
const listedMax = 10_000

export const queueVerbs: readonly Verb[] = [
  {
    name: 'queue ls',
    summary: 'list queued messages, of all instances or of some',
    arguments: '[instances...]',
    remote: true,
    options: [['--limit <number>', 'at most so many of each instance, default 1000']],
    run: list,
  },
  { name: 'queue show', summary: 'show one queued message with its header', arguments: '<id>', run: show },
  {
    name: 'queue verify',
    summary: 'check the journals of instances that are not running',
    arguments: '[instances...]',
    run: verify,
  },
]

/** The queue instances named, all where none is; undefined, with a complaint, where one is unknown. */
function chosen(context: Context, client: ClusterClient, words: readonly string[]): readonly Place[] | undefined {
  const unknown = words.filter((word) => !client.queues.some(({ id }) => id === word))
  if (unknown.length > 0) {
    context.complain(
      `no queue instance ${unknown.join(', ')}; there are ${client.queues.map(({ id }) => id).join(' ')}`,
    )
    return undefined
  }
  return words.length === 0 ? client.queues : client.queues.filter(({ id }) => words.includes(id))
}

async function list(context: Context, input: Input): Promise<ExitCode> {
  const limit = countOption(input, 'limit', 1000)
  if (limit === undefined || limit > listedMax) {
    context.complain(`--limit is a whole number from 1 to ${listedMax}`)
    return 2
  }
  if (context.remote !== undefined) return await listThere(context, input.words, limit)
  const client = await ClusterClient.open(context)
  try {
    const places = chosen(context, client, input.words)
    if (places === undefined) return 2
    const heard = await client.states()
    let failures = 0
    const listed = await lookOffline(places, async ({ id }) => {
      try {
        const messages = await messagesOf(context, client, id, limit)
        const queued = heard.kind === 'heard' ? heard.states.get(id)?.load.queued : undefined
        tellMore(context, id, messages.length - limit, (queued ?? 0) - limit)
        return messages.slice(0, limit)
      } catch (error) {
        failures++
        context.complain(`${id}: ${errorText(error)}`)
        return []
      }
    })
    const messages = listed.flat()
    context.print(context.output === 'json' ? JSON.stringify(messages) : listText(context, messages))
    return failures === 0 ? 0 : 1
  } finally {
    client.close()
  }
}

async function listThere(context: Context, instances: readonly string[], limit: number): Promise<ExitCode> {
  const client = await ControlClient.open(context)
  try {
    const asked = await client.ask<ListReply>('ClusterService', 'ListQueue', { instances, limit })
    if (asked.kind === 'failed') return complainOf(context, asked.failure)
    const { messages, silent } = asked.value
    for (const { instance, why } of silent) context.complain(`${instance}: ${why}`)
    context.print(context.output === 'json' ? JSON.stringify(messages) : listText(context, messages))
    return silent.length === 0 ? 0 : 1
  } finally {
    client.close()
  }
}

interface ListReply {
  readonly messages: readonly QueuedMessage[]
  readonly silent: readonly { readonly instance: string; readonly why: string }[]
}

/** `seen` messages beyond the limit were found, `counted` are there by the instance's own count. */
function tellMore(context: Context, id: string, seen: number, counted: number): void {
  if (seen <= 0) return
  context.complain(`${id}: ${counted > 0 ? counted : 'at least one'} more; --limit shows more of them`)
}

/** Up to one more than `limit`, so that it is known whether there are more. */
async function messagesOf(
  context: Context,
  client: ClusterClient,
  id: string,
  limit: number,
): Promise<readonly QueuedMessage[]> {
  const result = await client.ask(id, 'list', { limit: limit + 1 })
  if (result.kind === 'reply') return result.value as unknown as readonly QueuedMessage[]
  if (result.kind !== 'no-responder') throw new Error(result.kind === 'refused' ? result.why : 'it does not answer')
  return (await askOffline('list', context.state, id, [String(limit + 1)])) as readonly QueuedMessage[]
}

function listText(context: Context, messages: readonly QueuedMessage[]): string {
  const now = context.world.clock.now()
  const rows = messages.flatMap((message) =>
    message.recipients
      .filter((recipient) => recipient.status !== 'delivered')
      .map((recipient) => {
        const { id, instance, sender, bytes, birthAt } = message
        const due = recipient.dueAt <= now ? 'now' : shortDuration(recipient.dueAt - now)
        const cells = [
          id,
          instance,
          shortDuration(now - birthAt),
          String(bytes),
          `<${sender}>`,
          `<${recipient.address}>`,
        ]
        return [...cells, recipient.status, String(recipient.attempts), due, recipient.lastText.slice(0, 100)]
      }),
  )
  const head = ['ID', 'IN', 'AGE', 'BYTES', 'SENDER', 'RECIPIENT', 'STATUS', 'TRIES', 'DUE', 'LAST REPLY']
  return rows.length === 0 ? 'Nothing is queued.' : textTable(head, rows)
}

async function show(context: Context, input: Input): Promise<ExitCode> {
  const [id = ''] = input.words
  if (!transactionIdPattern.test(transactionOf(id))) {
    context.complain(`${id} is no message id: 26 letters and digits, as \`qmq queue ls\` shows them`)
    return 2
  }
  const client = await ClusterClient.open(context)
  try {
    const results = await Promise.all(client.queues.map((place) => client.ask(place.id, 'show', { id })))
    const found = results.flatMap((result) =>
      result.kind === 'reply' ? (result.value as unknown as { message: QueuedMessage; header: string }[]) : [],
    )
    if (context.output === 'json') context.print(JSON.stringify(found))
    for (const { message, header } of context.output === 'json' ? [] : found) {
      context.print(`${listText(context, [message])}\n\n${header}\n`)
    }
    if (found.length > 0) return 0
    context.complain(`${id} is in no queue of a running instance; qmq trace ${id} tells what became of it`)
    return 1
  } finally {
    client.close()
  }
}

interface Verification {
  readonly instance: string
  readonly sound: boolean
  readonly segments: number
  readonly records: number
  readonly messages: number
  readonly tornBytes: number
  readonly quarantined: number
  readonly balanced: boolean
  readonly damage: readonly {
    readonly segment: number
    readonly offset: number
    readonly why: string
    readonly id: string
  }[]
}

async function verify(context: Context, input: Input): Promise<ExitCode> {
  const client = await ClusterClient.open(context)
  client.close()
  const places = chosen(context, client, input.words)
  if (places === undefined) return 2
  let failures = 0
  const answers = await lookOffline(places, async ({ id }) => {
    try {
      return [(await askOffline('verify', context.state, id)) as Verification]
    } catch (error) {
      failures++
      context.complain(`${id}: ${errorText(error)}`)
      return []
    }
  })
  const verifications = answers.flat()
  context.print(context.output === 'json' ? JSON.stringify(verifications) : verifyText(verifications))
  return failures === 0 && verifications.every(({ sound }) => sound) ? 0 : 1
}

function verifyText(verifications: readonly Verification[]): string {
  const head = ['ID', 'SOUND', 'SEGMENTS', 'RECORDS', 'MESSAGES', 'TORN BYTES', 'SET ASIDE', 'BALANCED']
  const yes = (value: boolean) => (value ? 'yes' : 'NO')
  const rows = verifications.map((one) => {
    const { instance, sound, segments, records, messages, tornBytes, quarantined, balanced } = one
    return [instance, yes(sound), ...[segments, records, messages, tornBytes, quarantined].map(String), yes(balanced)]
  })
  const damage = verifications.flatMap(({ instance, damage }) =>
    damage.map(({ segment, offset, why, id }) => `${instance}: segment ${segment} at ${offset}: ${why} ${id}`.trim()),
  )
  return [textTable(head, rows), ...damage].join('\n')
}
