/**
 * What a lawful conf-qmq must keep across fields: ids, ports, domains and roles that fit together. Pure; reports all it finds.
 *
 * Sections that could not be read are absent from the draft; nothing is concluded from their absence.
 */

import type { ClusterLimit, Role } from '../contract/layout.ts'
import { findByDomain } from '../contract/routing.ts'
import { isSharer } from '../contract/share.ts'
import type { EdgeConf, PoolConf } from './conf.ts'
import { writeDeliver } from './deliver.ts'
import { writeDuration } from './duration.ts'
import { instanceId } from './instance-ids.ts'
import { limitKey } from './limits.ts'
import type { KeyPath } from './yaml-document.ts'

export interface Draft {
  readonly 'base-port'?: number
  readonly edge: EdgeConf | undefined
  readonly limits: readonly ClusterLimit[]
  readonly pools: readonly PoolConf[]
  /** Every pool of the file could be read. */
  readonly poolsComplete: boolean
}

type Say = (path: KeyPath, of: 'key' | 'value', message: string, remedy: string) => void

export interface Report {
  readonly problem: Say
  readonly note: Say
}

export function checkConf(draft: Draft, report: Report): void {
  checkIds(draft.pools, report)
  checkDomains(draft.pools, report)
  for (const pool of draft.pools) checkPool(pool, report)
  if (draft.edge !== undefined) checkEdge(draft.edge, report)
  checkPorts(draft, report)
  if (draft.poolsComplete) checkRoles(draft, report)
  if (draft.poolsComplete) checkLimits(draft, report)
}

/** A limit smaller than the number of ids leaves nothing for an instance that is cut off. */
function checkLimits({ limits, pools }: Draft, { note }: Report): void {
  const ids = pools.filter(({ role }) => isSharer(role)).flatMap((pool) => pool.ids).length
  for (const { destination, concurrency, rate } of limits) {
    const least = Math.min(concurrency ?? ids, rate?.events ?? ids)
    if (least >= ids) continue
    const message = `${least} is less than the ${ids} ids: without coordination nothing goes to ${destination}`
    note(['cluster-limits', destination], 'key', message, 'raise it, or keep fewer ids, where that matters')
  }
}

function checkIds(pools: readonly PoolConf[], { problem }: Report): void {
  const owners = new Map<number, string>()
  for (const pool of pools) {
    const shared = new Map<string, string[]>()
    for (const id of pool.ids) {
      const owner = owners.get(id)
      if (owner === undefined) owners.set(id, pool.name)
      else shared.set(owner, [...(shared.get(owner) ?? []), instanceId(id)])
    }
    for (const [owner, ids] of shared) {
      const remedy = 'give each pool ids of its own'
      problem(['pools', pool.name, 'ids'], 'value', `${ids.join(', ')} already belongs to pool ${owner}`, remedy)
    }
    if (pool.count > pool.ids.length) {
      const message = `count ${pool.count} is more than the ${pool.ids.length} ids of the pool`
      problem(['pools', pool.name, 'count'], 'value', message, 'lower count or widen ids')
    }
  }
}

function checkDomains(pools: readonly PoolConf[], { problem }: Report): void {
  const owners = new Map<string, string>()
  for (const pool of pools) {
    for (const [index, domain] of pool.domains.entries()) {
      const owner = owners.get(domain)
      if (owner === undefined) owners.set(domain, pool.name)
      else {
        const message =
          owner === pool.name ? `${domain} is written twice` : `${domain} already belongs to pool ${owner}`
        problem(
          ['pools', pool.name, 'domains', index],
          'value',
          message,
          'leave it in one place: a domain has one route',
        )
      }
    }
  }
}

