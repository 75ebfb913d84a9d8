/**
 * The control directory of one place of the layout, in qmail's own file names and formats, so that a real qmail can take
 * the place. Pure: names and texts; the caller writes them. Our own tiers run on the layout itself.
 *
 * Each file is one that qmail, notqmail or s/qmail reads. What the historical generator got wrong is right here: the
 * lifetime is in seconds, `me` and `rcpthosts` are always written, `!@` is a route and not a remark, and is never written on
 * the bounce host.
 */

import {
  type DeliverSpec,
  type EdgeSpec,
  type InstanceSpec,
  instanceOf,
  type Layout,
  type PoolSpec,
  poolOf,
  poolOfRole,
  takersOfPool,
} from '../../contract/layout.ts'
import { findByDomain } from '../../contract/routing.ts'
import { rulesText } from './tcp-rules.ts'

/** s/qmail writes the port of a route after a semicolon, notqmail and Spamcontrol after a colon. */
export type Flavour = 'notqmail' | 's/qmail'

export type ControlFiles = ReadonlyMap<string, string>

/** Relative path, `control/me`, to text; sorted by path. Throws where the layout has no such place. */
export function controlFiles(layout: Layout, id: string, flavour: Flavour = 'notqmail'): ControlFiles {
  const instance = instanceOf(layout, id)
  const edge = layout.edges.find((candidate) => candidate.id === id)
  if (instance === undefined && edge === undefined) throw new Error(`layout has no instance or edge ${id}`)
  const files = instance === undefined ? edgeFiles(layout, edge!) : instanceFiles(layout, instance, flavour)
  const sorted = [...files].filter(([, text]) => text !== '').toSorted(([one], [other]) => (one < other ? -1 : 1))
  return new Map(sorted.map(([name, text]) => [`control/${name}`, text]))
}

type Files = Map<string, string>

/** Lines, each ended; '' for a file that is not written. */
function lines(...values: readonly (string | number)[]): string {
  return values.map((value) => `${value}\n`).join('')
}

function seconds(milliseconds: number): string {
  return lines(Math.ceil(milliseconds / 1000))
}

function edgeFiles(layout: Layout, edge: EdgeSpec): Files {
  const routes = layout.routes.flatMap(({ key, pool }) => {
    const queue = queueOf(layout, pool)
    return queue?.kind === 'qmtp' ? [qmtpRoute(key, queue.host, queue.port)] : []
  })
  return new Map([
    ['me', lines(layout.cluster)],
    ['locals', '#\n'],
    ['rcpthosts', edge.rcpthosts.length === 0 ? lines(layout.cluster) : lines(...edge.rcpthosts)],
    ['databytes', lines(edge.limits.messageBytesMax)],
    ['timeoutsmtpd', seconds(edge.limits.commandTimeoutMs)],
    ['timeoutconnect', seconds(edge.handoff.connectTimeoutMs)],
    ['qmtproutes', lines(...routes)],
    ['rules.smtpd.txt', rulesText(edge.relayFrom, 'allow')],
  ])
}

function instanceFiles(layout: Layout, instance: InstanceSpec, flavour: Flavour): Files {
  const pool = poolOf(layout, instance.pool)
  const routes = routesOf(layout, instance, pool)
  const [doubleBounceLocal, doubleBounceHost] = splitAddress(pool.doubleBounceTo)
  const maildir = (leadingDot: boolean) => localDomains(pool).filter((domain) => domain.startsWith('.') === leadingDot)
  return new Map([
    ['me', lines(layout.cluster)],
    ['rcpthosts', lines(...acceptedDomains(layout, pool))],
    ['locals', maildir(false).length === 0 ? '#\n' : lines(...maildir(false))],
    ['virtualdomains', lines(...maildir(true).map((domain) => `${domain}:alias`))],
    ['smtproutes', lines(...routes.flatMap(([key, deliver]) => smtpRoute(key, deliver, flavour)))],
    [
      'qmtproutes',
      lines(...routes.flatMap(([key, hop]) => (hop.kind === 'qmtp' ? qmtpRoute(key, hop.host, hop.port) : []))),
    ],
    ['concurrencyremote', lines(pool.deliver.kind === 'hold' ? 0 : pool.concurrency)],
    ['queuelifetime', seconds(pool.lifetimeMs)],
    ['databytes', lines(pool.messageBytesMax)],
    ['bouncefrom', lines('MAILER-DAEMON')],
    ['bouncehost', lines(layout.cluster)],
    ['bouncemaxbytes', lines(pool.bounceBytesMax)],
    ['doublebounceto', lines(doubleBounceLocal)],
    ['doublebouncehost', lines(doubleBounceHost)],
    ['domainips', instance.sourceAddress === undefined ? '' : lines(`*:${instance.sourceAddress}`)],
    ['rules.qmtpd.txt', rulesText(instance.acceptFrom, 'deny')],
  ])
}

