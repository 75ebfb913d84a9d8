/**
 * Reverse and forward paths, RFC 5321 4.1.2 with RFC 6531 3.3: the one reader and the one writer of mail addresses.
 *
 * Inside the system an address is raw: the local part without quoting, `@`, the domain; its domain is what follows the last
 * `@`, everywhere. So the domain that relaying is judged by is the domain that routing uses. Reading is liberal where it is harmless (dots
 * anywhere in the local part, `_` in domains), strict where it is not: no control bytes, no second bare `@`, no comment, no
 * dot at the end of a domain. Source routes are dropped (RFC 5321 appendix F.2). `%` and `!` mean nothing.
 */

import type { ByteString } from '../byte-string.ts'

export interface PathLimits {
  /** Raw local part, `@` and domain together; qmail's 900. */
  readonly addressBytesMax: number
  /** RFC 5321 4.5.3.1.2. */
  readonly domainBytesMax: number
}

export const defaultPathLimits: PathLimits = { addressBytesMax: 900, domainBytesMax: 255 }

export interface PathOptions {
  /** `reverse` may be `<>`; `forward` may be a bare `postmaster`. */
  readonly kind: 'reverse' | 'forward'
  /** Bytes above 127 are taken, where they are valid UTF-8: RFC 6531 3.3. */
  readonly utf8: boolean
}

export type PathResult =
  /** `end` is the index after `>`. */
  | { readonly kind: 'path'; readonly address: ByteString; readonly end: number }
  | { readonly kind: 'refused'; readonly why: 'syntax' | 'too-long' | 'needs-utf8' }

const syntax: PathResult = { kind: 'refused', why: 'syntax' }
const tooLong: PathResult = { kind: 'refused', why: 'too-long' }
const needsUtf8: PathResult = { kind: 'refused', why: 'needs-utf8' }

/** One bit per use of a byte: may stand in an unquoted local part, in a domain, in a quoted string, in a literal. */
const inLocal = 1
const inDomain = 2
const inQuoted = 4
const inLiteral = 8
const classes = byteClasses()

function byteClasses(): Uint8Array {
  const table = new Uint8Array(256)
  for (let byte = 32; byte < 256; byte++) {
    if (byte === 127) continue
    const character = String.fromCharCode(byte)
    let bits = inQuoted
    if (!' ()<>[]:;@\\,"'.includes(character)) bits |= inLocal
    if (/[A-Za-z0-9_-]/.test(character) || byte > 127) bits |= inDomain
    if (/[A-Za-z0-9.:_-]/.test(character)) bits |= inLiteral
    table[byte] = bits
  }
  return table
}

function isOf(text: ByteString, index: number, use: number): boolean {
  return ((classes[text.charCodeAt(index)] ?? 0) & use) !== 0
}

/** Reads the path at `start` of `text`, from `<` to `>`. */
export function parsePath(
  text: ByteString,
  start: number,
  options: PathOptions,
  limits: PathLimits = defaultPathLimits,
): PathResult {
  if (text[start] !== '<') return syntax
  if (text[start + 1] === '>')
    return options.kind === 'reverse' ? { kind: 'path', address: '', end: start + 2 } : syntax
  const afterRoute = skipSourceRoute(text, start + 1)
  if (afterRoute < 0) return syntax
  const local = text[afterRoute] === '"' ? readQuoted(text, afterRoute) : readUnquoted(text, afterRoute)
  if (local === undefined) return syntax
  if (text[local.end] === '>') return bareMailbox(text, local, options)
  if (text[local.end] !== '@') return syntax
  const domainEnd = readDomain(text, local.end + 1)
  if (domainEnd < 0 || text[domainEnd] !== '>') return syntax
  const domain = text.slice(local.end + 1, domainEnd)
  if (domain.length > limits.domainBytesMax) return tooLong
  const address = `${local.value}@${domain}`
  if (address.length > limits.addressBytesMax) return tooLong
  if (hasHighByte(address)) {
    if (!options.utf8) return needsUtf8
    if (!isUtf8(address)) return syntax
  }
  return { kind: 'path', address, end: domainEnd + 1 }
}

/** `postmaster` is the one address without a domain: RFC 5321 4.5.1. */
function bareMailbox(text: ByteString, local: { value: string; end: number }, options: PathOptions): PathResult {
  if (options.kind !== 'forward' || local.value.toLowerCase() !== 'postmaster' || text[local.end - 1] === '"')
    return syntax
  return { kind: 'path', address: local.value, end: local.end + 1 }
}

/** The index after `@a,@b:`, `start` where there is none, -1 where it is broken. */
function skipSourceRoute(text: ByteString, start: number): number {
  let index = start
  while (text[index] === '@') {
    const end = readDomain(text, index + 1)
    if (end < 0) return -1
    if (text[end] === ':') return end + 1
    if (text[end] !== ',') return -1
    index = end + 1
  }
  return index === start ? start : -1
}

function readUnquoted(text: ByteString, start: number): { value: string; end: number } | undefined {
  let end = start
  while (isOf(text, end, inLocal)) end++
  return end === start ? undefined : { value: text.slice(start, end), end }
}

function readQuoted(text: ByteString, start: number): { value: string; end: number } | undefined {
  let value = ''
  for (let index = start + 1; index < text.length; index++) {
    if (text[index] === '"') return { value, end: index + 1 }
    if (text[index] === '\\') index++
    if (!isOf(text, index, inQuoted)) return undefined
    value += text[index]
  }
  return undefined
}

/** The index after a domain or address literal, -1 where there is none. qmail's `#@[]` makes the empty literal legal. */
function readDomain(text: ByteString, start: number): number {
  if (text[start] === '[') {
    let end = start + 1
    while (isOf(text, end, inLiteral)) end++
    return text[end] === ']' ? end + 1 : -1
  }
  let end = start
  let labelBytes = 0
  for (; end < text.length; end++) {
    if (isOf(text, end, inDomain)) labelBytes++
    else if (text[end] === '.' && labelBytes > 0) labelBytes = 0
    else break
  }
  return labelBytes > 0 ? end : -1
}

/** The path for SMTP output, `<` to `>`, the local part quoted where it must be. Raw addresses with control bytes have none. */
export function formatPath(address: ByteString): ByteString {
  if (address === '') return '<>'
  const at = address.lastIndexOf('@')
  if (at < 0) return `<${quoteLocal(address)}>`
  return `<${quoteLocal(address.slice(0, at))}${address.slice(at)}>`
}

/** A local part is a dot-string or a quoted string: RFC 5321 4.1.2. */
function quoteLocal(local: ByteString): ByteString {
  let plain = local !== '' && !local.startsWith('.') && !local.endsWith('.') && !local.includes('..')
  for (let index = 0; plain && index < local.length; index++) plain = isOf(local, index, inLocal)
  if (plain) return local
  return `"${local.replace(/["\\]/g, '\\$&')}"`
}

export function hasHighByte(text: ByteString): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 127) return true
  return false
}

function isUtf8(text: ByteString): boolean {
  const bytes = Buffer.from(text, 'latin1')
  return Buffer.from(bytes.toString('utf8'), 'utf8').equals(bytes)
}