function checkPool(pool: PoolConf, { problem }: Report): void {
  const at = (...path: (string | number)[]) => ['pools', pool.name, ...path]
  const home = pool.role === 'internal' || pool.role === 'customer'
  if (home && pool.domains.length === 0) {
    problem(at(), 'key', `no mail can reach a pool of role ${pool.role} without domains`, 'add domains: [...]')
  }
  if ((pool.role === 'bounce' || pool.role === 'backup') && pool.domains.length > 0) {
    problem(
      at('domains'),
      'key',
      `a pool of role ${pool.role} has no domains of its own`,
      'move them to the pool that delivers them',
    )
  }
  for (const [index, network] of pool.acceptFrom.entries()) {
    if (!network.endsWith('/0')) continue
    problem(
      at('accept-from', index),
      'value',
      'this lets the whole Internet hand mail past the edge',
      'name the networks of your own hosts',
    )
  }
  checkMailboxes(pool, problem)
  if (pool.slaMs !== undefined && pool.slaMs > pool.lifetimeMs) {
    const message = `the service level of ${writeDuration(pool.slaMs)} is longer than the lifetime of ${writeDuration(pool.lifetimeMs)}`
    problem(at('sla'), 'value', message, 'mail would bounce first: shorten sla or lengthen lifetime')
  }
  if (pool.concurrency > 0 && pool.concurrencyPerDestination > pool.concurrency) {
    const message = `${pool.concurrencyPerDestination} for one destination is more than the ${pool.concurrency} for all`
    problem(at('concurrency-per-destination'), 'value', message, 'lower it or raise concurrency')
  }
}

function checkMailboxes(pool: PoolConf, problem: Say): void {
  const maildir = pool.deliver.kind === 'maildir' || pool.nextHops.some((hop) => hop.deliver.kind === 'maildir')
  const domains = new Map(pool.domains.map((domain) => [domain, true]))
  const seen = new Set<string>()
  for (const [index, mailbox] of pool.mailboxes.entries()) {
    const path = ['pools', pool.name, 'mailboxes', index]
    const domain = mailbox.slice(mailbox.lastIndexOf('@') + 1)
    if (!maildir)
      problem(
        path,
        'value',
        `deliver ${writeDeliver(pool.deliver)} has no mailboxes`,
        'write deliver: maildir or remove them',
      )
    else if (findByDomain(domains, domain) === undefined) {
      problem(path, 'value', `${domain} is not among the domains of the pool`, `add ${domain} to domains`)
    } else if (seen.has(mailbox.toLowerCase())) problem(path, 'value', `${mailbox} is written twice`, 'keep one')
    seen.add(mailbox.toLowerCase())
  }
}

function checkEdge(edge: EdgeConf, { problem }: Report): void {
  if (edge.listen.length === 0) problem(['edge', 'listen'], 'key', 'the edge listens nowhere', 'add smtp: 2525')
  for (const [index, network] of edge.relayFrom.entries()) {
    if (!network.endsWith('/0')) continue
    problem(
      ['edge', 'relay-from', index],
      'value',
      'this makes the edge an open relay',
      'name the networks of your own clients',
    )
  }
  const ordered: readonly [string, number, string, number, string][] = [
    ['handoff', edge.handoff.reconnectMinMs, 'reconnectMinMs', edge.handoff.reconnectMaxMs, 'reconnectMaxMs'],
    ['limits', edge.limits.commandTimeoutMs, 'commandTimeoutMs', edge.limits.sessionTimeoutMs, 'sessionTimeoutMs'],
    ['limits', edge.limits.dataTimeoutMs, 'dataTimeoutMs', edge.limits.sessionTimeoutMs, 'sessionTimeoutMs'],
    [
      'limits',
      edge.limits.connectionsPerClientMax,
      'connectionsPerClientMax',
      edge.limits.connectionsMax,
      'connectionsMax',
    ],
    ['limits', edge.limits.messageBytesMax, 'messageBytesMax', edge.limits.bufferedBytesMax, 'bufferedBytesMax'],
  ]
  for (const [section, low, lowName, high, highName] of ordered) {
    if (low <= high) continue
    const message = `${limitKey(lowName)} is above ${limitKey(highName)}`
    problem(['edge', section, limitKey(lowName)], 'value', message, 'lower it or raise the other')
  }
}

interface Taken {
  readonly host: string
  readonly port: number
  readonly path: KeyPath
  readonly what: string
}

