/**
 * DNS by the system's configured servers. c-ares' codes become the four the interface promises; anything unknown is
 * ESERVFAIL, which is temporary.
 */

import { Resolver as DnsResolver } from 'node:dns/promises'
import { isIP } from 'node:net'
import { errorCode } from '../protocol/failure.ts'
import type { MailExchanger, Random, Resolver } from './world.ts'

const queryTimeoutMs = 5000
const queryTries = 3

export class SystemResolver implements Resolver {
  readonly #dns = new DnsResolver({ timeout: queryTimeoutMs, tries: queryTries })
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  async mailExchangers(domain: string): Promise<MailExchanger[]> {
    try {
      const records = await this.#dns.resolveMx(domain)
      return records.map((record) => ({ preference: record.priority, name: record.exchange }))
    } catch (error) {
      throw named(error)
    }
  }

  async addresses(host: string): Promise<string[]> {
    if (isIP(host) !== 0) return [host]
    if (host === 'localhost') return ['127.0.0.1', '::1']
    const [six, four] = await Promise.allSettled([this.#dns.resolve6(host), this.#dns.resolve4(host)])
    const found = [...this.#rotated(six), ...this.#rotated(four)]
    if (found.length > 0) return found
    throw named(four.status === 'rejected' ? four.reason : undefined)
  }

  #rotated(result: PromiseSettledResult<string[]>): string[] {
    if (result.status === 'rejected') return []
    const start = this.#random.below(Math.max(1, result.value.length))
    return [...result.value.slice(start), ...result.value.slice(0, start)]
  }
}

const passedOn = new Set(['ENOTFOUND', 'ENODATA', 'ETIMEOUT', 'ESERVFAIL'])

function named(error: unknown): Error {
  const code = errorCode(error)
  const known = passedOn.has(code) ? code : 'ESERVFAIL'
  return Object.assign(new Error(error instanceof Error ? error.message : 'DNS query failed'), { code: known })
}
