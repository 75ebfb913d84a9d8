/**
 * What travels between the embedded hub and its clients, and the channel it travels on.
 *
 * A channel carries whole JSON messages in order, or closes; the same words pass over a process's IPC channel, a Unix socket
 * and a pair inside one process. Nothing here is on the path of a message's safety.
 *
 * The hub lives in the parent of a whole cluster, so it believes no client: `readToHub` checks every field it will use.
 */

import type { Change, Entry, Json, RequestResult, WriteResult } from '../contract/coordination.ts'

export interface MessageChannel<Out, In> {
  /** Without effect once the channel is closed. */
  send(message: Out): void
  /** Called once, before anything can arrive. `closed` is called exactly once, also after `close`. */
  open(heard: (message: In) => void, closed: () => void): void
  close(): void
}

export type ClientChannel = MessageChannel<ToHub, ToClient>
/** What a client says is unknown until `readToHub` has looked at it. */
export type HubChannel = MessageChannel<ToClient, unknown>

export type StoreCall =
  | { readonly op: 'get'; readonly key: string }
  | { readonly op: 'list'; readonly prefix: string }
  | { readonly op: 'create'; readonly key: string; readonly value: Json }
  | { readonly op: 'update'; readonly key: string; readonly value: Json; readonly revision: number }
  | { readonly op: 'put'; readonly key: string; readonly value: Json }
  | { readonly op: 'delete'; readonly key: string }
  | { readonly op: 'now' }

export type ToHub =
  /** First of all; a hub of another `coordinationVersion` answers `refused` and closes. */
  | { readonly kind: 'hello'; readonly version: number }
  | { readonly kind: 'call'; readonly number: number; readonly call: StoreCall }
  | { readonly kind: 'watch'; readonly number: number; readonly prefix: string }
  | { readonly kind: 'subscribe'; readonly number: number; readonly subject: string }
  | { readonly kind: 'serve'; readonly number: number; readonly subject: string }
  /** Ends the watch, subscription or service of that number. */
  | { readonly kind: 'stop'; readonly number: number }
  | {
      readonly kind: 'request'
      readonly number: number
      readonly subject: string
      readonly value: Json
      readonly timeoutMs: number
    }
  | { readonly kind: 'publish'; readonly subject: string; readonly value: Json }
  | { readonly kind: 'answer'; readonly ask: number; readonly result: RequestResult }

export type ToClient =
  | { readonly kind: 'refused'; readonly why: string }
  | { readonly kind: 'got'; readonly number: number; readonly entry?: Entry }
  | { readonly kind: 'listed'; readonly number: number; readonly entries: readonly Entry[] }
  | { readonly kind: 'wrote'; readonly number: number; readonly result: WriteResult }
  | { readonly kind: 'time'; readonly number: number; readonly now: number }
  /** Everything below the watch's prefix at its beginning; changes follow. */
  | { readonly kind: 'watching'; readonly number: number; readonly entries: readonly Entry[] }
  | { readonly kind: 'changed'; readonly number: number; readonly change: Change }
  | { readonly kind: 'heard'; readonly number: number; readonly value: Json }
  /** Please answer: `service` is the number of our `serve`. */
  | { readonly kind: 'ask'; readonly ask: number; readonly service: number; readonly value: Json }
  | { readonly kind: 'result'; readonly number: number; readonly result: RequestResult }

/** Longest wait a client may ask for; far below what a timer can hold. */
const timeoutMsMax = 3_600_000
const keyCharactersMax = 1024

/** The message, or undefined where it is none: its client is to be cut off. Never throws. */
export function readToHub(value: unknown): ToHub | undefined {
  return isRecord(value) && isToHub(value) ? (value as unknown as ToHub) : undefined
}

type Fields = Readonly<Record<string, unknown>>

function isToHub(message: Fields): boolean {
  switch (message['kind']) {
    case 'hello':
      return typeof message['version'] === 'number'
    case 'call':
      return isNumber(message['number']) && isRecord(message['call']) && isCall(message['call'])
    case 'watch':
      return isNumber(message['number']) && isKey(message['prefix'])
    case 'subscribe':
    case 'serve':
      return isNumber(message['number']) && isKey(message['subject'])
    case 'stop':
      return isNumber(message['number'])
    case 'request':
      return isNumber(message['number']) && isPublication(message) && isTimeout(message['timeoutMs'])
    case 'publish':
      return isPublication(message)
    case 'answer':
      return isNumber(message['ask']) && isRecord(message['result']) && isResult(message['result'])
    default:
      return false
  }
}

function isCall(call: Fields): boolean {
  switch (call['op']) {
    case 'get':
    case 'delete':
      return isKey(call['key'])
    case 'list':
      return isKey(call['prefix'])
    case 'create':
    case 'put':
      return isKey(call['key']) && call['value'] !== undefined
    case 'update':
      return isKey(call['key']) && call['value'] !== undefined && isNumber(call['revision'])
    case 'now':
      return true
    default:
      return false
  }
}

function isResult(result: Fields): boolean {
  switch (result['kind']) {
    case 'reply':
      return result['value'] !== undefined
    case 'refused':
      return typeof result['why'] === 'string'
    case 'no-responder':
    case 'timeout':
      return true
    default:
      return false
  }
}

function isPublication(message: Fields): boolean {
  return isKey(message['subject']) && message['value'] !== undefined
}

function isRecord(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isNumber(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isTimeout(value: unknown): boolean {
  return typeof value === 'number' && value >= 0 && value <= timeoutMsMax
}

function isKey(value: unknown): boolean {
  return typeof value === 'string' && value.length <= keyCharactersMax
}
