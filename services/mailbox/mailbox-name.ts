/**
 * The directory of an address below the mailbox root: `domain/local`, both in lower case. Pure.
 *
 * A name is one path component each, whatever the address holds: a slash, a NUL or control byte, a leading dot or
 * more than `nameBytesMax` bytes has no mailbox. Bytes above 127 must be UTF-8. As in qmail, `user-extension` falls
 * back to `user`.
 */

import type { ByteString } from '../protocol/byte-string.ts'
import type { Failure } from '../protocol/failure.ts'
import { permanent } from '../protocol/failure.ts'

export const nameBytesMax = 200

export type MailboxNames =
  /** Relative directories, the most specific first. */
  | { readonly kind: 'names'; readonly directories: readonly string[] }
  | { readonly kind: 'refused'; readonly failure: Failure }

export const noMailbox = permanent('sender', '5.1.1', 'Sorry, no mailbox here by that name.', 550)
const badAddress = permanent('sender', '5.1.3', 'Sorry, that address cannot name a mailbox.', 553)

export function mailboxNames(address: ByteString): MailboxNames {
  const at = address.lastIndexOf('@')
  if (at < 0) return { kind: 'refused', failure: badAddress }
  const domain = pathComponent(address.slice(at + 1))
  const local = pathComponent(address.slice(0, at))
  if (domain === undefined || local === undefined) return { kind: 'refused', failure: badAddress }
  const dash = local.indexOf('-')
  const locals = dash > 0 ? [local, local.slice(0, dash)] : [local]
  return { kind: 'names', directories: locals.map((name) => `${domain}/${name}`) }
}

function pathComponent(bytes: ByteString): string | undefined {
  if (bytes === '' || bytes.length > nameBytesMax || bytes.startsWith('.')) return undefined
  if (/[\x00-\x1f\x7f/]/.test(bytes)) return undefined
  const text = Buffer.from(bytes, 'latin1').toString('utf8')
  // Node writes U+FFFD for what is no UTF-8, overlong forms of `/` and `.` among it.
  return text.includes('\ufffd') ? undefined : text.replace(/[A-Z]+/g, (run) => run.toLowerCase())
}
