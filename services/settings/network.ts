/**
 * Names and numbers of the network as settings write them: IP addresses, networks in CIDR form, host names, domains.
 *
 * Text only: nothing here asks the DNS or the system. Addresses keep the operator's spelling, in lower case.
 */

import { type Reading, right, shown, wrong } from './reading.ts'

/** The bytes of an IPv4 (4) or IPv6 (16) address, or undefined. */
export function ipBytes(text: string): readonly number[] | undefined {
  return text.includes(':') ? ipv6Bytes(text) : ipv4Bytes(text)
}

function ipv4Bytes(text: string): number[] | undefined {
  const parts = text.split('.')
  const valid = parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256)
  return valid ? parts.map(Number) : undefined
}

/** RFC 4291 2.2: eight groups, one run of zeros as `::`, the last 32 bits perhaps in dots. */
function ipv6Bytes(text: string): number[] | undefined {
  const halves = text.split('::')
  if (halves.length > 2 || text.length > 45) return undefined
  const sides = halves.map((half, index) => ipv6Groups(half, index === halves.length - 1))
  const [left, right] = [sides[0], sides[1]]
  if (left === undefined) return undefined
  if (halves.length === 1) return left.length === 16 ? left : undefined
  if (right === undefined || left.length + right.length > 14) return undefined
  return [...left, ...new Array<number>(16 - left.length - right.length).fill(0), ...right]
}

function ipv6Groups(text: string, last: boolean): number[] | undefined {
  if (text === '') return []
  const bytes: number[] = []
  const groups = text.split(':')
  for (const [index, group] of groups.entries()) {
    const dotted = last && index === groups.length - 1 ? ipv4Bytes(group) : undefined
    if (dotted !== undefined) bytes.push(...dotted)
    else if (/^[0-9a-fA-F]{1,4}$/.test(group))
      bytes.push(Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255)
    else return undefined
  }
  return bytes
}

/** An address to listen on or to send from. */
export function readAddress(input: unknown): Reading<string> {
  if (typeof input === 'string' && ipBytes(input) !== undefined) return right(input.toLowerCase())
  return wrong(`${shown(input)} is not an IP address`, 'write one without brackets, such as 127.0.0.1 or ::1')
}

/** A network, `192.0.2.0/24` or `2001:db8::/32`; a single address stands for itself alone. */
export function readNetwork(input: unknown): Reading<string> {
  const remedy = 'write an address and the number of its fixed bits, such as 192.0.2.0/24 or 2001:db8::/32'
  if (typeof input !== 'string') return wrong(`${shown(input)} is not a network`, remedy)
  const [address = '', bitsText, ...more] = input.split('/')
  const bytes = ipBytes(address)
  if (bytes === undefined || more.length > 0) return wrong(`${shown(input)} is not a network`, remedy)
  const bitsMax = bytes.length * 8
  if (bitsText === undefined) return right(`${address.toLowerCase()}/${bitsMax}`)
  if (!/^(0|[1-9]\d{0,2})$/.test(bitsText) || Number(bitsText) > bitsMax) {
    return wrong(`${shown(input)} has ${shown(bitsText)} fixed bits of ${bitsMax}`, remedy)
  }
  const masked = bytes.map((byte, index) => byte & maskByte(Number(bitsText), index))
  if (masked.some((byte, index) => byte !== bytes[index])) {
    return wrong(
      `${input} has bits set behind the first ${bitsText}`,
      `write ${writeIp(masked)}/${bitsText} for the network or ${address} for the one address`,
    )
  }
  return right(input.toLowerCase())
}

function maskByte(bits: number, index: number): number {
  const ones = Math.max(0, Math.min(8, bits - index * 8))
  return (0xff00 >> ones) & 255
}

/** IPv6 with its longest run of zero groups shortened, RFC 5952 4.2. */
function writeIp(bytes: readonly number[]): string {
  if (bytes.length === 4) return bytes.join('.')
  const groups = Array.from({ length: 8 }, (_, index) => (bytes[index * 2]! * 256 + bytes[index * 2 + 1]!).toString(16))
  const runs = groups.join(':').match(/\b0(:0)+\b/g) ?? []
  const longest = runs.reduce((best, run) => (run.length > best.length ? run : best), '')
  if (longest === '') return groups.join(':')
  return groups.join(':').replace(longest, '::').replace(/:{3,}/, '::')
}

/** RFC 1123 2.1, RFC 1035 2.3.4; an underscore is let pass, because names in use have it. Lower case. */
export function readHostName(input: unknown): Reading<string> {
  if (typeof input === 'string' && isName(input) && !/^[\d.]+$/.test(input)) return right(input.toLowerCase())
  return wrong(`${shown(input)} is not a host name`, nameRemedy(input, 'mail.example.com'))
}

/** A host name or an IP address. */
export function readHost(input: unknown): Reading<string> {
  return typeof input === 'string' && ipBytes(input) !== undefined ? right(input.toLowerCase()) : readHostName(input)
}

/** A recipient domain; a leading dot means its subdomains, as in rcpthosts. */
export function readDomain(input: unknown): Reading<string> {
  if (typeof input === 'string') {
    const name = input.startsWith('.') ? input.slice(1) : input
    if (isName(name) && !/^[\d.]+$/.test(name)) return right(input.toLowerCase())
  }
  return wrong(
    `${shown(input)} is not a mail domain`,
    nameRemedy(input, 'example.com, or .example.com for its subdomains'),
  )
}

/** A full mail address without quoting; the domain in lower case. */
export function readMailAddress(input: unknown): Reading<string> {
  const match = typeof input === 'string' ? /^([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64})@([^@]+)$/.exec(input) : null
  const domain = match === null ? undefined : readDomain(match[2])
  if (match !== null && domain?.ok === true && !domain.value.startsWith('.'))
    return right(`${match[1]}@${domain.value}`)
  return wrong(`${shown(input)} is not a mail address`, 'write one without brackets, such as postmaster@example.com')
}

function isName(text: string): boolean {
  const labels = text.split('.')
  return text.length <= 253 && labels.every((label) => /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label))
}

function nameRemedy(input: unknown, example: string): string {
  const international = typeof input === 'string' && /[^\x20-\x7e]/.test(input)
  return international
    ? 'write its xn-- form (RFC 5891 4.4)'
    : `write letters, digits, hyphens and dots, such as ${example}`
}
