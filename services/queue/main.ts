/**
 * The program of one queue instance, and the place where queue, bounce and mailbox are put together.
 *
 *   run      (the default) carries mail until it is told to stop
 *   verify, audit, list [LIMIT]   look at the journal of an instance that is not running: one JSON line each
 */

import '../runtime/buffer-accounting.ts'
import { bounceOptionsOf, QmailBouncePolicy } from '../bounce/bounce-policy.ts'
import type { Json } from '../contract/coordination.ts'
import type { HandoverLink } from '../contract/handover.ts'
import { anyTierOf, exactly, type NameRule, tierIdentity } from '../contract/identity.ts'
import { instanceOf, type Layout, type PoolSpec, poolOf } from '../contract/layout.ts'
import { type ManifestPage, manifestPageLinesMax } from '../contract/manifest.ts'
import type { InstanceState } from '../contract/operations.ts'
import { MaildirTransport, makeMailbox } from '../mailbox/maildir-transport.ts'
import { errorText } from '../protocol/failure.ts'
import { homeOwner } from '../runtime/home-lock.ts'
import type { RpcSecurity } from '../runtime/rpc-identity.ts'
import { silentLog } from '../runtime/silent-log.ts'
import { systemWorld } from '../runtime/system-world.ts'
import { readTierArguments } from '../runtime/tier-arguments.ts'
import { openTierCredentials, type TierCredentials } from '../runtime/tier-credentials.ts'
import { findLayout } from '../runtime/tier-layout.ts'
import { asJson, runTierProcess, type Tier, type TierSurroundings } from '../runtime/tier-process.ts'
import type { World } from '../runtime/world.ts'
import { QmtpTransport } from './delivery/qmtp-transport.ts'
import { SmtpTransport } from './delivery/smtp-transport.ts'
import type { Transports } from './dispatcher.ts'
import type { HandoverDoors } from './handover/handover.ts'
import { QueueInstance } from './instance.ts'
import { auditJournal, listJournal, verifyJournal } from './offline.ts'

/** What one answer holds at most: ten thousand, and one more that tells that there are more. */
const listedMax = 10_001

function transportsOf(
  world: World,
  layout: Layout,
  id: string,
  state: string,
  given: { readonly credentials?: TierCredentials },
): Transports {
  const { cluster } = layout
  const source = instanceOf(layout, id)?.sourceAddress
  const sourceAddress = source === undefined ? {} : { sourceAddress: source }
  const ownAddresses = layout.edges.flatMap((edge) => edge.listeners.map((listener) => listener.host))
  return {
    smtp: new SmtpTransport(world, { helloName: cluster, ownAddresses, ...sourceAddress }),
    qmtp: new QmtpTransport(world, { cluster, instance: id, ...sourceAddress, ...given }),
    maildir: new MaildirTransport(world, { root: `${state}/mailboxes`, hostName: `${id}.${cluster}` }),
  }
}

/** One that cannot be made is a warning: mail for it waits, and mail for the others is carried. */
async function makeMailboxes(world: World, root: string, mailboxes: readonly string[]): Promise<void> {
  for (const mailbox of mailboxes) {
    try {
      await makeMailbox(world.disk, root, mailbox)
    } catch (error) {
      world.log.warn('mailbox not made', { mailbox, error: errorText(error) })
    }
  }
}

async function build(surroundings: TierSurroundings, id: string, state: string): Promise<Tier> {
  const { world, layout, ledger, onFatal, coordination } = surroundings
  const spec = instanceOf(layout, id)
  if (spec === undefined) throw new Error(`the layout has no instance ${id}`)
  const pool = poolOf(layout, spec.pool)
  if (pool.deliver.kind === 'maildir') await makeMailboxes(world, `${state}/mailboxes`, pool.mailboxes)
  const credentials = await openTierCredentials(world, layout, state, 'queue', id)
  const given = credentials === undefined ? {} : { credentials }
  const transports = transportsOf(world, layout, id, state, given)
  const bouncePolicyOf = (cluster: string, own: PoolSpec) => new QmailBouncePolicy(bounceOptionsOf(cluster, own))
  const parts = { layout, id, state, ledger, transports, bouncePolicyOf, onFatal, coordination, ...given }
  const instance = new QueueInstance(world, {
    ...parts,
    handoverDoors: () => handoverDoors(world, layout, credentials),
  })
  return {
    start: () => instance.start(),
    stop: () => instance.stop(),
    apply: (next) => instance.apply(next),
    state: () => stateOf(instance, spec.pool),
    operations: {
      audit: async () => asJson(instance.audit()),
      list: async (value) => asJson(instance.list(limitOf(value))),
      show: async (value) => asJson(await instance.show(textOf(value, 'id'))),
      manifest: async (value) => asJson(await instance.manifest(textOf(value, 'plan'))),
      'manifest-lines': async (value) => asJson(await manifestLines(instance, value)),
    },
  }
}

