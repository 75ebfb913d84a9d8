/**
 * What travels between the embedded hub and its clients, and the channel it travels on.
 *
 * A channel carries whole JSON messages in order, or closes; the same words pass over a process's IPC channel, a Unix socket
 * and a pair inside one process. Nothing here is on the path of a message's safety.
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
export type HubChannel = MessageChannel<ToClient, ToHub>

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
