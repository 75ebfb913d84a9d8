/**
 * A mail system beyond the cluster: takes what comes by SMTP, writes down every message it is responsible for, and can be
 * as unpleasant as real ones are.
 *
 * It is responsible from the instant it decides to say 250, whether or not anybody hears it. Its memory outlives its
 * process. Addresses that begin with `gone-` never exist.
 */

import { type Reply, reply } from '../../services/protocol/smtp/reply.ts'
import { type SmtpServerEvent, SmtpServerSession } from '../../services/protocol/smtp/server-session.ts'
import type { Connection, ConnectionHandler, World } from '../../services/runtime/world.ts'
import { type Arrival, type Truth, transactionIn } from './truth.ts'
import type { VirtualTime } from './virtual-time.ts'

export type Mood =
  | 'kind'
  /** 4yz for every recipient. */
  | 'temporary'
  /** 5yz for every recipient. */
  | 'permanent'
  /** 4yz after the final dot. */
  | 'temporary-at-end'
  /** Takes the message, then drops the connection without a word. */
  | 'silent-at-end'
  /** Drops the connection in the middle of the message. */
  | 'drops'
  /** Answers the final dot only after a long while. */
  | 'slow'

const options = {
  hostname: 'hop.example',
  limits: {
    messageBytesMax: 10_000_000,
    recipientsPerMessageMax: 100,
    commandLineBytesMax: 4096,
    textLineBytesMax: 65_536,
    messagesPerConnectionMax: 1000,
    commandsWithoutMailMax: 1000,
    errorsPerConnectionMax: 1000,
  },
  offersStartTls: true,
}

/** What a next hop in its worst mood says. */
export const wordsOfRefusal = 'not today, not ever'

const noSuchUser = reply(550, '5.1.1', 'no such user')
const refused = reply(554, '5.7.1', wordsOfRefusal)
const tryLater = reply(451, '4.3.0', 'try later')

export class NextHop {
  mood: Mood = 'kind'
  readonly name: string
  readonly #truth: Truth
  readonly #time: VirtualTime

  constructor(name: string, truth: Truth, time: VirtualTime) {
    this.name = name
    this.#truth = truth
    this.#time = time
  }

  async listen(world: World): Promise<void> {
    await world.network.listen({ host: '0.0.0.0', port: 25 }, (connection) => new HopSession(this, world, connection))
  }

  recipientReply(address: string): Reply | undefined {
    if (address.startsWith('gone-')) return noSuchUser
    if (this.mood === 'permanent') return refused
    return this.mood === 'temporary' ? tryLater : undefined
  }

  take(from: string, sender: string, recipients: readonly string[], text: string): Arrival[] {
    const id = transactionIn(text)
    const arrivals = recipients.map((recipient) => ({
      atMs: this.#time.elapsedMs,
      where: this.name,
      from,
      sender,
      recipient,
      id,
      text,
      isConfirmed: false,
    }))
    this.#truth.arrivals.push(...arrivals)
    return arrivals
  }
}

class HopSession implements ConnectionHandler {
  readonly #hop: NextHop
  readonly #world: World
  readonly #connection: Connection
  readonly #session = new SmtpServerSession(options, false)
  #sender = ''
  #recipients: string[] = []
  #text: Buffer[] = []
  #unconfirmed: Arrival[] = []
  #isOver = false

  constructor(hop: NextHop, world: World, connection: Connection) {
    this.#hop = hop
    this.#world = world
    this.#connection = connection
  }

  onOpen(): void {
    this.#session.greet(reply(220, '', 'hop.example ESMTP'))
    this.#pump()
  }

  onSecure(): void {
    this.#session.secured()
    this.#pump()
  }

  onData(chunk: Buffer): void {
    for (const arrival of this.#unconfirmed) arrival.isConfirmed = true
    this.#unconfirmed = []
    this.#session.receive(chunk)
    this.#pump()
  }

  onDrain(): void {}

  onEnd(): void {
    this.#connection.end()
  }

  onClose(): void {
    this.#isOver = true
  }

  #pump(): void {
    while (!this.#isOver) {
      const event = this.#session.next()
      if (event.kind === 'need-data') break
      if (!this.#handle(event)) break
    }
    this.#flush()
  }

  #flush(): void {
    const output = this.#session.takeOutput()
    if (output !== '' && !this.#isOver) this.#connection.write(output)
  }

  /** False where the session waits or is over. */
  #handle(event: SmtpServerEvent): boolean {
    switch (event.kind) {
      case 'mail':
        this.#sender = event.sender
        this.#recipients = []
        this.#text = []
        break
      case 'recipient':
        return this.#recipient(event.address)
      case 'body':
        this.#text.push(event.chunk)
        return this.#hop.mood === 'drops' ? this.#drop() : true
      case 'message-end':
        return this.#messageEnd()
      case 'starttls':
        this.#session.accept()
        this.#flush()
        this.#connection.startTls('server')
        return true
      case 'message-refused':
      case 'need-data':
        return true
      case 'close':
        this.#flush()
        this.#connection.end()
        return false
    }
    this.#session.accept()
    return true
  }

  #recipient(address: string): boolean {
    const answer = this.#hop.recipientReply(address)
    if (answer !== undefined) this.#session.refuse(answer)
    else {
      this.#recipients.push(address)
      this.#session.accept()
    }
    return true
  }

  #messageEnd(): boolean {
    const { mood } = this.#hop
    if (mood === 'temporary-at-end') {
      this.#session.refuse(tryLater)
      return true
    }
    const text = Buffer.concat(this.#text).toString('latin1')
    const arrivals = this.#hop.take(this.#connection.remote.host, this.#sender, this.#recipients, text)
    if (mood === 'silent-at-end') return this.#drop()
    const answer = (): void => {
      this.#session.accept()
      this.#unconfirmed = arrivals
    }
    if (mood !== 'slow') {
      answer()
      return true
    }
    this.#world.clock.after(20_000, () => {
      if (this.#isOver) return
      answer()
      this.#pump()
    })
    return false
  }

  #drop(): boolean {
    this.#isOver = true
    this.#connection.destroy()
    return false
  }
}