/**
 * Most instances never need gRPC, and it takes its time to load. Where anything in the layout is spoken with certificates, this is: a
 * source without a usable one offers nothing, a target without one does not listen, and mail stays where it is.
 */
async function handoverDoors(
  world: World,
  layout: Layout,
  credentials: TierCredentials | undefined,
): Promise<HandoverDoors> {
  const [{ handoverDialer }, { listenHandover }] = await Promise.all([
    import('../runtime/handover-dial.ts'),
    import('../runtime/handover-server.ts'),
  ])
  const securityWith = (allowed: NameRule): RpcSecurity | undefined =>
    credentials === undefined ? undefined : () => credentials.mutual(allowed)
  return {
    dial: (to, hello) => {
      const security = securityWith(exactly(tierIdentity(hello.cluster, 'queue', hello.target)))
      const tls = security?.()
      return typeof tls === 'string' ? closedLink(world, tls) : handoverDialer(security)(to, hello)
    },
    listen: async (at, taker) => {
      const security = securityWith(anyTierOf(layout.cluster, ['queue']))
      const tls = security?.()
      if (typeof tls === 'string') throw new Error(tls)
      return await listenHandover({ ...at, taker, log: world.log, tls: security })
    },
  }
}

/** Every offer is refused, as by a target that is not there. */
function closedLink({ clock }: World, why: string): HandoverLink {
  return { offer: (_offer, answered) => clock.soon(() => answered({ kind: 'refused', why })), close: () => {} }
}

function manifestLines(instance: QueueInstance, value: Json): Promise<ManifestPage> {
  const part = { source: textOf(value, 'source'), target: textOf(value, 'target') }
  return instance.manifestLines(
    textOf(value, 'plan'),
    part,
    textOf(value, 'after'),
    limitOf(value, manifestPageLinesMax),
  )
}

type State = Pick<InstanceState, 'phase' | 'listeners' | 'load' | 'pool' | 'drain'>

function stateOf(instance: QueueInstance, pool: string): State {
  const { phase, why, address, drain } = instance
  const listeners = address === undefined ? [] : [{ kind: 'qmtp', ...address }]
  const moving = drain === undefined ? {} : { drain }
  return { phase, pool, listeners, load: instance.load(), ...moving, ...(why === undefined ? {} : { why }) }
}

function limitOf(value: Json, limitMax = listedMax): number {
  const limit = typeof value === 'object' && value !== null && 'limit' in value ? Number(value['limit']) : limitMax
  return Number.isInteger(limit) && limit > 0 ? Math.min(limit, limitMax) : limitMax
}

function textOf(value: Json, name: string): string {
  return typeof value === 'object' && value !== null && name in value
    ? String((value as { readonly [key: string]: Json | undefined })[name] ?? '')
    : ''
}

/** One line of JSON, or a refusal: a journal that is being written cannot be judged from outside. */
async function look(verb: string, id: string, state: string, words: readonly string[]): Promise<object> {
  const world = systemWorld(silentLog)
  const found = await findLayout(world.disk, state, 'queue', id)
  if (found.kind === 'none') throw new Error(`no layout for instance ${id}: ${found.notes.join('; ')}`)
  const owner = homeOwner(found.home)
  if (owner !== undefined) throw new Error(`instance ${id} is running as process ${owner}: stop it first`)
  if (verb === 'verify') return verifyJournal(world, found.home, id)
  if (verb === 'audit') return auditJournal(world, found.home, id)
  const messages = await listJournal(world, found.home, id)
  return messages.slice(0, limitOf({ limit: Number(words[0]) }))
}

function fail(why: string, code: number): void {
  process.stderr.write(`${why}\n`, () => process.exit(code))
}

const read = readTierArguments(process.argv.slice(2))
if (read.kind === 'unusable') fail(read.why, 2)
else if (read.verb === 'run') {
  const { id, state } = read
  await runTierProcess({
    ...{ tier: 'queue', id, state },
    build: (surroundings) => build(surroundings, id, state),
    exit: (code) => process.exit(code),
  })
} else if (['verify', 'audit', 'list'].includes(read.verb)) {
  try {
    const result = await look(read.verb, read.id, read.state, read.words)
    process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0))
  } catch (error) {
    fail(errorText(error), 1)
  }
} else fail(`no verb ${read.verb}: run, verify, audit, list`, 2)
