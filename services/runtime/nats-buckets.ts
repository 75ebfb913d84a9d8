/**
 * Where coordination's records live in NATS: three JetStream key-value buckets, chosen by a key's first word, and the subjects
 * of their keys. Names and arithmetic only; `nats-coordination.ts` talks, and `qmq nats config` grants rights by them.
 *
 * The buckets are ordinary ones (`nats kv get qmq-records layout` reads them). Every change a bucket has stored is repeated by
 * the server on `changeSubject`, with its sequence: that is what watches hear, so that no watcher needs the right to make
 * consumers, whose delivery subject could be somebody else's key.
 */

import { type KeyKind, type KeyLifetimes, keyKindOf } from '../contract/coordination.ts'

export interface Bucket {
  readonly kind: KeyKind
  /** Of the JetStream stream behind it. */
  readonly stream: string
  readonly prefix: string
}

function bucket(kind: KeyKind, name: string): Bucket {
  return { kind, stream: `KV_${name}`, prefix: `$KV.${name}.` }
}

export const buckets: readonly Bucket[] = [
  bucket('record', 'qmq-records'),
  bucket('state', 'qmq-states'),
  bucket('lease', 'qmq-leases'),
]

export function bucketOfKind(kind: KeyKind): Bucket {
  return buckets.find((candidate) => candidate.kind === kind) as Bucket
}

export function bucketOf(key: string): Bucket {
  return bucketOfKind(keyKindOf(key))
}

/** Of every key below a prefix: only '' spans several kinds. */
export function bucketsOf(prefix: string): readonly Bucket[] {
  return prefix === '' ? buckets : [bucketOf(prefix)]
}

export function maxAgeMsOf(kind: KeyKind, lifetimes: KeyLifetimes): number {
  if (kind === 'record') return 0
  return kind === 'lease' ? lifetimes.leaseMs : lifetimes.stateMs
}

/**
 * A key as NATS writes it: words between dots; what is no letter, digit, hyphen or underscore as `=` and two hexadecimal
 * digits per byte of UTF-8, so that no key can become a wildcard or somebody else's.
 */
export function encodeKey(key: string): string {
  return key
    .split('/')
    .map((word) => Array.from(Buffer.from(word, 'utf8'), encodeByte).join(''))
    .join('.')
}

function encodeByte(byte: number): string {
  const character = String.fromCharCode(byte)
  return /[A-Za-z0-9_-]/.test(character) ? character : `=${byte.toString(16).padStart(2, '0')}`
}

export function decodeKey(encoded: string): string {
  const bytes = encoded.replaceAll('.', '/').replace(/=([0-9a-f]{2})/g, (_whole, hexadecimal: string) => {
    return String.fromCharCode(Number.parseInt(hexadecimal, 16))
  })
  return Buffer.from(bytes, 'latin1').toString('utf8')
}

/** Where a key's values are published. */
export function keySubject(key: string): string {
  return `${bucketOf(key).prefix}${encodeKey(key)}`
}

/**
 * JetStream's own prefix, and the one by which clients reach a store in another account: asked under the first one, the server would
 * say that theirs has none.
 */
export const storeApi = '$JS.API'
export const importedStoreApi = 'qmq.store'

/** A request to here, which names a key's subject, is answered by the bucket's leader with that key's last message. */
export function readSubject({ stream }: Bucket): string {
  return `${importedStoreApi}.STREAM.MSG.GET.${stream}`
}

export function infoSubject({ stream }: Bucket): string {
  return `${importedStoreApi}.STREAM.INFO.${stream}`
}

/** To make it, to change its form, and to drop it. */
export function formSubjects({ stream }: Bucket): readonly string[] {
  return ['CREATE', 'UPDATE', 'DELETE'].map((verb) => `${importedStoreApi}.STREAM.${verb}.${stream}`)
}

/** Everything that is done with the store: the subjects there, and as clients call them. */
export const storeServices: readonly { readonly subject: string; readonly as: string }[] = buckets.flatMap((bucket) => [
  { subject: `${bucket.prefix}>`, as: `${bucket.prefix}>` },
  ...[readSubject(bucket), infoSubject(bucket), ...formSubjects(bucket)].map((as) => {
    return { subject: storeApi + as.slice(importedStoreApi.length), as }
  }),
])

/** Where answers go, each client's below a subject of its own that no other may hear. */
export const inboxRoot = '_INBOX.qmq'

export function inboxOf(client: string): string {
  return `${inboxRoot}.${client}`
}

const changePrefix = 'qmq.v1.changed.'

/** Without a key it covers every one of the bucket, without a bucket all. */
export function changeSubject(bucket?: Bucket, key?: string): string {
  if (bucket === undefined) return `${changePrefix}>`
  return `${changePrefix}${bucket.kind}.${key === undefined ? '>' : encodeKey(key)}`
}

export function keyOfChange(subject: string): string {
  return decodeKey(subject.slice(changePrefix.length).replace(/^[a-z]+\./, ''))
}