/** Every port the layout may take, those of ids that do not run yet included, so that scaling up finds them free. */
function checkPorts(draft: Draft, report: Report): void {
  const taken: Taken[] = []
  const { edge, pools } = draft
  const basePort = draft['base-port']
  for (const { kind, port } of edge?.listen ?? []) {
    taken.push({ host: edge!.host, port, path: ['edge', 'listen', kind], what: `the ${kind} listener of the edge` })
  }
  for (const pool of basePort === undefined ? [] : pools) {
    for (const id of pool.ids) {
      const what = `instance ${instanceId(id)} of pool ${pool.name} (base-port ${basePort} + ${instanceId(id)})`
      taken.push({ host: pool.address, port: basePort! + id, path: ['pools', pool.name, 'ids'], what })
    }
  }
  const byPort = new Map<number, Taken[]>()
  const noted = new Set<string>()
  for (const one of taken) {
    const others = byPort.get(one.port) ?? []
    const other = others.find((candidate) => sameSocket(candidate.host, one.host))
    if (other !== undefined && other.path[0] === 'edge') {
      const [moved, stays] = one.path[0] === 'edge' ? [one, other] : [other, one]
      const message = `port ${one.port} is also taken by ${stays.what}`
      report.problem(moved.path, 'value', message, 'choose another port or another base-port')
    }
    byPort.set(one.port, [...others, one])
    // The instances of a pool share a path: the first one speaks for all.
    if (one.port < 1024 && !noted.has(one.path.join('.'))) {
      noted.add(one.path.join('.'))
      report.note(one.path, 'value', `port ${one.port} is below 1024`, 'it needs root or the right to bind such ports')
    }
  }
  checkLoops(draft, report)
}

function sameSocket(one: string, other: string): boolean {
  return one === other || isEveryAddress(one) || isEveryAddress(other)
}

function isEveryAddress(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}

function isLoopback(host: string): boolean {
  return host.startsWith('127.') || host === '::1' || host === 'localhost'
}

/** A pool that delivers to our own edge sends its mail round in circles. */
function checkLoops({ edge, pools }: Draft, { problem }: Report): void {
  for (const { name, deliver } of edge === undefined ? [] : pools) {
    if (deliver.kind !== 'smtp' || edge!.listen.every(({ port }) => port !== deliver.port)) continue
    const near = isLoopback(deliver.host) && (isLoopback(edge!.host) || isEveryAddress(edge!.host))
    if (!near && deliver.host !== edge!.host) continue
    const message = 'this is the edge itself: mail would go round in circles'
    problem(['pools', name, 'deliver'], 'value', message, 'name the next hop')
  }
}

function checkRoles({ edge, pools }: Draft, { problem }: Report): void {
  const ofRole = (role: Role) => pools.filter((pool) => pool.role === role)
  for (const role of ['bounce', 'backup', 'internet'] as const) {
    for (const pool of ofRole(role).slice(1)) {
      const message = `there is already a pool of role ${role}, ${ofRole(role)[0]!.name}`
      problem(['pools', pool.name, 'role'], 'value', message, 'keep one; raise its count instead')
    }
  }
  const bounce = ofRole('bounce')[0]
  if (bounce === undefined) {
    const remedy = 'add BOUNCES: { ids: 90, role: bounce }, so that bounces never delay good mail'
    problem(['pools'], 'key', 'there is no pool of role bounce', remedy)
  } else if (bounce.count === 0) {
    problem(['pools', bounce.name, 'count'], 'value', 'no instance takes the bounces', 'write count: 1')
  }
  const spare = ofRole('backup').some((pool) => pool.count > 0)
  for (const pool of pools.filter(({ count, domains }) => count === 0 && domains.length > 0 && !spare)) {
    problem(
      ['pools', pool.name, 'count'],
      'value',
      'no instance takes the mail of its domains',
      'write count: 1, or add a pool of role backup',
    )
  }
  const internet = ofRole('internet').find((pool) => pool.count > 0)
  if (edge === undefined || internet !== undefined) return
  if (edge.relayFrom.length > 0) {
    const remedy = 'add INTERNET: { ids: 80, role: internet } or remove relay-from'
    problem(
      ['edge', 'relay-from'],
      'key',
      'clients may send anywhere, but no running pool of role internet takes such mail',
      remedy,
    )
  }
  const routes = new Map(pools.flatMap((pool) => pool.domains.map((domain) => [domain, true])))
  for (const [index, domain] of edge.rcpthosts.entries()) {
    const claimed = findByDomain(routes, domain) !== undefined
    if (!claimed)
      problem(
        ['edge', 'rcpthosts', index],
        'value',
        `no pool takes mail for ${domain}`,
        'add it to the domains of a pool',
      )
  }
}
