/**
 * The message `qmq up` sends through a cluster that has just become ready: from a mailbox of ours to another one, and to an
 * address that does not exist, so that the failure goes the bounce host's way and the bounce comes home.
 */

import type { Layout, PoolSpec } from '../contract/layout.ts'
import type { LedgerEvent } from '../contract/ledger.ts'
import { errorText } from '../protocol/failure.ts'
import { mailDate } from '../protocol/mail-date.ts'
import { ClusterClient } from './cluster-client.ts'
import type { CommandSignals } from './command-signals.ts'
import { submitTargetOf } from './edge-listener.ts'
import { traceMessage, traceTable } from './message-trace.ts'
import { composeMessage, idOfReply, SubmitConnection } from './submit.ts'
import type { Context } from './verb.ts'

interface FirstMessage {
  /** Arrived in the mailbox, and the bounce of the other recipient arrived at home. */
  readonly delivered: boolean
  /** '' where the edge did not take it. */
  readonly id: string
  readonly trace: readonly LedgerEvent[]
  readonly why?: string
}

const arrivalWaitMs = 30_000
const lookAgainMs = 100

/** Sends it and says what became of it; false where it did not arrive. Given up when the command is told to stop. Never rejects. */
export async function showFirstMessage(context: Context, signals: CommandSignals): Promise<boolean> {
  const given = signals.stopped.then(() => nothing('stopped before it arrived'))
  const first = await Promise.race([given, sendFirstMessage(context, signals)])
  const text = firstMessageText(context, first)
  if (text !== undefined) context.print(text)
  if (!first.delivered) context.complain(`the first message: ${first.why ?? 'did not arrive'}`)
  return first.delivered
}

function firstMessageText(context: Context, first: FirstMessage): string | undefined {
  const { delivered, id, trace, why } = first
  if (context.output === 'json') {
    const steps = trace.map(({ tier, instance, event, at }) => ({ tier, instance, event, at }))
    return JSON.stringify({ ready: true, delivered, id, trace: steps, ...(why === undefined ? {} : { why }) })
  }
  if (trace.length === 0) return undefined
  return `One message through all tiers, ${id}, its bounce included:\n\n${traceTable(trace)}\n`
}

function nothing(why: string): FirstMessage {
  return { delivered: false, id: '', trace: [], why }
}

async function sendFirstMessage(context: Context, signals: CommandSignals): Promise<FirstMessage> {
  try {
    const client = await ClusterClient.open(context)
    try {
      return await sendAndFollow(context, client, signals)
    } finally {
      client.close()
    }
  } catch (error) {
    return nothing(errorText(error))
  }
}

async function sendAndFollow(context: Context, client: ClusterClient, signals: CommandSignals): Promise<FirstMessage> {
  const addresses = addressesOf(client.layout)
  if (addresses === undefined) return nothing('no pool of this cluster has mailboxes to send between')
  const submitted = await submit(context, client.layout, addresses)
  if (submitted.kind === 'refused') return nothing(submitted.why)
  const { id } = submitted
  for (let waitedMs = 0; ; waitedMs += lookAgainMs) {
    const trace = await traceMessage(context, client, id)
    if (hasArrived(trace, id, addresses)) return { delivered: true, id, trace }
    if (waitedMs >= arrivalWaitMs || signals.stopAsked) {
      return { delivered: false, id, trace, why: `not everything arrived within ${arrivalWaitMs / 1000} s` }
    }
    await context.sleep(lookAgainMs)
  }
}

interface Addresses {
  readonly sender: string
  readonly recipient: string
  /** Nobody's. */
  readonly absent: string
}

function addressesOf(layout: Layout): Addresses | undefined {
  const pool = layout.pools.find(hasMailboxes)
  const sender = pool?.mailboxes.find((mailbox) => mailbox.startsWith('newcomer@')) ?? pool?.mailboxes[0]
  if (pool === undefined || sender === undefined) return undefined
  const recipient = pool.mailboxes.find((mailbox) => mailbox !== sender) ?? sender
  return { sender, recipient, absent: `no-such-mailbox@${sender.slice(sender.lastIndexOf('@') + 1)}` }
}

function hasMailboxes(pool: PoolSpec): boolean {
  return pool.deliver.kind === 'maildir' && pool.mailboxes.length > 0
}

type Submitted = { readonly kind: 'taken'; readonly id: string } | { readonly kind: 'refused'; readonly why: string }

async function submit(context: Context, layout: Layout, addresses: Addresses): Promise<Submitted> {
  const { sender, recipient, absent } = addresses
  const message = composeMessage({
    from: sender,
    to: [recipient, absent],
    subject: 'The first message through this cluster',
    date: mailDate(context.world.clock.now()),
    text: `It came in at the edge, was made durable by a queue instance, and is now where you read it.\nThe other recipient, ${absent}, does not exist: its bounce goes home by the bounce host.`,
  })
  const connection = new SubmitConnection(context.world, submitTargetOf(layout))
  try {
    const outcomes = await connection.send({ sender, recipients: [recipient, absent], message })
    const [first] = outcomes
    if (first?.kind !== 'delivered') return { kind: 'refused', why: first?.failure.text ?? 'no reply' }
    const id = idOfReply(first.text)
    return id === undefined ? { kind: 'refused', why: `no id in "${first.text}"` } : { kind: 'taken', id }
  } catch (error) {
    return { kind: 'refused', why: errorText(error) }
  } finally {
    connection.quit()
  }
}

/** The mailbox has the message, and the home of the sender has a bounce that went through other hands than the first. */
function hasArrived(trace: readonly LedgerEvent[], id: string, addresses: Addresses): boolean {
  const reached = (event: LedgerEvent, address: string) => event.recipients?.includes(address) === true
  const arrivals = trace.filter((event) => event.event === 'delivered' && event.to?.startsWith('maildir') === true)
  const there = arrivals.some((event) => event.id === id && reached(event, addresses.recipient))
  const home = arrivals.some((event) => event.id !== id && reached(event, addresses.sender))
  return there && home
}
