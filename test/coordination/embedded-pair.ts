/**
 * A channel between hub and client inside one process: no process boundary and no socket, for tests of hub and client alone.
 *
 * Messages arrive in order, in a later microtask, as copies: what one side does to a value never reaches the other, exactly
 * as over a process boundary.
 */

import type {
  ClientChannel,
  HubChannel,
  MessageChannel,
  ToClient,
  ToHub,
} from '../../services/runtime/embedded-message.ts'

export function embeddedPair(): { readonly client: ClientChannel; readonly hub: HubChannel } {
  const client = new PairEnd<ToHub, ToClient>()
  const hub = new PairEnd<ToClient, ToHub>()
  client.peer = hub
  hub.peer = client
  return { client, hub }
}

class PairEnd<Out, In> implements MessageChannel<Out, In> {
  peer: PairEnd<In, Out> | undefined
  #heard: ((message: In) => void) | undefined
  #closed: (() => void) | undefined
  #early: In[] = []
  #isClosed = false

  open(heard: (message: In) => void, closed: () => void): void {
    this.#heard = heard
    this.#closed = closed
    const early = this.#early
    this.#early = []
    for (const message of early) queueMicrotask(() => this.arrive(message))
    if (this.#isClosed) queueMicrotask(closed)
  }

  send(message: Out): void {
    if (this.#isClosed) return
    const copy = JSON.parse(JSON.stringify(message))
    queueMicrotask(() => this.peer?.arrive(copy))
  }

  arrive(message: In): void {
    if (this.#isClosed) return
    if (this.#heard === undefined) this.#early.push(message)
    else this.#heard(message)
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    const closed = this.#closed
    if (closed !== undefined) queueMicrotask(closed)
    const peer = this.peer
    if (peer !== undefined) queueMicrotask(() => peer.close())
  }
}
