/**
 * Every field of conf-qmq: its description, its form, its default. The one place where fields are declared; readers,
 * messages and the JSON Schema for editors come from here.
 *
 * Defaults are written as an operator would write them and go through the same readers as his values. What depends on
 * several fields is checked in `conf-checks.ts`.
 */

import { z } from 'zod'
import type { EdgeLimits, HandoffLimits, Role } from '../contract/layout.ts'
import { deliverPattern, readDeliver } from './deliver.ts'
import { durationPattern, readDuration, writeDuration } from './duration.ts'
import { instanceIdsPattern, readInstanceIds } from './instance-ids.ts'
import { edgeLimitTable, handoffLimitTable, type Limit, limitKey, poolLimitTable, writeLimit } from './limits.ts'
import { type NatsServers, natsServersPattern, readNatsServers } from './nats-servers.ts'
import { readAddress, readDomain, readHostName, readMailAddress, readNetwork } from './network.ts'
import { type Rate, ratePattern, readRate } from './rate.ts'
import { meantInstead, type Reading, right, shown, wrong } from './reading.ts'
import { readSharedStateServer, type SharedStateServer, sharedStatePattern } from './shared-state-server.ts'
import { readSize, sizePattern } from './size.ts'

type JsonForm = { readonly [key: string]: unknown }

/** A value read by one of our readers; its remedy travels in the issue's parameters. */
function read<Value>(reader: (input: unknown) => Reading<Value>, form: JsonForm, description: string) {
  return z
    .unknown()
    .transform((input, context): Value => {
      if (input === undefined) {
        context.addIssue({ code: 'custom', message: 'missing', params: { missing: true } })
        return z.NEVER
      }
      const reading = reader(input)
      if (reading.ok) return reading.value
      context.addIssue({ code: 'custom', message: reading.message, params: { remedy: reading.remedy } })
      return z.NEVER
    })
    .meta({ ...form, description })
}

const text = { type: 'string' } as const
const durationForm = { type: 'string', pattern: durationPattern, examples: ['60s', '15m', '7d'] }
const sizeForm = { type: 'string', pattern: sizePattern, examples: ['25MiB'] }

function wholeNumber(min: number, max: number): (input: unknown) => Reading<number> {
  const remedy = `write a whole number from ${min} to ${max}, without a unit and without quotes`
  return (input) => {
    if (typeof input !== 'number') return wrong(`${shown(input)} is not a whole number`, remedy)
    return input >= min && input <= max ? right(input) : wrong(`${input} is not between ${min} and ${max}`, remedy)
  }
}

function number(min: number, max: number, description: string) {
  return read(wholeNumber(min, max), { type: 'integer', minimum: min, maximum: max }, description)
}

function oneOf<const Word extends string>(words: readonly Word[], description: string) {
  const reader = (input: unknown): Reading<Word> => {
    const word = words.find((candidate) => candidate === input)
    if (word !== undefined) return right(word)
    return wrong(`${shown(input)} is none of ${words.join(', ')}`, meantInstead(String(input), words))
  }
  return read(reader, { type: 'string', enum: words }, description)
}

/** A limit of `limits.ts`, with its bounds and without its default. */
function limitField(name: string, { unit, standard, min, max, why }: Limit) {
  const bounded = (input: unknown): Reading<number> => {
    const reading =
      unit === 'bytes' ? readSize(input) : unit === 'milliseconds' ? readDuration(input) : wholeNumber(min, max)(input)
    if (!reading.ok || (reading.value >= min && reading.value <= max)) return reading
    const written = (value: number) => writeLimit({ unit, standard, min, max, why }, value)
    return wrong(
      `${shown(input)} is outside the bounds of ${limitKey(name)}`,
      `write ${written(min)} to ${written(max)}`,
    )
  }
  const form =
    unit === 'bytes'
      ? sizeForm
      : unit === 'milliseconds'
        ? durationForm
        : { type: 'integer', minimum: min, maximum: max }
  return read(bounded, form, why)
}

function limit(name: string, form: Limit) {
  return limitField(name, form).prefault(writeLimit(form, form.standard))
}

type LimitSchema = ReturnType<typeof limit>

