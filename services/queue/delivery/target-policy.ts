/**
 * Which addresses mail for the Internet may be sent to. What a stranger's DNS says must not make us talk to
 * ourselves or to machines behind us: loopback, private, link-local, shared, multicast and reserved addresses are
 * not public, in IPv4, in IPv6, and where IPv6 carries an IPv4 address inside (mapped, compatible, NAT64, 6to4).
 *
 * Next hops the operator names are not asked about here.
 */

import { ipBytes } from '../../settings/network.ts'

type Prefix = readonly [address: string, bits: number]

/** RFC 6890 and the IANA special-purpose registries. */
const notPublic: readonly Prefix[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
  ['::', 128],
  ['::1', 128],
  ['100::', 64],
  ['2001:db8::', 32],
  ['fc00::', 7],
  ['fe80::', 9],
  ['ff00::', 8],
]

/** IPv6 prefixes followed, at the given byte, by an IPv4 address. */
const carriers: readonly { readonly prefix: Prefix; readonly at: number }[] = [
  { prefix: ['::ffff:0:0', 96], at: 12 },
  { prefix: ['::', 96], at: 12 },
  { prefix: ['64:ff9b::', 96], at: 12 },
  { prefix: ['64:ff9b:1::', 48], at: 12 },
  { prefix: ['2002::', 16], at: 2 },
]

/** False for anything that is not an address. A zone (`%eth0`) makes an address link-local. */
export function isPublicAddress(address: string): boolean {
  const bytes = ipBytes(address)
  return bytes !== undefined && isPublic(bytes)
}

function isPublic(bytes: readonly number[]): boolean {
  if (notPublic.some((prefix) => isIn(bytes, prefix))) return false
  if (bytes.length === 4) return true
  const carrier = carriers.find(({ prefix }) => isIn(bytes, prefix))
  return carrier === undefined || isPublic(bytes.slice(carrier.at, carrier.at + 4))
}

function isIn(bytes: readonly number[], [address, bits]: Prefix): boolean {
  const prefix = ipBytes(address) ?? []
  if (prefix.length !== bytes.length) return false
  for (let index = 0; index * 8 < bits; index++) {
    const mask = (0xff00 >> Math.min(8, bits - index * 8)) & 0xff
    if ((prefix[index]! & mask) !== (bytes[index]! & mask)) return false
  }
  return true
}
