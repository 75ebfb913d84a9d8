/**
 * A client that sends one letter after the other to a cluster's edge, each with a number of its own, and keeps what it was told:
 * the outside view of what the cluster owes. Letters arrive in a Maildir, where they are counted by number.
 */

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { isDeathInWindow } from '../crash/verdict.ts'
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
  /** Second copies that the death of a tier explains (RFC 1047), each told with its times. */
  readonly explained: readonly string[]
  /** Second copies that nothing explains. */
  readonly unexplained: readonly string[]
}

const pauseMs = 20
const arrivalTries = 600

export class Letters {
  readonly #port: number
  readonly #state: string
  readonly #accepted = new Set<number>()
  readonly #wrong: string[] = []
  readonly #deaths: number[] = []
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

  /** Tiers were killed, just now. */
  tiersDied(): void {
    this.#deaths.push(Date.now())
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
    const counts = { accepted: this.accepted, temporary: this.#temporary, unanswered: this.#unanswered }
    return { ...counts, wrong: this.#wrong, lost: missing(), ...this.#secondCopies(arrived) }
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

  #secondCopies(arrived: ReadonlyMap<number, readonly number[]>): Pick<LettersVerdict, 'explained' | 'unexplained'> {
    const explained: string[] = []
    const unexplained: string[] = []
    for (const [number, times] of arrived) {
      for (const [index, second] of times.slice(1).entries()) {
        const first = times[index] as number
        const death = this.#deaths.find((at) => isDeathInWindow(at, first, second))
        const text = `letter ${number}: ${second - first} ms after the copy before`
        if (death === undefined) unexplained.push(text)
        else explained.push(`${text}, tiers died ${death - first} ms after it`)
      }
    }
    return { explained, unexplained }
  }

  /** By number: when each copy was written, in order. */
  #arrived(): ReadonlyMap<number, readonly number[]> {
    const times = new Map<number, number[]>()
    for (const folder of ['new', 'cur']) {
      const directory = join(this.#state, 'mailboxes/example.com/box', folder)
      for (const name of existsSync(directory) ? readdirSync(directory) : []) {
        const file = join(directory, name)
        const number = Number(/Subject: letter (\d+);/.exec(readFileSync(file, 'utf8'))?.[1])
        times.set(number, [...(times.get(number) ?? []), Math.floor(statSync(file).mtimeMs)])
      }
    }
    for (const copies of times.values()) copies.sort((one, other) => one - other)
    return times
  }
}

function pause(delayMs = pauseMs): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs))
}
