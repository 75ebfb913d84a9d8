/**
 * The channel between `qmq up` and its children: Node's IPC, one JSON message at a time.
 *
 * A child whose parent dies sees its channel close; a message that cannot be sent any more is dropped. Both sides wrap their
 * end once. Nothing but coordination travels here.
 */

import type { ChildProcess } from 'node:child_process'
import process from 'node:process'
import type { ClientChannel, HubChannel, MessageChannel } from './embedded-message.ts'

/**
 * True where a parent has opened an IPC channel to this process, even if it has closed since: `process.channel` is gone then,
 * and a child whose parent died while it was starting would take itself for one that never had a parent.
 */
export function hasParentChannel(): boolean {
  return process.send !== undefined
}

/** The child's end. Only where `hasParentChannel()`. */
export function parentChannel(): ClientChannel {
  return new IpcChannel(process as unknown as IpcEnd) as ClientChannel
}

/** The parent's end. */
export function childChannel(child: ChildProcess): HubChannel {
  return new IpcChannel(child as unknown as IpcEnd) as HubChannel
}

/** What `process` and `ChildProcess` have in common. */
interface IpcEnd {
  readonly connected: boolean
  send(message: unknown, callback: (error: Error | null) => void): boolean
  disconnect(): void
  on(event: 'message' | 'disconnect', listener: (message: unknown) => void): unknown
}

class IpcChannel implements MessageChannel<unknown, never> {
  readonly #end: IpcEnd
  #closed: (() => void) | undefined

  constructor(end: IpcEnd) {
    this.#end = end
  }

  open(heard: (message: never) => void, closed: () => void): void {
    this.#closed = closed
    this.#end.on('message', (message) => heard(message as never))
    this.#end.on('disconnect', () => this.#tellClosed())
    if (!this.#end.connected) queueMicrotask(() => this.#tellClosed())
  }

  send(message: unknown): void {
    // The callback takes the error of a channel that closes meanwhile; `disconnect` follows.
    if (this.#end.connected) this.#end.send(message, () => {})
  }

  close(): void {
    if (this.#end.connected) this.#end.disconnect()
    else queueMicrotask(() => this.#tellClosed())
  }

  #tellClosed(): void {
    const closed = this.#closed
    this.#closed = undefined
    closed?.()
  }
}
