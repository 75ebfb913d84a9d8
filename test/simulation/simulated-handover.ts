/**
 * The hand-over over a simulated network: the same promises as over gRPC, in the plainest framing there is.
 *
 * Nothing leaves the source before the target's welcome. An offer that was given to the connection and has no answer when the link ends is
 * `unclear`; one that was not is `refused`. A frame is its length, the length of its head, a head in JSON, and bytes. Links may go deaf: their
 * source hears no answer from some moment on, though the target goes on taking.
 */

import type {
  DialHandover,
  HandoverAnswer,
  HandoverHello,
  HandoverLink,
  HandoverOffer,
  HandoverTaker,
  ListenHandover,
} from '../../services/contract/handover.ts'
import type { HandoverDoors } from '../../services/queue/handover/handover.ts'
import type { Connection, ConnectionHandler, Timer, World } from '../../services/runtime/world.ts'

/** Silence after which either side gives the link up. */
const patienceMs = 20_000

/** How likely a new link goes deaf; a run's faults change it. */
export interface Deafness {
  probability: number
}

type Head =
  | { readonly kind: 'hello'; readonly hello: HandoverHello }
  | { readonly kind: 'welcome' }
  | { readonly kind: 'offer'; readonly number: number; readonly envelopeBytes: number }
  | { readonly kind: 'answer'; readonly number: number; readonly answer: HandoverAnswer }

function frame(head: Head, ...parts: readonly Buffer[]): Buffer {
  const text = Buffer.from(JSON.stringify(head), 'latin1')
  const sizes = Buffer.alloc(8)
  const bytes = Buffer.concat([text, ...parts])
  sizes.writeUInt32LE(bytes.length, 0)
  sizes.writeUInt32LE(text.length, 4)
  return Buffer.concat([sizes, bytes])
}

class Frames {
  #rest: Buffer = Buffer.alloc(0)

