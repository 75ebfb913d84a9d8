/**
 * Names of entries in shared state: `KIND:NAME:DIGEST`, of fixed alphabet and bounded length whatever peers send.
 *
 * What peers send is in the digest only, so that no colon, brace, glob, line end or length of theirs can reach another entry.
 */

import { textsDigest } from './digest.ts'

export type EntryKind = 'rate' | 'slot' | 'grey' | 'reputation' | 'content' | 'hints'

const namePattern = /^[a-z][a-z0-9-]{0,39}$/

/** Throws where `name` is none of ours. */
export function entryKey(kind: EntryKind, name: string, subject: readonly string[]): string {
  if (!namePattern.test(name)) throw new Error(`${name} is no name for shared state`)
  return `${kind}:${name}:${textsDigest(subject)}`
}

/** A hint as stores show it: what peers send is in it as a digest. */
export function hintName(hint: string): string {
  return textsDigest([hint])
}

/** All keys of one cluster; what is in braces puts them into one slot where the server is a Redis cluster. */
export function keyPrefix(cluster: string): string {
  if (!/^[A-Za-z0-9._-]{1,253}$/.test(cluster)) throw new Error('the name of the cluster is no host name')
  return `qmq:{${cluster}}:`
}
