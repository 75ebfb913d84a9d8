/** Small messages by SMTP at a steady rate, for as long as something else is measured: what is late is made up for, nothing is dropped. */

import { setTimeout as sleep } from 'node:timers/promises'
import { MailClient } from '../support/mail-client.ts'
import { benchRecipient, benchSender } from './smtp-load.ts'

const clients = 16
const lookAgainMs = 2

export class PacedLoad {
  accepted = 0
  /** Replies other than 250, and connections that broke. */
  refused = 0
  readonly #working: Promise<void>[]
  readonly #data: Buffer
  readonly #perSecond: number
  readonly #begun = performance.now()
  #sent = 0
  #stopped = false

  constructor(port: number, perSecond: number, bytes: number) {
    this.#perSecond = perSecond
    const header = `From: <${benchSender}>\r\nTo: <${benchRecipient}>\r\nSubject: bench\r\n\r\n`
    this.#data = Buffer.from(`${header}${`${'x'.repeat(70)}\r\n`.repeat(Math.ceil(bytes / 72))}`)
    this.#working = Array.from({ length: clients }, () => this.#client(port))
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#working)
  }

  async #client(port: number): Promise<void> {
    while (!this.#stopped) {
      try {
        const client = await MailClient.connect(port)
        try {
          while (!this.#stopped) await this.#next(client)
        } finally {
          client.destroy()
        }
      } catch {
        this.refused++
        await sleep(lookAgainMs)
      }
    }
  }

  async #next(client: MailClient): Promise<void> {
    const due = ((performance.now() - this.#begun) / 1000) * this.#perSecond
    if (this.#sent >= due) return await sleep(lookAgainMs)
    this.#sent++
    const reply = await client.send({ sender: benchSender, recipients: [benchRecipient], data: this.#data })
    if (reply.code === 250) this.accepted++
    else this.refused++
  }
}
