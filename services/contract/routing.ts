/**
 * Which pool a recipient belongs to: qmail's route order, most specific first.
 *
 * Keys are tried as the whole domain, each suffix from a dot, then ''. Matching ignores ASCII case. The key `!@` takes mail
 * with the empty sender that no domain route of ours claims, so that notices leaving for the Internet use the bounce
 * host while notices coming home still reach their mailbox.
 */

import type { ByteString } from '../protocol/byte-string.ts'
import type { Layout, Route } from './layout.ts'

/** The lower-case domain of an address; '' where there is none. */
export function domainOf(address: ByteString): ByteString {
  const at = address.lastIndexOf('@')
  return at < 0 ? '' : lowerCaseAscii(address.slice(at + 1))
}

export function lowerCaseAscii(text: ByteString): ByteString {
  return text.replace(/[A-Z]+/g, (run) => run.toLowerCase())
}

/** The keys to try for a domain, most specific first, ending in ''. */
export function routeKeys(domain: ByteString): ByteString[] {
  const keys = [domain]
  for (let dot = domain.indexOf('.'); dot >= 0; dot = domain.indexOf('.', dot + 1)) {
    if (dot > 0 || keys[0] !== domain.slice(dot)) keys.push(domain.slice(dot))
  }
  if (domain !== '') keys.push('')
  return keys
}

/** The first value a domain's keys find in `table`. */
export function findByDomain<Value>(table: ReadonlyMap<string, Value>, domain: ByteString): Value | undefined {
  const exact = table.get(domain)
  if (exact !== undefined) return exact
  for (const key of routeKeys(domain)) {
    const value = table.get(key)
    if (value !== undefined) return value
  }
  return undefined
}

export class RoutingTable {
  readonly #pools: ReadonlyMap<string, string>
  readonly #emptySender: string | undefined
  readonly #default: string | undefined

  constructor(routes: readonly Route[]) {
    const domains = routes.filter((route) => route.key !== '' && route.key !== '!@')
    this.#pools = new Map(domains.map((route) => [route.key, route.pool]))
    this.#emptySender = routes.find((route) => route.key === '!@')?.pool
    this.#default = routes.find((route) => route.key === '')?.pool
  }

  static of(layout: Layout): RoutingTable {
    return new RoutingTable(layout.routes)
  }

  /** The pool that takes this recipient, or undefined where the layout has no route for it. */
  poolFor(sender: ByteString, recipient: ByteString): string | undefined {
    const ours = findByDomain(this.#pools, domainOf(recipient))
    if (ours !== undefined) return ours
    if (sender === '' && this.#emptySender !== undefined) return this.#emptySender
    return this.#default
  }

  /** True where a domain route of the layout names the recipient's domain. */
  isOurs(recipient: ByteString): boolean {
    return findByDomain(this.#pools, domainOf(recipient)) !== undefined
  }
}