/** A section of limits: keys in kebab case in, the contract's names out. */
function limitSection<Limits extends object>(table: { readonly [Name in keyof Limits]-?: Limit }, description: string) {
  const names = Object.keys(table) as (keyof Limits & string)[]
  const shape: { [key: string]: LimitSchema } = {}
  for (const name of names) shape[limitKey(name)] = limit(name, table[name])
  return z
    .strictObject(shape)
    .transform((values) => Object.fromEntries(names.map((name) => [name, values[limitKey(name)]])) as unknown as Limits)
    .meta({ description })
    .prefault({})
}

const port = (description: string) => number(1, 65_535, description).optional()

export const edgeSchema = z
  .strictObject({
    count: number(1, 64, 'How many edge processes run; they share the listeners.').prefault(1),
    host: read(readAddress, text, 'IP address the edge listens on; 0.0.0.0 or :: for all.').prefault('127.0.0.1'),
    listen: z
      .strictObject({
        smtp: port('Port for mail from other servers (25).'),
        submission: port('Port for mail from our own clients, STARTTLS (587).'),
        smtps: port('Port for mail from our own clients, TLS from the first byte (465).'),
      })
      .meta({ description: 'Ports of the edge; at least one.' }),
    'relay-from': z
      .array(read(readNetwork, text, 'A network in CIDR form.'))
      .meta({ description: 'Networks whose clients may send to anyone (RELAYCLIENT).' })
      .prefault([]),
    rcpthosts: z
      .array(read(readDomain, text, 'A domain; .domain for its subdomains.'))
      .meta({ description: 'Domains accepted from anyone besides those of the pools.' })
      .prefault([]),
    tls: z
      .strictObject({
        certificate: read(fileName, text, 'PEM file with the certificate and its chain.'),
        key: read(fileName, text, 'PEM file with the private key.'),
      })
      .meta({ description: 'Certificate of the edge; relative names are below the state directory.' })
      .optional(),
    limits: limitSection<EdgeLimits>(edgeLimitTable, 'Limits of the SMTP edge.'),
    handoff: limitSection<HandoffLimits>(handoffLimitTable, 'How the edge hands mail to queue instances.'),
  })
  .meta({ description: 'The edge: takes mail from the Internet and from our clients, keeps none.' })

const roles: readonly Role[] = ['internal', 'customer', 'internet', 'bounce', 'backup']
const idsForm = {
  anyOf: [
    { type: 'string', pattern: instanceIdsPattern },
    { type: 'integer', minimum: 0, maximum: 99 },
    { type: 'array', items: { type: ['string', 'integer'] }, minItems: 1 },
  ],
}
const deliverForm = { type: 'string', pattern: deliverPattern }

export const poolSchema = z
  .strictObject({
    ids: read(
      readInstanceIds,
      idsForm,
      'Instance ids kept for the pool: 00, 01-09, or a list. The QMTP port is base-port + id.',
    ),
    role: oneOf(roles, 'What the pool is for: internal, customer, internet, bounce, backup.'),
    count: number(0, 100, 'How many of the ids run, from the first.').prefault(1),
    domains: z
      .array(read(readDomain, text, 'A domain; .domain for its subdomains.'))
      .meta({ description: 'Recipient domains of the pool.' })
      .prefault([]),
    deliver: read(readDeliver, deliverForm, 'Next hop: maildir, mx, hold, smtp:HOST:PORT, qmtp:HOST:PORT.').optional(),
    mailboxes: z
      .array(read(readMailAddress, text, 'A full address.'))
      .meta({ description: 'Mailboxes made at start, where deliver is maildir.' })
      .prefault([]),
    'next-hops': z
      .record(z.string(), read(readDeliver, deliverForm, 'Next hop of this domain.'))
      .meta({ description: 'Next hops by recipient domain, which win over deliver (smtproutes, qmtproutes).' })
      .prefault({}),
    address: read(readAddress, text, 'IP address its instances listen on for QMTP.').prefault('127.0.0.1'),
    'source-address': read(readAddress, text, 'IP address its deliveries leave from (control/domainips).').optional(),
    'accept-from': z
      .array(read(readNetwork, text, 'A network in CIDR form.'))
      .meta({ description: 'Networks that may hand it mail besides the cluster itself.' })
      .prefault([]),
    sla: read(positiveDuration, durationForm, 'Service level: from acceptance to delivery.').optional(),
    lifetime: limit('lifetimeMs', poolLimitTable.lifetimeMs),
    concurrency: limit('concurrency', poolLimitTable.concurrency),
    'concurrency-per-destination': limitField(
      'concurrencyPerDestination',
      poolLimitTable.concurrencyPerDestination,
    ).optional(),
    'message-size': limit('messageBytesMax', poolLimitTable.messageBytesMax),
    'bounce-format': oneOf(['qsbmf', 'dsn'], 'Words of its bounces: qmail (qsbmf) or RFC 3464 (dsn).').prefault(
      'qsbmf',
    ),
    'bounce-size': limit('bounceBytesMax', poolLimitTable.bounceBytesMax),
    'double-bounce-to': read(readMailAddress, text, 'Who gets bounces that could not be delivered.').optional(),
  })
  .meta({ description: 'A pool: interchangeable queue instances for one customer or purpose.' })