  receive(chunk: Buffer): { readonly head: Head; readonly bytes: Buffer }[] {
    const frames: { readonly head: Head; readonly bytes: Buffer }[] = []
    this.#rest = Buffer.concat([this.#rest, chunk])
    while (this.#rest.length >= 8) {
      const end = 8 + this.#rest.readUInt32LE(0)
      if (this.#rest.length < end) break
      const middle = 8 + this.#rest.readUInt32LE(4)
      const head = JSON.parse(this.#rest.toString('latin1', 8, middle)) as Head
      const bytes = Buffer.from(this.#rest.subarray(middle, end))
      this.#rest = this.#rest.subarray(end)
      frames.push({ head, bytes })
    }
    return frames
  }
}

class SourceEnd implements ConnectionHandler, HandoverLink {
  readonly #world: World
  readonly #connection: Connection
  readonly #frames = new Frames()
  readonly #waiting: { readonly offer: HandoverOffer; readonly answered: (answer: HandoverAnswer) => void }[] = []
  readonly #sent = new Map<number, (answer: HandoverAnswer) => void>()
  #isWelcome = false
  #isOver = false
  #patience: Timer | undefined
  /** Answers that are still heard. */
  #hears = Number.POSITIVE_INFINITY

  constructor(
    world: World,
    to: { readonly host: string; readonly port: number },
    hello: HandoverHello,
    deafness: Deafness,
  ) {
    this.#world = world
    if (world.random.below(1000) < deafness.probability * 1000) this.#hears = world.random.below(4)
    this.#connection = world.network.connect({ ...to, timeoutMs: patienceMs }, this)
    this.#connection.write(frame({ kind: 'hello', hello }))
    this.#wait()
  }

  offer(offer: HandoverOffer, answered: (answer: HandoverAnswer) => void): void {
    if (this.#isOver) {
      this.#world.clock.soon(() => answered({ kind: 'refused', why: 'the link is over' }))
      return
    }
    this.#waiting.push({ offer, answered })
    this.#send()
  }

  close(): void {
    this.#connection.destroy()
    this.#end('the link was closed')
  }

  onOpen(): void {}
  onSecure(): void {}
  onDrain(): void {}
  onEnd(): void {
    this.close()
  }

  onData(chunk: Buffer): void {
    this.#wait()
    for (const { head } of this.#frames.receive(chunk)) {
      if (head.kind === 'welcome') this.#isWelcome = true
      if (head.kind !== 'answer' || this.#hears-- <= 0) continue
      const answered = this.#sent.get(head.number)
      this.#sent.delete(head.number)
      answered?.(head.answer)
    }
    this.#send()
  }

  onClose(): void {
    this.#end('the connection was lost')
  }

  #send(): void {
    if (!this.#isWelcome || this.#isOver) return
    for (const { offer, answered } of this.#waiting.splice(0)) {
      this.#sent.set(offer.number, answered)
      const { number, envelope, body } = offer
      this.#connection.write(frame({ kind: 'offer', number, envelopeBytes: envelope.length }, envelope, ...body))
    }
    this.#wait()
  }

  #wait(): void {
    this.#patience?.cancel()
    if (this.#isOver || (this.#isWelcome && this.#sent.size === 0)) return
    const afterMs = this.#hears > 0 ? patienceMs : this.#world.random.below(3000)
    this.#patience = this.#world.clock.after(afterMs, () => this.close())
  }

  #end(why: string): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#patience?.cancel()
    const unclear = [...this.#sent.values()]
    this.#sent.clear()
    for (const answered of unclear) answered({ kind: 'unclear', why })
    for (const { answered } of this.#waiting.splice(0)) answered({ kind: 'refused', why })
  }
}

class TargetEnd implements ConnectionHandler {
  readonly #connection: Connection
  readonly #taker: HandoverTaker
  readonly #frames = new Frames()
  readonly #onClosed: () => void
  #hello: HandoverHello | undefined
  #isOver = false

  constructor(connection: Connection, taker: HandoverTaker, onClosed: () => void) {
    this.#connection = connection
    this.#taker = taker
    this.#onClosed = onClosed
  }

  onOpen(): void {}
  onSecure(): void {}
  onDrain(): void {}
  onEnd(): void {
    this.#connection.destroy()
  }

  onData(chunk: Buffer): void {
    for (const { head, bytes } of this.#frames.receive(chunk)) {
      if (head.kind === 'hello') {
        this.#hello = head.hello
        if (this.#taker.refuse(head.hello) !== undefined) return this.#connection.destroy()
        this.#write({ kind: 'welcome' })
      } else if (head.kind === 'offer' && this.#hello !== undefined) this.#take(this.#hello, head, bytes)
    }
  }

  onClose(): void {
    this.#isOver = true
    this.#onClosed()
  }

  #take(hello: HandoverHello, head: Head & { readonly kind: 'offer' }, bytes: Buffer): void {
    const { number, envelopeBytes } = head
    const body = bytes.subarray(envelopeBytes)
    const offer = { number, envelope: bytes.subarray(0, envelopeBytes), body: [body], bodyBytes: body.length }
    this.#taker.take(hello, offer, (answer) => this.#write({ kind: 'answer', number, answer }))
  }

  #write(head: Head): void {
    if (!this.#isOver) this.#connection.write(frame(head))
  }
}

export function simulatedDoors(world: World, deafness: Deafness): HandoverDoors {
  const dial: DialHandover = (to, hello) => new SourceEnd(world, to, hello, deafness)
  const listen: ListenHandover = async (at, taker) => {
    const open = new Set<Connection>()
    const listener = await world.network.listen(at, (connection) => {
      open.add(connection)
      return new TargetEnd(connection, taker, () => open.delete(connection))
    })
    return {
      close: async () => {
        for (const connection of [...open]) connection.destroy()
        await listener.close()
      },
    }
  }
  return { dial, listen }
}
