/**
 * What the edge accepts, decided from the layout alone: relaying, routes, sizes, loops.
 *
 * The order of checks is data: the tables below, in Spamcontrol's order. A check answers with the reply that refuses, or
 * undefined; the first refusal counts. A filter is one more line in a table.
 */

import { type EdgeSpec, type Layout, type ListenerKind, poolOfRole } from '../contract/layout.ts'
import { domainOf, findByDomain, RoutingTable } from '../contract/routing.ts'
import type { ByteString } from '../protocol/byte-string.ts'
import { countHops, headerOf } from '../protocol/headers.ts'
import { type Reply, reply } from '../protocol/smtp/reply.ts'
import { AddressList } from '../runtime/address-list.ts'
import type { TransactionRecipient } from './transaction.ts'

/** What is known of a client for the length of its connection. */
export interface Client {
  readonly address: string
  readonly listener: ListenerKind
  /** It may send to any domain. */
  readonly relays: boolean
}

interface MailFacts {
  readonly client: Client
  readonly sender: ByteString
  /** As announced with SIZE. */
  readonly size: number | undefined
}

interface RecipientFacts {
  readonly client: Client
  readonly sender: ByteString
  readonly address: ByteString
  readonly pool: string | undefined
}

interface MessageFacts {
  /** Undefined: longer than the limit. */
  readonly header: Buffer | undefined
}

type Check<Facts> = (facts: Facts, acceptance: Acceptance) => Reply | undefined

const mailChecks: readonly Check<MailFacts>[] = [submissionByStranger, announcedTooBig]
const recipientChecks: readonly Check<RecipientFacts>[] = [relayedForStranger, withoutRoute]
const messageChecks: readonly Check<MessageFacts>[] = [headerTooLong, tooManyHops]

/** Unchanging; a new layout makes a new one. */
export class Acceptance {
  readonly edge: EdgeSpec
  readonly #routes: RoutingTable
  readonly #relayFrom: AddressList
  readonly #rcpthosts: ReadonlyMap<string, true>
  readonly #postmaster: ByteString

  constructor(layout: Layout, edge: EdgeSpec) {
    this.edge = edge
    this.#routes = RoutingTable.of(layout)
    this.#relayFrom = new AddressList(edge.relayFrom)
    this.#rcpthosts = new Map(edge.rcpthosts.map((domain) => [domain.toLowerCase(), true]))
    const home = poolOfRole(layout, 'internal')?.domains.find((domain) => !domain.startsWith('.'))
    this.#postmaster = `postmaster@${home ?? layout.cluster}`
  }

  client(address: string, listener: ListenerKind): Client {
    return { address, listener, relays: this.#relayFrom.has(address) }
  }

  isRcptHost(address: ByteString): boolean {
    return findByDomain(this.#rcpthosts, domainOf(address)) === true
  }

  mail(client: Client, sender: ByteString, size: number | undefined): Reply | undefined {
    return this.#first(mailChecks, { client, sender, size })
  }

  /** The recipient as it is handed on, or the refusal. */
  recipient(client: Client, sender: ByteString, given: ByteString): TransactionRecipient | Reply {
    const address = given.includes('@') ? given : this.#postmaster
    const pool = this.#routes.poolFor(sender, address)
    const refusal = this.#first(recipientChecks, { client, sender, address, pool })
    return refusal ?? { address, pool: pool as string }
  }

  /** Checks of the whole text, after its end. */
  message(chunks: readonly Buffer[]): Reply | undefined {
    return this.#first(messageChecks, { header: headerOf(chunks, 'crlf', this.edge.limits.headerBytesMax) })
  }

  #first<Facts>(checks: readonly Check<Facts>[], facts: Facts): Reply | undefined {
    for (const check of checks) {
      const refusal = check(facts, this)
      if (refusal !== undefined) return refusal
    }
    return undefined
  }
}

const refusals = {
  submission: reply(550, '5.7.1', 'submission is for clients of our own networks'),
  size: reply(552, '5.3.4', 'sorry, that message size exceeds my databytes limit (#5.3.4)'),
  relaying: reply(553, '5.7.1', "sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)"),
  route: reply(550, '5.1.2', 'sorry, there is no route to that domain (#5.1.2)'),
  header: reply(552, '5.3.4', 'sorry, the header of that message is too long (#5.3.4)'),
  hops: reply(554, '5.4.6', 'too many hops, this message is looping (#5.4.6)'),
} as const

/** RFC 6409 4.3: submission is for those we know, and without AUTH we know our networks. */
function submissionByStranger({ client }: MailFacts): Reply | undefined {
  return client.listener === 'smtp' || client.relays ? undefined : refusals.submission
}

/** RFC 1870 6.1. */
function announcedTooBig({ size }: MailFacts, { edge }: Acceptance): Reply | undefined {
  return size === undefined || size <= edge.limits.messageBytesMax ? undefined : refusals.size
}

/** Percent signs and bangs before the `@` mean nothing: the one domain is judged that routing will use. */
function relayedForStranger({ client, address }: RecipientFacts, acceptance: Acceptance): Reply | undefined {
  return client.relays || acceptance.isRcptHost(address) ? undefined : refusals.relaying
}

function withoutRoute({ pool }: RecipientFacts): Reply | undefined {
  return pool === undefined ? refusals.route : undefined
}

function headerTooLong({ header }: MessageFacts): Reply | undefined {
  return header === undefined ? refusals.header : undefined
}

/** RFC 5321 6.3. */
function tooManyHops({ header }: MessageFacts, { edge }: Acceptance): Reply | undefined {
  return header !== undefined && countHops(header) >= edge.limits.hopsMax ? refusals.hops : undefined
}
