/** The door to hashing: SHA-256 for identities, CRC-32 for damage. */

import { createHash, hash } from 'node:crypto'
import { crc32 as zlibCrc32 } from 'node:zlib'

/** Lower-case hexadecimal. */
export function sha256(parts: readonly (Buffer | string)[]): string {
  const [only] = parts
  if (parts.length === 1 && only !== undefined) return hash('sha256', only)
  const sum = createHash('sha256')
  for (const part of parts) sum.update(part)
  return sum.digest('hex')
}

/**
 * One name for a list of texts, 43 characters of base64url: no two lists share it, whatever the texts contain. UTF-16 keeps
 * apart what UTF-8 cannot write, lengths keep apart where one text ends and the next begins.
 */
export function textsDigest(texts: readonly string[]): string {
  const hash = createHash('sha256')
  for (const text of texts) hash.update(`${text.length}:${text}`, 'utf16le')
  return hash.digest('base64url')
}

/** CRC-32 of the parts in order (ISO 3309), starting from `seed`. */
export function crc32(parts: readonly Buffer[], seed = 0): number {
  let sum = seed
  for (const part of parts) sum = zlibCrc32(part, sum)
  return sum
}