/** Never empty: without the file qmail-qmtpd accepts mail for anyone from everybody. */
function acceptedDomains(layout: Layout, pool: PoolSpec): readonly string[] {
  return pool.domains.length === 0 ? [layout.cluster] : pool.domains
}

/** Domains qmail-send hands to qmail-local; a locals file that names none stops `me` from being taken for one. */
function localDomains(pool: PoolSpec): readonly string[] {
  return pool.domains.filter((domain) => hopOf(pool, domain).kind === 'maildir')
}

function hopOf(pool: PoolSpec, domain: string): DeliverSpec {
  const table = new Map(pool.nextHops.map(({ key, deliver }) => [key, deliver]))
  return findByDomain(table, domain) ?? pool.deliver
}

/**
 * Next hops by domain, one per key. First the operator's, then the pool's own, then the other pools', then `!@` and the rest.
 *
 * s/qmail asks for `!@` before any domain, and so sends every notice to the bounce host; the bounce host therefore goes
 * past the other pools to their next hops, or the notice would come back to it for ever.
 */
function routesOf(layout: Layout, instance: InstanceSpec, pool: PoolSpec): readonly (readonly [string, DeliverSpec])[] {
  const direct = instance.role === 'bounce' || instance.role === 'backup'
  const routes = new Map<string, DeliverSpec>()
  const add = (key: string, deliver: DeliverSpec | undefined) => {
    if (deliver !== undefined && deliver.kind !== 'maildir' && !routes.has(key)) routes.set(key, deliver)
  }
  for (const { key, deliver } of pool.nextHops) add(key, deliver)
  for (const key of pool.domains) add(key, hopOf(pool, key))
  for (const other of layout.pools.filter((candidate) => candidate.name !== pool.name)) {
    for (const key of other.domains) {
      const hop = hopOf(other, key)
      const past = direct && hop.kind !== 'maildir' && hop.kind !== 'hold'
      add(key, past ? hop : queueOf(layout, other.name, instance.id))
    }
  }
  for (const { key, pool: target } of layout.routes) {
    const foreign = key === '!@' ? instance.role !== 'bounce' : key === '' && !direct && instance.role !== 'internet'
    if (foreign) add(key, queueOf(layout, target, instance.id))
  }
  if (!routes.has('')) add('', pool.deliver.kind === 'smtp' || pool.deliver.kind === 'qmtp' ? pool.deliver : undefined)
  return [...routes]
}

/** qmail's routes name one host: the first of the pool, or the backup where none of the pool runs. */
function queueOf(layout: Layout, pool: string, self?: string): DeliverSpec | undefined {
  const backup = poolOfRole(layout, 'backup')
  const spare = backup === undefined ? [] : takersOfPool(layout, backup.name)
  const [first] = [...takersOfPool(layout, pool), ...spare].filter((candidate) => candidate.id !== self)
  return first === undefined ? undefined : { kind: 'qmtp', host: first.host, port: first.port }
}

function smtpRoute(key: string, deliver: DeliverSpec, flavour: Flavour): readonly string[] {
  if (deliver.kind === 'mx') return [`${key}:`]
  if (deliver.kind !== 'smtp') return []
  const port = deliver.port === 25 ? '' : `${flavour === 's/qmail' ? ';' : ':'}${deliver.port}`
  return [`${key}:${bracketed(deliver.host)}${port}`]
}

/** Only s/qmail and Spamcontrol read qmtproutes; this is s/qmail's form. */
function qmtpRoute(key: string, host: string, port: number): string {
  return `${key}:${bracketed(host)};${port}`
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

function splitAddress(address: string): readonly [string, string] {
  const at = address.lastIndexOf('@')
  return [address.slice(0, at), address.slice(at + 1)]
}
