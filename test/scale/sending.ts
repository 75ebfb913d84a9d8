/**
 * Mail for a scaling run, by several SMTP clients: a number of messages as fast as they are taken, or a load that goes on until it is
 * stopped. Nobody retries; what became of a message without a reply is for the verdict to find out. Only where the fuse says that a 250 is
 * lost, on its last inch, the client goes away and sends the message again, as a client does: the edge said it, so it is owed all the same.
 *
 * The outside ledger learns of a message before it is sent and of its 250 after that was read; the id of the 250 is kept here, because the
 * cluster's own records speak of ids and the ledger of tokens.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { bodyOf, Seeded } from '../crash/load.ts'
import { hashOf, type OutsideLedger } from '../crash/outside-ledger.ts'
import { MailClient, type OutgoingMail } from '../support/mail-client.ts'
import type { Fuse } from './fuse.ts'
import { addressOf, type Kind, recipientsFor, sender } from './letters.ts'

const clientPauseAfterBreakMs = 30

export class Sending {
  readonly #port: number
  readonly #ledger: OutsideLedger
  readonly #run: string
  readonly #fuse: Fuse
  /** Tokens by message id. */
  readonly tokens = new Map<string, string>()
  #count = 0
  #working: Promise<void>[] = []
  #stopped = false

  constructor(port: number, ledger: OutsideLedger, seed: number, fuse: Fuse) {
    this.#port = port
    this.#ledger = ledger
    this.#run = `${process.pid}-${seed}`
    this.#fuse = fuse
  }

  /** `messages` small ones to `kind`; resolves when each has had its reply or lost its connection. */
  async fill(messages: number, kind: Kind, clients: number): Promise<void> {
    let left = messages
    const work = async (seed: number): Promise<void> => {
      const random = new Seeded(seed)
      while (left > 0) {
        try {
          const client = await MailClient.connect(this.#port)
          try {
            while (left-- > 0) await this.#message(client, [kind], `${random.below(1_000_000)}\r\n`)
          } finally {
            client.destroy()
          }
        } catch {
          await sleep(clientPauseAfterBreakMs)
        }
      }
    }
    await Promise.all(Array.from({ length: clients }, (_, index) => work(index + 1)))
  }

  start(clients: number, pauseMs: number, seed: number): void {
    this.#stopped = false
    this.#working = Array.from({ length: clients }, (_, index) => this.#client(new Seeded(seed + index), pauseMs))
  }

  /** Resolves when the last client has had its last reply. */
  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#working)
  }

  async #client(random: Seeded, pauseMs: number): Promise<void> {
    while (!this.#stopped) {
      try {
        const client = await MailClient.connect(this.#port)
        try {
          while (!this.#stopped) {
            await this.#message(client, recipientsFor(random), bodyOf(random))
            await sleep(pauseMs)
          }
        } finally {
          client.destroy()
        }
      } catch {
        await sleep(clientPauseAfterBreakMs)
      }
    }
  }

  async #message(client: MailClient, kinds: readonly Kind[], body: string): Promise<void> {
    const token = `${this.#run}-${++this.#count}`
    const recipients = kinds.map(addressOf)
    const header = `From: <${sender}>\r\nTo: <${recipients[0]}>\r\nX-Token: ${token}\r\nSubject: load\r\n\r\n`
    this.#ledger.sent({ token, recipients, hash: hashOf(body), sentAt: Date.now() })
    const mail = { sender, recipients, data: Buffer.from(header + body, 'latin1') }
    if (!(await this.#isAcked(client, mail, token)) || !this.#fuse.blows(1)) return
    client.destroy()
    this.#ledger.incident({ kind: 'sent-again', target: token, at: Date.now() })
    const next = await MailClient.connect(this.#port)
    try {
      await this.#isAcked(next, mail, token)
    } finally {
      next.destroy()
    }
    throw new Error('the connection is gone')
  }

  async #isAcked(client: MailClient, mail: OutgoingMail, token: string): Promise<boolean> {
    const reply = await client.send(mail)
    if (reply.code !== 250) return false
    const id = / qp ([0-9A-Z]{26})\b/.exec(reply.text)?.[1]
    if (id === undefined) throw new Error(`a 250 without an id: ${reply.text}`)
    this.tokens.set(id, token)
    this.#ledger.acked(token, Date.now())
    return true
  }
}
