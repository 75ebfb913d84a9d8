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

/** A request to here is answered with the key's last message. */
export function readSubject(key: string): string {
  const { stream } = bucketOf(key)
  return `$JS.API.DIRECT.GET.${stream}.${keySubject(key)}`
}

export function infoSubject({ stream }: Bucket): string {
  return `$JS.API.STREAM.INFO.${stream}`
}

const changePrefix = 'qmq.v1.changed.'

/** `changeSubject(bucket)` covers every key of it. */
export function changeSubject({ kind }: Bucket, key?: string): string {
  return `${changePrefix}${kind}.${key === undefined ? '>' : encodeKey(key)}`
}

export function keyOfChange(subject: string): string {
  return decodeKey(subject.slice(changePrefix.length).replace(/^[a-z]+\./, ''))
}
