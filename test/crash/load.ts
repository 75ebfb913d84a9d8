/**
 * Mail that keeps coming: a few SMTP clients, each sending one message after another, never retrying.
 *
 * Most messages go to the next hop, some to a Maildir, some to both, so that transactions are split by pool. Sizes and the
 * text itself vary from a seed. A connection that breaks leaves its message unacknowledged, whatever became of it.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { MailClient } from '../support/mail-client.ts'
import { hashOf, type OutsideLedger } from './outside-ledger.ts'

export const remoteRecipient = 'sink@customer1.example'
export const localRecipient = 'box@example.com'

export interface LoadOptions {
  readonly port: number
  readonly clients: number
  /** Pause of each client between two messages. */
  readonly pauseMs: number
  readonly seed: number
}

/** Small linear congruential generator: the same seed sends the same mail. */
export class Seeded {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** A whole number in [0, limit). */
  below(limit: number): number {
    this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((this.#state / 2 ** 32) * limit)
  }
}

export class Load {
  readonly #options: LoadOptions
  readonly #ledger: OutsideLedger
  readonly #run: string
  readonly #working: Promise<void>[] = []
  #stopped = false
  #count = 0

  constructor(options: LoadOptions, ledger: OutsideLedger) {
    this.#options = options
    this.#ledger = ledger
    this.#run = `${process.pid}-${options.seed}-${ledger.incidents.length}`
  }

  start(): void {
    for (let index = 0; index < this.#options.clients; index++) {
      this.#working.push(this.#client(new Seeded(this.#options.seed + index)))
    }
  }

  /** Resolves when the last client has had its last reply. */
  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#working)
  }

  async #client(random: Seeded): Promise<void> {
    while (!this.#stopped) {
      try {
        await this.#connection(random)
      } catch {
        await sleep(30)
      }
    }
  }

  async #connection(random: Seeded): Promise<void> {
    const client = await MailClient.connect(this.#options.port)
    try {
      while (!this.#stopped) {
        await this.#message(client, random)
        await sleep(this.#options.pauseMs)
      }
    } finally {
      client.destroy()
    }
  }

  async #message(client: MailClient, random: Seeded): Promise<void> {
    const token = `${this.#run}-${++this.#count}`
    const recipients = recipientsFor(random.below(10))
    const body = bodyOf(random)
    const header = `From: <load@example.net>\r\nTo: <${recipients[0]}>\r\nX-Token: ${token}\r\nSubject: load\r\n\r\n`
    this.#ledger.sent({ token, recipients, hash: hashOf(body), sentAt: Date.now() })
    const data = Buffer.from(header + body, 'latin1')
    const reply = await client.send({ sender: 'load@example.net', recipients, data })
    if (reply.code === 250) this.#ledger.acked(token, Date.now())
  }
}

function recipientsFor(draw: number): string[] {
  if (draw < 6) return [remoteRecipient]
  return draw < 8 ? [localRecipient] : [remoteRecipient, localRecipient]
}

/** Lines of every kind; one message in twenty is long. */
export function bodyOf(random: Seeded): string {
  const lines: string[] = []
  const count = random.below(20) === 0 ? 3000 + random.below(3000) : 1 + random.below(300)
  for (let line = 0; line < count; line++) {
    const start = ['', '.', '..', 'From ', 'x'][random.below(5)]
    lines.push(`${start}${random.below(1_000_000)} ${'abcdefghij'.repeat(random.below(7))}`)
  }
  return `${lines.join('\r\n')}\r\n`
}
