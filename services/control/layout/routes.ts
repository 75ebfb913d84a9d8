/**
 * Routes of a layout: which pool takes a domain, what the edge accepts from anyone, and which pools take the rest. Pure.
 */

import type { Role, Route } from '../../contract/layout.ts'
import type { Conf } from '../../settings/conf.ts'

/** Domain routes in the order of the file, then everything else, then the empty sender. */
export function compileRoutes(conf: Conf): readonly Route[] {
  const domains = conf.pools.flatMap(({ name, domains }) => domains.map((key) => ({ key, pool: name })))
  return [...domains, ...routeToRole(conf, '', 'internet'), ...routeToRole(conf, '!@', 'bounce')]
}

/** A pool none of whose instances runs is no default: a client is told at once instead of waiting for it. */
function routeToRole(conf: Conf, key: string, role: Role): readonly Route[] {
  const pool = conf.pools.find((candidate) => candidate.role === role && candidate.count > 0)
  return pool === undefined ? [] : [{ key, pool: pool.name }]
}

/** `control/rcpthosts` of the edge: every domain of a pool, and the further ones of the file. In the order of the file. */
export function compileRcpthosts(conf: Conf): readonly string[] {
  return [...new Set([...conf.pools.flatMap((pool) => pool.domains), ...conf.edge.rcpthosts])]
}
