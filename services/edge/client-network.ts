/**
 * By what a client is counted: an IPv4 host is its address and an IPv6 host its /64, which one subscriber has for himself; networks are
 * IPv4 /24 and IPv6 /64. An IPv4 address written as IPv6 is the IPv4 address. What is no address counts as it is written.
 */

import { ipBytes } from '../settings/network.ts'

export function clientHost(address: string): string {
  return clientPrefix(address, 4)
}

export function clientNetwork(address: string): string {
  return clientPrefix(address, 3)
}

const ipv6Bytes = 8

function clientPrefix(address: string, ipv4Bytes: number): string {
  const bytes = ipBytes(address)
  if (bytes === undefined) return address
  const mapped = bytes.length === 16 && bytes.slice(0, 12).every((byte, index) => byte === (index < 10 ? 0 : 255))
  const ipv4 = mapped ? bytes.slice(12) : bytes.length === 4 ? bytes : undefined
  if (ipv4 !== undefined) return `${ipv4.slice(0, ipv4Bytes).join('.')}/${ipv4Bytes * 8}`
  return `${Buffer.from(bytes.slice(0, ipv6Bytes)).toString('hex')}/${ipv6Bytes * 8}`
}