const controlSchema = z
  .strictObject({
    count: number(0, 9, 'Control processes; one leads, the others stand by.').prefault(1),
    host: read(readAddress, text, 'IP address it serves gRPC on, for operators elsewhere.').prefault('127.0.0.1'),
    port: number(1, 65_535 - 9, 'gRPC port of the first; the others take the next ones.').prefault(20_890),
  })
  .meta({ description: 'The control plane: scales and drains, answers operators.' })
  .prefault({})

const serversForm = {
  anyOf: [
    { type: 'string', pattern: natsServersPattern },
    { type: 'array', items: { type: 'string', pattern: natsServersPattern }, minItems: 1 },
  ],
}

export const coordinationSchema = z
  .strictObject({
    servers: read(readNatsServers, serversForm, 'NATS servers: nats://HOST:PORT, or tls://, several after commas.'),
    credentials: read(
      directoryName,
      text,
      'Directory with a key file per process, as `qmq nats keys` makes it; relative ones are below the state directory.',
    ).prefault('keys/nats'),
    tls: z
      .strictObject({
        ca: read(fileName, text, 'PEM file with the authorities that sign the servers.').optional(),
        certificate: read(fileName, text, 'PEM file with the certificate of this side.').optional(),
        key: read(fileName, text, 'PEM file with the private key of this side.').optional(),
      })
      .meta({ description: 'TLS to the servers; relative names are below the state directory.' })
      .optional(),
    replicas: number(1, 5, 'How many servers keep each record; three where they are a cluster, else one.').optional(),
  })
  .meta({ description: 'Coordination over NATS.' })

const embeddedOrServers = read(
  readCoordinationWord,
  { type: 'string', pattern: `^embedded$|${natsServersPattern}` },
  'embedded: in `qmq up` itself, for one host; else the NATS servers, nats://HOST:PORT.',
)
const deadline: Limit = {
  unit: 'milliseconds',
  standard: 250,
  min: 10,
  max: 5000,
  why: 'How long the server may take for an answer; past it the edge goes on by itself.',
}

export const sharedStateSchema = z
  .strictObject({
    server: read<SharedStateServer>(
      readSharedStateServer,
      { type: 'string', pattern: sharedStatePattern, examples: ['rediss://redis.example.com:6379/0'] },
      'redis://HOST:PORT/DATABASE, or rediss:// for TLS.',
    ),
    user: read(userName, text, 'Its user there, as `qmq redis acl` makes one; left out, the default user.').optional(),
    'password-file': read(fileName, text, 'File with the password, alone on its first line.').optional(),
    tls: z
      .strictObject({
        ca: read(fileName, text, "PEM file with the authority of the server's certificate.").optional(),
        certificate: read(
          fileName,
          text,
          'PEM file with our own certificate, where the server asks for one.',
        ).optional(),
        key: read(fileName, text, 'PEM file with its key.').optional(),
      })
      .meta({ description: 'Files for rediss://; relative names are below the state directory.' })
      .optional(),
    deadline: limit('deadline', deadline),
  })
  .meta({ description: 'The server that edges share counters through.' })

const clusterLimitSchema = z
  .strictObject({
    concurrency: number(1, 1_000_000, 'Deliveries at a time, all instances together.').optional(),
    rate: read<Rate>(
      readRate,
      { type: 'string', pattern: ratePattern, examples: ['100/s', '600/m'] },
      'Deliveries begun, all instances together, spread evenly.',
    ).optional(),
  })
  .meta({ description: 'Limits of the whole cluster on one destination.' })

