/**
 * A client that sends one letter after the other to a cluster's edge, each with a number of its own, and keeps what it was told:
 * the outside view of what the cluster owes. Letters arrive in a Maildir, where they are counted by number.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MailClient } from '../support/mail-client.ts'

export interface LettersVerdict {
  readonly accepted: number
  readonly temporary: number
  /** The connection ended before the answer: nobody was told anything. */
  readonly unanswered: number
  /** Replies that are neither 250 nor 4xx. */
  readonly wrong: readonly string[]
  /** Numbers of letters that were accepted and are nowhere. */
  readonly lost: readonly number[]
  readonly duplicates: number
}

const pauseMs = 20
const arrivalTries = 600

export class Letters {
  readonly #port: number
  readonly #state: string
  readonly #accepted = new Set<number>()
  readonly #wrong: string[] = []
  #number = 0
  #temporary = 0
  #unanswered = 0
  #stopped = false
  readonly #running: Promise<void>

  constructor(port: number, state: string) {
    this.#port = port
    this.#state = state
    this.#running = this.#send()
  }

  get accepted(): number {
    return this.#accepted.size
  }

  /** Resolves when `more` letters have been accepted from now on. */
  async take(more: number, patienceMs = 60_000): Promise<void> {
    const wanted = this.accepted + more
    for (let waitedMs = 0; this.accepted < wanted; waitedMs += pauseMs) {
      if (waitedMs > patienceMs) throw new Error(`only ${this.accepted} of ${wanted} letters were accepted`)
      await pause()
    }
  }

  /** Sends no more, whatever has become of the run. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
  }

  /** Sends no more, and waits until everything accepted has arrived, or will not. */
  async end(tries = arrivalTries): Promise<LettersVerdict> {
    await this.stop()
    let arrived = this.#arrived()
    const missing = () => [...this.#accepted].filter((number) => !arrived.has(number))
    for (let left = tries; left > 0 && missing().length > 0; left--) {
      await pause(100)
      arrived = this.#arrived()
    }
    const duplicates = [...arrived.values()].filter((count) => count > 1).length
    const counts = { accepted: this.accepted, temporary: this.#temporary, unanswered: this.#unanswered, duplicates }
    return { ...counts, wrong: this.#wrong, lost: missing() }
  }

  async #send(): Promise<void> {
    let client: MailClient | undefined
    while (!this.#stopped) {
      const number = ++this.#number
      try {
        client ??= await MailClient.connect(this.#port)
        const data = Buffer.from(`From: a@example.net\r\nSubject: letter ${number};\r\n\r\nbody of ${number}\r\n`)
        const { code, text } = await client.send({ sender: 'a@example.net', recipients: ['box@example.com'], data })
        if (code === 250) this.#accepted.add(number)
        else if (code >= 400 && code < 500) this.#temporary++
        else this.#wrong.push(`${code} ${text}`)
      } catch {
        this.#unanswered++
        client?.destroy()
        client = undefined
      }
      await pause()
    }
    client?.destroy()
  }

  #arrived(): ReadonlyMap<number, number> {
    const counts = new Map<number, number>()
    for (const folder of ['new', 'cur']) {
      const directory = join(this.#state, 'mailboxes/example.com/box', folder)
      for (const name of existsSync(directory) ? readdirSync(directory) : []) {
        const number = Number(/Subject: letter (\d+);/.exec(readFileSync(join(directory, name), 'utf8'))?.[1])
        counts.set(number, (counts.get(number) ?? 0) + 1)
      }
    }
    return counts
  }
}

function pause(delayMs = pauseMs): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs))
}
