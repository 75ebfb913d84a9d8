/**
 * The hosts that take mail for a domain, in the order to try them: RFC 5321 5.1, null MX by RFC 7505.
 *
 * Preference first, chance among equals; without MX records the domain's own addresses. Where we are among the
 * exchangers, only better ones are left, and none left is a loop. Addresses that are not public are refused by
 * setting. What the DNS does not know for certain is temporary. Bounded: exchangers asked about and addresses kept.
 */

import type { ByteString } from '../../protocol/byte-string.ts'
import type { Failure } from '../../protocol/failure.ts'
import { errorCode, permanent, temporary } from '../../protocol/failure.ts'
import type { MailExchanger, Random, Resolver } from '../../runtime/world.ts'
import { ipBytes } from '../../settings/network.ts'
import { isPublicAddress } from './target-policy.ts'

/** `address` is what is connected to; `name` is for the log and the TLS handshake. */
export interface SmtpTarget {
  readonly name: string
  readonly address: string
  readonly port: number
}

export type TargetsResult =
  | { readonly kind: 'targets'; readonly targets: readonly SmtpTarget[] }
  | { readonly kind: 'failed'; readonly failure: Failure }

export interface ExchangerPolicy {
  /** Names of this cluster, lower case: an exchanger of that name is ourselves. */
  readonly ownNames: ReadonlySet<string>
  /** Addresses where this cluster takes mail on port 25: a target among them is ourselves. */
  readonly ownAddresses: ReadonlySet<string>
  readonly privateTargets: 'allow' | 'refuse'
  readonly port: number
}

const exchangersMax = 10
const addressesPerExchangerMax = 6

export async function findTargets(
  resolver: Resolver,
  random: Random,
  policy: ExchangerPolicy,
  mailDomain: ByteString,
): Promise<TargetsResult> {
  if (mailDomain.startsWith('[')) return literalTargets(policy, mailDomain)
  const domain = dnsName(mailDomain)
  if (domain === undefined) return failed(permanent('sender', '5.1.2', 'recipient domain is not a host name'))
  const found = await exchangersOf(resolver, domain)
  if ('class' in found) return failed(found)
  const exchangers = withoutOurselves(inOrder(found, random), policy)
  if (exchangers.length === 0) return failed(loop)
  const tried = exchangers.slice(0, exchangersMax)
  const lookups = await Promise.all(tried.map((exchanger) => addressesOf(resolver, exchanger.name)))
  return targetsOf(tried, lookups, policy)
}

const loop = permanent('self', '5.4.6', 'mail for this domain would come back: its best mail exchanger is this system')

function failed(failure: Failure): TargetsResult {
  return { kind: 'failed', failure }
}

/** `[192.0.2.1]` and `[IPv6:2001:db8::1]`, RFC 5321 4.1.3. */
function literalTargets(policy: ExchangerPolicy, literal: string): TargetsResult {
  const address = literal.slice(1, literal.endsWith(']') ? -1 : undefined).replace(/^ipv6:/i, '')
  if (ipBytes(address) === undefined) return failed(permanent('sender', '5.1.2', 'recipient domain is not an address'))
  return targetsOf([{ preference: 0, name: address }], [[address]], policy)
}

/** The name to ask the DNS about: lower case, IDN as A-labels; undefined where it is none. */
function dnsName(domain: ByteString): string | undefined {
  let name = domain.toLowerCase()
  if (/[^\x00-\x7f]/.test(domain)) {
    const text = Buffer.from(domain, 'latin1').toString('utf8')
    if (text.includes('\ufffd') || /[\x00-\x20/?#@:\\%]/.test(text) || !URL.canParse(`http://${text}`)) return undefined
    name = new URL(`http://${text}`).hostname
  }
  const labels = name.split('.')
  const valid = name.length <= 253 && labels.every((label) => /^[a-z0-9_-]{1,63}$/.test(label))
  return valid && !/^[0-9.]+$/.test(name) ? name : undefined
}

async function exchangersOf(resolver: Resolver, domain: string): Promise<MailExchanger[] | Failure> {
  try {
    const exchangers = await resolver.mailExchangers(domain)
    if (exchangers.length === 0) return [{ preference: 0, name: domain }]
    if (exchangers.every(({ name }) => name === '' || name === '.'))
      return permanent('peer', '5.1.10', 'recipient domain takes no mail (null MX)', 556)
    return exchangers.map(({ preference, name }) => ({ preference, name: name.toLowerCase().replace(/\.$/, '') }))
  } catch (error) {
    const code = errorCode(error)
    if (code === 'ENODATA') return [{ preference: 0, name: domain }]
    if (code === 'ENOTFOUND') return permanent('peer', '5.1.2', 'recipient domain does not exist', 550)
    return temporary('peer', '4.4.3', `DNS did not answer about the mail exchangers (${code || 'unknown error'})`)
  }
}

function inOrder(exchangers: readonly MailExchanger[], random: Random): MailExchanger[] {
  const shuffled = [...exchangers]
  for (let last = shuffled.length - 1; last > 0; last--) {
    const other = random.below(last + 1)
    const held = shuffled[last]!
    shuffled[last] = shuffled[other]!
    shuffled[other] = held
  }
  return shuffled.sort((a, b) => a.preference - b.preference)
}

/** RFC 5321 5.1: exchangers no better than ourselves are not tried. */
function withoutOurselves(exchangers: readonly MailExchanger[], policy: ExchangerPolicy): readonly MailExchanger[] {
  const ours = exchangers.find(({ name }) => policy.ownNames.has(name))
  return ours === undefined ? exchangers : exchangers.filter(({ preference }) => preference < ours.preference)
}

/** Addresses, or the code of what went wrong. */
async function addressesOf(resolver: Resolver, name: string): Promise<readonly string[] | string> {
  if (ipBytes(name) !== undefined) return [name]
  try {
    return await resolver.addresses(name)
  } catch (error) {
    return errorCode(error) || 'ESERVFAIL'
  }
}

function targetsOf(
  exchangers: readonly MailExchanger[],
  lookups: readonly (readonly string[] | string)[],
  policy: ExchangerPolicy,
): TargetsResult {
  const found: { readonly preference: number; readonly target: SmtpTarget }[] = []
  let ourPreference = Infinity
  let unknown = false
  let refused = false
  for (const [index, { name, preference }] of exchangers.entries()) {
    const addresses = lookups[index] ?? 'ESERVFAIL'
    if (typeof addresses === 'string') {
      if (addresses !== 'ENOTFOUND' && addresses !== 'ENODATA') unknown = true
      continue
    }
    for (const address of addresses.slice(0, addressesPerExchangerMax)) {
      if (policy.ownAddresses.has(address)) ourPreference = Math.min(ourPreference, preference)
      if (policy.privateTargets === 'refuse' && !isPublicAddress(address)) refused = true
      else found.push({ preference, target: { name, address, port: policy.port } })
    }
  }
  const targets = found.filter(({ preference }) => preference < ourPreference).map(({ target }) => target)
  if (targets.length > 0) return { kind: 'targets', targets }
  if (unknown) return failed(addressUnknown)
  if (ourPreference < Infinity) return failed(loop)
  return failed(refused ? noPublicAddress : noAddress)
}

const addressUnknown = temporary('peer', '4.4.3', 'DNS did not answer about the addresses of the mail exchangers')
const noPublicAddress = permanent(
  'peer',
  '5.4.4',
  'mail exchangers of the recipient domain have no public address',
  550,
)
const noAddress = permanent('peer', '5.4.4', 'mail exchangers of the recipient domain have no address', 550)