export const confSchema = z
  .strictObject({
    version: read(versionOne, { const: 1 }, 'Version of this file: 1.'),
    cluster: read(clusterName, text, 'Name the cluster greets and bounces with (control/me).'),
    coordination: z
      .union([embeddedOrServers, coordinationSchema])
      .meta({ description: 'Where tiers share the layout and their state.' })
      .prefault('embedded'),
    'shared-state': z
      .union([z.string().meta({ pattern: sharedStatePattern }), sharedStateSchema])
      .meta({ description: 'Where edges share counters: embedded, redis://HOST:PORT, or a section.' })
      .prefault('embedded'),
    'base-port': number(1, 65_535 - 99, 'QMTP port of instance 00; instance NN listens on base-port + NN.').prefault(
      20_900,
    ),
    'handover-base-port': number(
      1,
      65_535 - 99,
      'Port on which instance NN takes mail of a draining instance, + NN; base-port + 100 where it is left out.',
    ).optional(),
    'cluster-limits': z
      .record(z.string(), clusterLimitSchema)
      .meta({ description: 'Limits of the whole cluster, by domain or by host of a next hop.' })
      .prefault({}),
    control: controlSchema,
    edge: edgeSchema,
    pools: z.record(z.string(), poolSchema).meta({ description: 'The pools by name.' }),
  })
  .meta({ title: 'conf-qmq', description: 'A qmq mail cluster.' })

/** The same without its large sections, which are checked one by one so that a fault in one hides none in another. */
export const frameSchema = confSchema.extend({
  coordination: z.unknown().optional(),
  edge: z.unknown().optional(),
  pools: z.unknown().optional(),
  'shared-state': z.unknown().optional(),
})

/** `coordination:` in one word, without section. */
export const coordinationWordSchema = embeddedOrServers

export type FrameInput = z.output<typeof frameSchema>
export type CoordinationInput = z.output<typeof coordinationSchema>
export type EdgeInput = z.output<typeof edgeSchema>
export type PoolInput = z.output<typeof poolSchema>
export type SharedStateInput = z.output<typeof sharedStateSchema>

/** JSON Schema (2020-12) of conf-qmq for editors. */
export function confJsonSchema(): JsonForm {
  return z.toJSONSchema(confSchema, { io: 'input' }) as JsonForm
}

function fileName(input: unknown): Reading<string> {
  if (typeof input === 'string' && input !== '' && !input.endsWith('/')) return right(input)
  return wrong(`${shown(input)} is not a file name`, 'write the name of a file')
}

/** What an ACL rule can name without being cut in two. */
function userName(input: unknown): Reading<string> {
  if (typeof input === 'string' && /^[\x21-\x7e]{1,64}$/.test(input)) return right(input)
  return wrong(`${shown(input)} is not the name of a user`, 'write one without spaces, such as qmq')
}

function directoryName(input: unknown): Reading<string> {
  if (typeof input === 'string' && /^[^\0\n]{1,1024}$/.test(input)) return right(input.replace(/(?<=.)\/+$/, ''))
  return wrong(`${shown(input)} is not a directory`, 'write the name of a directory')
}

function readCoordinationWord(input: unknown): Reading<'embedded' | NatsServers> {
  if (input === 'embedded') return right(input)
  const reading = readNatsServers(input)
  if (reading.ok || !/^\w+$/.test(String(input))) return reading
  return wrong(`${shown(input)} is no way to coordinate`, 'write embedded or nats://HOST:PORT')
}

function positiveDuration(input: unknown): Reading<number> {
  const reading = readDuration(input)
  return reading.ok && reading.value === 0
    ? wrong(`${writeDuration(0)} cannot be kept`, 'write a longer duration, or nothing')
    : reading
}

function versionOne(input: unknown): Reading<1> {
  return input === 1 ? right(1) : wrong(`version ${shown(input)} is not known`, 'write version: 1')
}

function clusterName(input: unknown): Reading<string> {
  const reading = readHostName(input)
  if (!reading.ok) return wrong(reading.message, 'write the full name of the mail host, such as mail.example.com')
  return reading.value.includes('.')
    ? reading
    : wrong(`${reading.value} has no domain`, 'write the full name, such as mail.example.com')
}
