/**
 * A well-behaved SMTP client as RFC 5321 4.5.4.1 wants it: keeps a letter until it is told 250 or 5yz, and tries again
 * after 4yz, a lost connection or silence. What it was told goes into the truth.
 */

import { SmtpClientSession } from '../../services/protocol/smtp/client-session.ts'
import { DotWriter } from '../../services/protocol/smtp/dot-writer.ts'
import type { Address, Connection, ConnectionHandler, Timer, World } from '../../services/runtime/world.ts'
import type { SeededRandom } from './seeded-random.ts'
import type { Letter, LetterAttempt } from './truth.ts'
import type { VirtualTime } from './virtual-time.ts'

/** Silence after which the client gives a connection up. */
const patienceMs = 300_000

export class SendingClient {
  readonly #world: World
  readonly #time: VirtualTime
  readonly #random: SeededRandom
  readonly #servers: readonly Address[]
  readonly #waiting: Letter[] = []
  /** Letters not yet told 250 or 5yz. */
  unfinished = 0
  #sessions = 0

  constructor(world: World, time: VirtualTime, random: SeededRandom, servers: readonly Address[]) {
    this.#world = world
    this.#time = time
    this.#random = random
    this.#servers = servers
  }

  send(letter: Letter): void {
    this.unfinished++
    this.#offer(letter)
  }

  /** The next letter to send on an open connection. */
  take(): Letter | undefined {
    return this.#waiting.shift()
  }

  begin(letter: Letter): LetterAttempt {
    const attempt: LetterAttempt = { atMs: this.#time.elapsedMs, outcome: 'running' }
    letter.attempts.push(attempt)
    return attempt
  }

  end(letter: Letter, attempt: LetterAttempt, outcome: 'acked' | 'refused' | 'deferred'): void {
    attempt.outcome = outcome
    if (outcome === 'deferred') {
      this.again(letter)
      return
    }
    this.unfinished--
    if (outcome === 'acked') letter.ackedAtMs = this.#time.elapsedMs
    else letter.refusedAtMs = this.#time.elapsedMs
  }

  again(letter: Letter): void {
    this.#world.clock.after(this.#random.between(2_000, 60_000), () => this.#offer(letter))
  }

  sessionEnded(): void {
    this.#sessions--
    if (this.#waiting.length > 0) this.#open()
  }

  #offer(letter: Letter): void {
    this.#waiting.push(letter)
    if (this.#sessions < 4) this.#open()
  }

  #open(): void {
    this.#sessions++
    const session = new SendingSession(this, this.#world)
    const server = this.#random.pick(this.#servers)
    session.connection = this.#world.network.connect({ ...server, timeoutMs: 30_000 }, session)
  }
}

class SendingSession implements ConnectionHandler {
  connection!: Connection
  readonly #client: SendingClient
  readonly #world: World
  readonly #session = new SmtpClientSession({ helloName: 'client.example', tls: 'opportunistic' })
  #patience: Timer | undefined
  #letter: Letter | undefined
  #attempt: LetterAttempt | undefined
  #isOver = false

  constructor(client: SendingClient, world: World) {
    this.#client = client
    this.#world = world
  }

  onOpen(): void {
    this.#wait()
  }

  onSecure(): void {
    this.#session.secured()
    this.#pump()
  }

  onData(chunk: Buffer): void {
    this.#wait()
    this.#session.receive(chunk)
    this.#pump()
  }

  onDrain(): void {}

  onEnd(): void {
    this.connection.end()
  }

  onClose(): void {
    this.#session.closed('connection lost')
    this.#pump()
    this.#patience?.cancel()
    if (this.#letter !== undefined) this.#finish('deferred')
    this.#client.sessionEnded()
  }

  #wait(): void {
    this.#patience?.cancel()
    this.#patience = this.#world.clock.after(patienceMs, () => this.connection.destroy())
  }

  #pump(): void {
    while (!this.#isOver) {
      const event = this.#session.next()
      if (event.kind === 'need-data') break
      if (event.kind === 'ready') this.#nextLetter()
      else if (event.kind === 'send-body') this.#sendBody()
      else if (event.kind === 'starttls') {
        this.#flush()
        this.connection.startTls({ serverName: 'edge', verify: false })
      } else if (event.kind === 'outcomes') {
        const failures = event.outcomes.filter((outcome) => outcome.kind === 'failed')
        const isPermanent = failures.some(({ failure }) => failure.class === 'permanent')
        this.#finish(failures.length === 0 ? 'acked' : isPermanent ? 'refused' : 'deferred')
      } else {
        this.#isOver = true
        this.connection.destroy()
      }
    }
    this.#flush()
  }

  #flush(): void {
    const output = this.#session.takeOutput()
    if (output !== '') this.connection.write(output)
  }

  #nextLetter(): void {
    const letter = this.#client.take()
    if (letter === undefined) {
      this.#session.quit()
      this.#flush()
      this.connection.end()
      return
    }
    this.#letter = letter
    this.#attempt = this.#client.begin(letter)
    const { sender, recipients, text } = letter
    this.#session.start({ sender, recipients, bytes: text.length, utf8: false, eightBit: false })
  }

  #sendBody(): void {
    this.#flush()
    const writer = new DotWriter('crlf')
    const body = writer.write(this.#letter?.text ?? Buffer.alloc(0))
    const end = writer.finish()
    if (body === 'bare' || end === 'bare') throw new Error('a letter has a bare line end')
    this.connection.write(body)
    this.connection.write(end)
    this.#session.bodySent()
  }

  #finish(outcome: 'acked' | 'refused' | 'deferred'): void {
    const letter = this.#letter
    const attempt = this.#attempt
    this.#letter = undefined
    if (letter !== undefined && attempt !== undefined) this.#client.end(letter, attempt, outcome)
  }
}
