/**
 * Every limit that conf-qmq can set, with its default, its bounds, and why it is so. Names are the contract's.
 *
 * In the file a limit is written in kebab case; one in milliseconds drops `-ms`, because its value names the unit:
 * `command-timeout: 5m`, `message-bytes-max: 25MiB`, `connections-max: 10000`.
 */

import type { EdgeLimits, HandoffLimits, PoolSpec } from '../contract/layout.ts'
import { writeDuration } from './duration.ts'
import { writeSize } from './size.ts'

export interface Limit {
  readonly unit: 'bytes' | 'count' | 'milliseconds'
  readonly standard: number
  readonly min: number
  readonly max: number
  readonly why: string
}

type LimitTable<Limits> = { readonly [Name in keyof Limits]-?: Limit }

export type PoolLimits = Pick<
  PoolSpec,
  'lifetimeMs' | 'concurrency' | 'concurrencyPerDestination' | 'messageBytesMax' | 'bounceBytesMax'
>

const second = 1000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour
const kibibyte = 1024
const mebibyte = 1024 * kibibyte

export const edgeLimitTable: LimitTable<EdgeLimits> = {
  messageBytesMax: bytes(
    25 * mebibyte,
    kibibyte,
    1024 * mebibyte,
    'Largest message accepted, announced as SIZE; larger ones get 552.',
  ),
  recipientsPerMessageMax: count(
    1000,
    100,
    50_000,
    'Recipients of one message; RFC 5321 4.5.3.1.8 asks for at least 100. Further ones get 452.',
  ),
  commandLineBytesMax: bytes(
    4 * kibibyte,
    512,
    64 * kibibyte,
    'One command line; RFC 5321 4.5.3.1.4 asks for 512 bytes, extensions need more.',
  ),
  textLineBytesMax: bytes(
    64 * kibibyte,
    1000,
    16 * mebibyte,
    'One line of a message; RFC 5321 4.5.3.1.6 asks for 1000 bytes, programs that send mail ask for more.',
  ),
  headerBytesMax: bytes(
    kibibyte * 256,
    16 * kibibyte,
    16 * mebibyte,
    'Header of a message, which is held in memory whole.',
  ),
  hopsMax: count(
    100,
    20,
    1000,
    'Received and Delivered-To lines together; past it the message is going round in circles.',
  ),
  connectionsMax: count(10_000, 1, 1_000_000, 'Connections of one edge process; further clients get 421.'),
  connectionsPerClientMax: count(
    200,
    1,
    1_000_000,
    'Connections from one address, so that one client cannot take them all.',
  ),
  connectionsPerClientClusterMax: count(
    0,
    0,
    1_000_000,
    'Connections of one client to all edges together, counted in shared-state (an IPv6 client is its /64); 0: no limit. Further ones get 421.',
  ),
  messagesPerNetworkClusterMax: count(
    0,
    0,
    1_000_000_000,
    'Messages of one client network (IPv4 /24, IPv6 /64) to all edges within messages-per-network-window; 0: no limit. Further ones get 451.',
  ),
  messagesPerNetworkWindowMs: milliseconds(hour, second, 30 * day, 'The time messages-per-network-cluster-max is for.'),
  messagesPerConnectionMax: count(100_000, 1, 1_000_000_000, 'Messages on one connection, then 421.'),
  commandsWithoutMailMax: count(100, 5, 100_000, 'Commands in a row that bring no message nearer, then 421.'),
  errorsPerConnectionMax: count(20, 1, 100_000, 'Refused commands on one connection, then 421.'),
  handshakeTimeoutMs: milliseconds(minute, second, hour, 'One TLS handshake, from connection or STARTTLS to its end.'),
  commandTimeoutMs: milliseconds(
    5 * minute,
    second,
    hour,
    'Silence of a client between commands; RFC 5321 4.5.3.2.7 asks for five minutes.',
  ),
  dataTimeoutMs: milliseconds(5 * minute, second, hour, 'Silence of a client inside a message.'),
  sessionTimeoutMs: milliseconds(2 * hour, second, 7 * day, 'One connection from greeting to close.'),
  bufferedBytesMax: bytes(
    256 * mebibyte,
    4 * mebibyte,
    64 * 1024 * mebibyte,
    'Message bytes one edge process holds; past it clients are read more slowly, then get 451.',
  ),
}

export const handoffLimitTable: LimitTable<HandoffLimits> = {
  connectTimeoutMs: milliseconds(5 * second, 10, 5 * minute, 'Until a queue instance has taken the connection.'),
  replyTimeoutMs: milliseconds(
    minute,
    10,
    10 * minute,
    'From the last byte of a package until its reply; clients wait ten minutes for theirs (RFC 5321 4.5.3.2.6).',
  ),
  unclearRetryMs: milliseconds(
    minute,
    0,
    10 * minute,
    'A package whose outcome is unknown is offered to the same instance again for this long, then 451.',
  ),
  reconnectMinMs: milliseconds(50, 1, minute, 'First pause before connecting again.'),
  reconnectMaxMs: milliseconds(5 * second, 1, 10 * minute, 'Longest pause before connecting again.'),
  windowPackages: count(256, 1, 65_536, 'Packages under way per instance and connection.'),
  windowBytes: bytes(64 * mebibyte, 64 * kibibyte, 4096 * mebibyte, 'Bytes under way per instance and connection.'),
  rememberedContentMax: count(
    100_000,
    0,
    10_000_000,
    'Partly placed transactions remembered, so that a client that tries again makes no second copy.',
  ),
  rememberedContentMs: milliseconds(day, 0, 30 * day, 'How long they are remembered.'),
}

export const poolLimitTable: LimitTable<PoolLimits> = {
  lifetimeMs: milliseconds(
    7 * day,
    minute,
    365 * day,
    'How long delivery is tried before the message bounces (control/queuelifetime, which is in seconds).',
  ),
  concurrency: count(500, 0, 100_000, 'Deliveries at a time (control/concurrencyremote); 0 holds the mail.'),
  concurrencyPerDestination: count(
    50,
    1,
    100_000,
    'Deliveries at a time to one destination, so that a slow one cannot hold the others.',
  ),
  messageBytesMax: bytes(
    26 * mebibyte,
    kibibyte,
    1024 * mebibyte,
    'Largest message taken (control/databytes); above the limit of the edge, which adds a line to each message.',
  ),
  bounceBytesMax: bytes(
    64 * kibibyte,
    0,
    1024 * mebibyte,
    'How much of the failed message a bounce quotes (control/bouncemaxbytes).',
  ),
}

/** The name a limit has in conf-qmq. */
export function limitKey(name: string): string {
  return name.replace(/Ms$/, '').replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

/** A value of this limit as conf-qmq writes it. */
export function writeLimit(limit: Limit, value: number): string | number {
  if (limit.unit === 'count') return value
  return limit.unit === 'bytes' ? writeSize(value) : writeDuration(value)
}

/** The defaults of a table. */
export function standardLimits<Limits>(table: LimitTable<Limits>): Limits {
  const entries = Object.entries<Limit>(table).map(([name, limit]) => [name, limit.standard])
  return Object.freeze(Object.fromEntries(entries)) as Limits
}

function bytes(standard: number, min: number, max: number, why: string): Limit {
  return { unit: 'bytes', standard, min, max, why }
}

function count(standard: number, min: number, max: number, why: string): Limit {
  return { unit: 'count', standard, min, max, why }
}

function milliseconds(standard: number, min: number, max: number, why: string): Limit {
  return { unit: 'milliseconds', standard, min, max, why }
}
