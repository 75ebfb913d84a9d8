/**
 * The compiler: conf-qmq in, layout out. Pure and deterministic: the same record and epoch give the same bytes, and nothing
 * of the machine enters. Plain JSON, keys that are absent rather than undefined.
 */

import {
  type ControlSpec,
  type EdgeSpec,
  type InstanceSpec,
  type Layout,
  type ListenerSpec,
  layoutVersion,
  type PoolSpec,
} from '../../contract/layout.ts'
import type { Conf, PoolConf } from '../../settings/conf.ts'
import { deepFreeze } from '../../settings/deep-freeze.ts'
import { instanceId } from '../../settings/instance-ids.ts'
import { ipBytes } from '../../settings/network.ts'
import { compileRcpthosts, compileRoutes } from './routes.ts'

/** `epoch` counts from 1. */
export function compile(conf: Conf, epoch: number): Layout {
  const members = clusterNetworks(conf)
  return deepFreeze({
    version: layoutVersion,
    epoch,
    fence: 0,
    cluster: conf.cluster,
    ...(conf.coordination === 'embedded' ? {} : { coordination: conf.coordination }),
    control: Array.from({ length: conf.control.count }, (_, index) => compileControl(conf, index + 1)),
    edges: Array.from({ length: conf.edge.count }, (_, index) => compileEdge(conf, index + 1)),
    pools: conf.pools.map((pool) => compilePool(conf, pool)),
    instances: conf.pools
      .flatMap((pool) => compileInstances(conf, pool, members))
      .toSorted((one, other) => one.number - other.number),
    routes: compileRoutes(conf),
    scaled: [],
    plans: [],
    ...(conf.sharedState === 'embedded' ? {} : { sharedState: conf.sharedState }),
    ...(conf.clusterLimits.length === 0 ? {} : { clusterLimits: conf.clusterLimits }),
  })
}

function compileControl(conf: Conf, number: number): ControlSpec {
  const { host, port } = conf.control
  const id = `c${number}`
  return { id, home: `control/${id}`, host, port: port + number - 1 }
}

/** Edges of one host share their listeners. */
function compileEdge(conf: Conf, number: number): EdgeSpec {
  const { host, listen, relayFrom, tls, limits, handoff } = conf.edge
  const listeners: ListenerSpec[] = listen.map(({ kind, port }) => ({ kind, host, port }))
  const id = `e${number}`
  const rcpthosts = compileRcpthosts(conf)
  return {
    id,
    home: `edges/${id}`,
    listeners,
    relayFrom,
    rcpthosts,
    ...(tls === undefined ? {} : { tls }),
    limits,
    handoff,
  }
}

function compilePool(conf: Conf, pool: PoolConf): PoolSpec {
  const { name, role, ids, domains, deliver, mailboxes, nextHops, slaMs, lifetimeMs, concurrency } = pool
  const { concurrencyPerDestination, messageBytesMax, bounceFormat, bounceBytesMax } = pool
  return {
    ...{ name, role, ids, domains, deliver, mailboxes, nextHops },
    ...(slaMs === undefined ? {} : { slaMs }),
    ...{ lifetimeMs, concurrency, concurrencyPerDestination, messageBytesMax, bounceFormat, bounceBytesMax },
    doubleBounceTo: pool.doubleBounceTo ?? postmasterOf(conf),
  }
}

/** A postmaster whose mailbox is ours, else the cluster's, as in qmail. */
function postmasterOf(conf: Conf): string {
  const mailboxes = conf.pools.flatMap((pool) => pool.mailboxes)
  return mailboxes.find((mailbox) => /^postmaster@/i.test(mailbox)) ?? `postmaster@${conf.cluster}`
}

function compileInstances(conf: Conf, pool: PoolConf, members: readonly string[]): readonly InstanceSpec[] {
  const { name, role, address, sourceAddress, acceptFrom } = pool
  return pool.ids.slice(0, pool.count).map((number) => {
    const id = instanceId(number)
    const source = sourceAddress === undefined ? {} : { sourceAddress }
    const networks = [...new Set([...members, ...acceptFrom])]
    const port = conf.basePort + number
    return {
      id,
      number,
      pool: name,
      role,
      host: address,
      port,
      handoverPort: conf.handoverBasePort + number,
      standing: 'active',
      ...source,
      home: `instances/${id}`,
      acceptFrom: networks,
    }
  })
}

/** The addresses a hand-over from inside the cluster can come from. */
function clusterNetworks(conf: Conf): readonly string[] {
  const { host } = conf.edge
  const hosts = [host, ...conf.pools.flatMap(({ address, sourceAddress }) => [address, sourceAddress ?? address])]
  const own = hosts.filter((address) => address !== '0.0.0.0' && address !== '::' && !isLoopback(address))
  const networks = own.map((address) => `${address}/${(ipBytes(address)?.length ?? 4) * 8}`)
  return [...new Set(['127.0.0.0/8', '::1/128', ...networks])]
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1'
}
