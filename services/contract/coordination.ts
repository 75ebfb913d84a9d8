/**
 * Coordination: the one interface by which tiers share records and ask each other, whatever carries it.
 *
 * Never on the path of a message's safety: every tier starts and carries mail without it, on the last layout it verified.
 * Keys are `/`-separated words; values are JSON; revisions rise by every change of all keys that begin with the same word, and
 * go on rising where the store was lost and begun anew.
 *
 * Keys below `lease/` and `state/` vanish when they were not written for their lifetime (`keyLifetimes`): by that a lease of
 * a holder who died becomes free, and a host that is gone stops being shown.
 */

export const coordinationVersion = 1

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined }

export interface Entry {
  readonly key: string
  readonly value: Json
  readonly revision: number
}

export interface Change {
  readonly key: string
  /** Undefined: the key is gone. */
  readonly entry: Entry | undefined
}

/** `conflict`: somebody was first, read again. `unreachable`: nothing is known. */
export type WriteResult =
  | { readonly kind: 'written'; readonly revision: number }
  | { readonly kind: 'conflict' }
  | { readonly kind: 'unreachable' }

/** `no-responder`: nobody serves the subject now. */
export type RequestResult =
  | { readonly kind: 'reply'; readonly value: Json }
  | { readonly kind: 'refused'; readonly why: string }
  | { readonly kind: 'no-responder' }
  | { readonly kind: 'timeout' }

export interface Subscription {
  stop(): void
}

export interface Coordination {
  /** Rejects only where the store cannot be reached. */
  get(key: string): Promise<Entry | undefined>
  /** By key; what is below a prefix says `isBelow`. */
  list(prefix: string): Promise<readonly Entry[]>
  create(key: string, value: Json): Promise<WriteResult>
  update(key: string, value: Json, revision: number): Promise<WriteResult>
  /** Last writer wins: for heartbeats, whose key has one owner. */
  put(key: string, value: Json): Promise<WriteResult>
  delete(key: string): Promise<WriteResult>
  /**
   * Calls with every present entry below `prefix`, then with changes: always with the newest value of a key, not with every
   * one that was replaced at once. A key that vanished by itself may be told some seconds later.
   */
  watch(prefix: string, changed: (change: Change) => void): Subscription
  /** The store's clock, unix milliseconds. */
  now(): Promise<number>
  request(subject: string, value: Json, timeoutMs: number): Promise<RequestResult>
  /** A rejection of `answer` becomes `refused` with its message. */
  serve(subject: string, answer: (value: Json) => Promise<Json>): Subscription
  publish(subject: string, value: Json): void
  subscribe(subject: string, heard: (value: Json) => void): Subscription
  close(): void
}

/** A prefix is `words/`, for all keys below; '' for every key; anything else means that one key. */
export function isBelow(prefix: string, key: string): boolean {
  return prefix === '' || prefix.endsWith('/') ? key.startsWith(prefix) : key === prefix
}

export type KeyKind = 'record' | 'state' | 'lease'

export function keyKindOf(key: string): KeyKind {
  if (key.startsWith('lease/')) return 'lease'
  return key.startsWith('state/') || key.startsWith('clock/') ? 'state' : 'record'
}

/** How long a key lives after its last write, milliseconds. Records stay. */
export interface KeyLifetimes {
  readonly leaseMs: number
  readonly stateMs: number
}

export const keyLifetimes: KeyLifetimes = { leaseMs: 15_000, stateMs: 60_000 }

/** Keys. */
export const layoutKey = 'layout'
export function stateKey(instance: string): string {
  return `state/${instance}`
}

/** A key each client may write to learn the store's time. */
export function clockKey(client: string): string {
  return `clock/${client}`
}
export function leaseKey(name: string): string {
  return `lease/${name}`
}

/** The signed receipt of an instance that left by a plan. Written once; the first one counts. */
export function receiptKey(plan: string, instance: string): string {
  return `receipt/${plan}/${instance}`
}

/** Subjects: `qmq.v1.<instance>.<operation>`; operations in `operations.ts`. */
export function operationSubject(instance: string, operation: string): string {
  return `qmq.v1.${instance}.${operation}`
}
