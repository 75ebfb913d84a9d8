/**
 * Where one recipient of this instance goes next: a pure function of the layout, like qmail's locals,
 * virtualdomains, smtproutes and qmtproutes together.
 *
 * Order: the pool that owns the recipient's domain; then, for mail with the empty sender, the bounce pool; then the
 * way out to the Internet. A pool's own next hops win over its `deliver`. The backup pool delivers another pool's
 * mail as that pool would, except into mailboxes, which only their own pool writes. The bounce pool never hands
 * anything to itself.
 */

import type { Destination } from '../../contract/delivery.ts'
import { destinationOf, qmtpHostOf } from '../../contract/delivery.ts'
import type { DeliverSpec, InstanceSpec, Layout, PoolSpec } from '../../contract/layout.ts'
import { instanceOf, poolOf, takersOfPool } from '../../contract/layout.ts'
import { domainOf, findByDomain, RoutingTable } from '../../contract/routing.ts'
import type { ByteString } from '../../protocol/byte-string.ts'

/** Roles that send to the Internet themselves; every other pool hands such mail to the default route's pool. */
const sendsAbroad: ReadonlySet<string> = new Set(['internet', 'bounce', 'backup'])

export class Router {
  readonly #own: InstanceSpec
  readonly #table: RoutingTable
  readonly #defaultPool: string | undefined
  readonly #emptySenderPool: string | undefined
  readonly #nextHops = new Map<string, ReadonlyMap<string, DeliverSpec>>()
  readonly #pools = new Map<string, PoolSpec>()
  readonly #instances = new Map<string, Destination>()

  /** `instance` must be in the layout. */
  constructor(layout: Layout, instance: string) {
    const own = instanceOf(layout, instance)
    if (own === undefined) throw new Error(`layout has no instance ${instance}`)
    this.#own = own
    this.#table = RoutingTable.of(layout)
    this.#defaultPool = layout.routes.find((route) => route.key === '')?.pool
    this.#emptySenderPool = layout.routes.find((route) => route.key === '!@')?.pool
    for (const { name } of layout.pools) {
      const pool = poolOf(layout, name)
      this.#pools.set(name, pool)
      this.#nextHops.set(name, new Map(pool.nextHops.map((hop) => [hop.key, hop.deliver])))
      const hosts = takersOfPool(layout, name).map(qmtpHostOf)
      this.#instances.set(name, { key: `pool:${name}`, kind: 'qmtp', hosts })
    }
  }

  destinationFor(sender: ByteString, recipient: ByteString): Destination {
    const domain = domainOf(recipient)
    const owner = this.#table.isOurs(recipient) ? this.#table.poolFor(sender, recipient) : undefined
    if (owner !== undefined) return this.#toPool(owner, domain)
    const bounces = this.#emptySenderPool
    if (sender === '' && bounces !== undefined && bounces !== this.#own.pool && this.#own.role !== 'bounce')
      return this.#toInstances(bounces)
    if (sendsAbroad.has(this.#own.role) || this.#defaultPool === undefined || this.#defaultPool === this.#own.pool)
      return this.#asPool(this.#own.pool, domain)
    return this.#toInstances(this.#defaultPool)
  }

  #toPool(name: string, domain: ByteString): Destination {
    if (name === this.#own.pool) return this.#asPool(name, domain)
    const standsIn = this.#own.role === 'backup' && this.#deliverOf(name, domain).kind !== 'maildir'
    return standsIn ? this.#asPool(name, domain) : this.#toInstances(name)
  }

  #asPool(name: string, domain: ByteString): Destination {
    return destinationOf(this.#deliverOf(name, domain), domain)
  }

  #deliverOf(name: string, domain: ByteString): DeliverSpec {
    const hops = this.#nextHops.get(name)
    const pool = this.#pools.get(name)
    if (hops === undefined || pool === undefined) throw new Error(`layout has no pool ${name}`)
    return findByDomain(hops, domain) ?? pool.deliver
  }

  #toInstances(name: string): Destination {
    const destination = this.#instances.get(name)
    if (destination === undefined) throw new Error(`layout has no pool ${name}`)
    return destination
  }
}
