/**
 * What a running cluster cannot take from a new layout without being started again. Pure.
 *
 * Tiers take rules, routes, limits, next hops and delivery as they run, and places come and go. Where those that are there listen, who they
 * are, what they were built with and what is made at the start (mailboxes) they take at their next start.
 */

import type { ControlSpec, EdgeSpec, InstanceSpec, Layout, PoolSpec } from '../contract/layout.ts'
import { sameJson } from './next-layout.ts'

/** One line per thing that differs; empty where the running processes can take all of it. */
export function restartReasons(now: Layout, next: Layout): readonly string[] {
  return [
    ...(now.cluster === next.cluster ? [] : [`the cluster's name, ${now.cluster} to ${next.cluster}`]),
    ...differences('control', byName(now.control, controlFixed), byName(next.control, controlFixed)),
    ...(sameJson(now.coordination ?? null, next.coordination ?? null) ? [] : ['coordination']),
    ...differences('edge', byName(now.edges, edgeFixed), byName(next.edges, edgeFixed)),
    ...differences('instance', byName(now.instances, instanceFixed), byName(next.instances, instanceFixed)),
    ...differences('pool', byName(now.pools, poolFixed), byName(next.pools, poolFixed)),
  ]
}

function controlFixed({ home, host, port }: ControlSpec): object {
  return { home, host, port }
}

function edgeFixed({ home, listeners, tls }: EdgeSpec): object {
  return { home, listeners, tls }
}

function instanceFixed({ pool, role, host, port, sourceAddress, home }: InstanceSpec): object {
  return { pool, role, host, port, sourceAddress, home }
}

function poolFixed({
  role,
  mailboxes,
  messageBytesMax,
  bounceFormat,
  bounceBytesMax,
  doubleBounceTo,
}: PoolSpec): object {
  return { role, mailboxes, messageBytesMax, bounceFormat, bounceBytesMax, doubleBounceTo }
}

type Named = { readonly id: string } | { readonly name: string }

function byName<One extends Named>(all: readonly One[], fixed: (one: One) => object): ReadonlyMap<string, object> {
  return new Map(all.map((one) => ['id' in one ? one.id : one.name, fixed(one)]))
}

function differences(
  what: string,
  now: ReadonlyMap<string, object>,
  next: ReadonlyMap<string, object>,
): readonly string[] {
  return [...next].flatMap(([name, fixed]) => {
    const before = now.get(name)
    if (before === undefined) return []
    const keys = Object.keys(fixed).filter((key) => !sameJson(fieldOf(before, key), fieldOf(fixed, key)))
    return keys.map((key) => `${what} ${name}: ${key}`)
  })
}

function fieldOf(record: object, key: string): unknown {
  return (record as Readonly<Record<string, unknown>>)[key] ?? null
}
