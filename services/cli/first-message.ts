/**
 * The message `qmq up` sends through a cluster that has just become ready: from a mailbox of ours to another one, and to an
 * address that does not exist, so that the failure goes the bounce host's way and the bounce comes home.
 */

import type { Layout, PoolSpec } from '../contract/layout.ts'
import type { LedgerEvent } from '../contract/ledger.ts'
import { mailDate } from '../protocol/mail-date.ts'
import type { ClusterClient } from './cluster-client.ts'
import { submitTargetOf } from './edge-listener.ts'
import { traceMessage } from './message-trace.ts'
import { composeMessage, idOfReply, SubmitConnection } from './submit.ts'
import type { Context } from './verb.ts'

export interface FirstMessage {
  /** Arrived in the mailbox, and the bounce of the other recipient arrived at home. */
  readonly delivered: boolean
  /** '' where the edge did not take it. */
  readonly id: string
  readonly trace: readonly LedgerEvent[]
  readonly why?: string
}

const arrivalWaitMs = 30_000
const lookAgainMs = 100

export async function sendFirstMessage(context: Context, client: ClusterClient): Promise<FirstMessage> {
  const addresses = addressesOf(client.layout)
  if (addresses === undefined) {
    return { delivered: false, id: '', trace: [], why: 'no pool of this cluster has mailboxes to send between' }
  }
  const submitted = await submit(context, client.layout, addresses)
  if (submitted.kind === 'refused') return { delivered: false, id: '', trace: [], why: submitted.why }
  const { id } = submitted
  for (let waitedMs = 0; ; waitedMs += lookAgainMs) {
    const trace = await traceMessage(context, client, id)
    if (hasArrived(trace, id, addresses)) return { delivered: true, id, trace }
    if (waitedMs >= arrivalWaitMs) {
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
    return { kind: 'refused', why: error instanceof Error ? error.message : String(error) }
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
