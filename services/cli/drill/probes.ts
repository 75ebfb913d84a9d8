/**
 * Probe messages: small mail through the edge, one connection each, sent on time whether or not the ones before were answered; and whether
 * they arrived.
 *
 * Arrival is what a ledger says of every recipient. A process that was killed may have taken its last ledger lines with it, so a probe
 * that went to a Maildir of ours is looked for there as well, by the word in its subject.
 */

import fs from 'node:fs'
import path from 'node:path'
import { byteStringOf, displayText } from '../../protocol/byte-string.ts'
import { errorText } from '../../protocol/failure.ts'
import { mailDate } from '../../protocol/mail-date.ts'
import type { ClusterClient } from '../cluster-client.ts'
import { submitTargetOf } from '../edge-listener.ts'
import { traceMessage } from '../message-trace.ts'
import { composeMessage, idOfReply, SubmitConnection } from '../submit.ts'
import type { Context } from '../verb.ts'
import type { Phase, Probe, ProbeOutcome } from './drill-report.ts'

const arrivalWaitMs = 30_000
const lookAgainMs = 500
/** Of a message in a Maildir; its subject is near its beginning. */
const lookedAtBytesMax = 16_384

export interface ProbeAddresses {
  readonly from: string
  readonly to: readonly string[]
}

interface SentProbe extends Probe {
  /** In its subject, and in no other message's. */
  readonly word: string
}

export class Probes {
  readonly #context: Context
  readonly #client: ClusterClient
  readonly #addresses: ProbeAddresses
  readonly #run: string
  readonly #startedAt: number
  readonly #sending: Promise<SentProbe>[] = []
  /** Words of probes that were seen to be there: what a killed process takes along later no longer matters. */
  readonly #arrived = new Set<string>()

  constructor(context: Context, client: ClusterClient, addresses: ProbeAddresses) {
    this.#context = context
    this.#client = client
    this.#addresses = addresses
    this.#run = context.world.random.bytes(8).toString('hex')
    this.#startedAt = context.world.clock.now()
  }

  get count(): number {
    return this.#sending.length
  }

  send(phase: Phase): void {
    const word = `${this.#run}-${this.#sending.length + 1}`
    this.#sending.push(this.#send(word).then((outcome) => ({ phase, outcome, word })))
  }

  /** `count` of them, `everyMs` apart. */
  async sendMany(phase: Phase, count: number, everyMs: number): Promise<void> {
    for (let number = 0; number < count; number++) {
      this.send(phase)
      await this.#context.sleep(everyMs)
    }
  }

  /** Once every one of them has its reply. */
  sent(): Promise<readonly SentProbe[]> {
    return Promise.all(this.#sending)
  }

  /** Accepted probes that have not arrived after a while, and what is known of each. */
  async missing(): Promise<readonly { readonly id: string; readonly why: string }[]> {
    let waiting = (await this.sent()).filter(({ outcome }) => outcome.kind === 'accepted')
    for (let waitedMs = 0; ; waitedMs += lookAgainMs) {
      for (const probe of waiting) if (await this.#hasArrived(probe)) this.#arrived.add(probe.word)
      waiting = waiting.filter(({ word }) => !this.#arrived.has(word))
      if (waiting.length === 0 || waitedMs >= arrivalWaitMs) break
      await this.#context.sleep(lookAgainMs)
    }
    return Promise.all(waiting.map(async (probe) => ({ id: idOf(probe), why: await this.#whereabouts(idOf(probe)) })))
  }

  async #send(word: string): Promise<ProbeOutcome> {
    const { from, to } = this.#addresses
    const { world } = this.#context
    try {
      const connection = new SubmitConnection(world, submitTargetOf(this.#client.layout))
      const message = composeMessage({
        from,
        to,
        subject: `qmq drill ${word}`,
        date: mailDate(world.clock.now()),
        text: 'A probe of `qmq drill`: it shows that mail arrives while something is gone.',
      })
      const recipients = to.map(byteStringOf)
      const outcomes = await connection.send({ sender: byteStringOf(from), recipients, message })
      connection.quit()
      const failed = outcomes.find((outcome) => outcome.kind === 'failed')
      if (failed !== undefined) {
        const text = `${failed.failure.code} ${displayText(failed.failure.text)}`
        return { kind: failed.failure.code >= 500 ? 'permanent' : 'temporary', text }
      }
      const text = outcomes.find((outcome) => outcome.kind === 'delivered')?.text ?? ''
      const id = idOfReply(text)
      return id === undefined
        ? { kind: 'unanswered', text: `no id in "${displayText(text)}"` }
        : { kind: 'accepted', id }
    } catch (error) {
      return { kind: 'unanswered', text: errorText(error) }
    }
  }

  async #hasArrived(probe: SentProbe): Promise<boolean> {
    if (this.#arrived.has(probe.word)) return true
    const events = await traceMessage(this.#context, this.#client, idOf(probe))
    const delivered = events.filter(({ event }) => event === 'delivered').flatMap(({ recipients = [] }) => recipients)
    return this.#addresses.to.every(
      (address) => delivered.includes(byteStringOf(address)) || this.#isInMaildir(address, probe.word),
    )
  }

  #isInMaildir(address: string, word: string): boolean {
    const [, local, domain] = /^([a-z0-9._-]+)@([a-z0-9.-]+)$/.exec(address) ?? []
    if (local === undefined || domain === undefined || domain.includes('..')) return false
    const mailbox = path.join(this.#context.state, 'mailboxes', domain, local)
    return ['new', 'cur'].some((folder) => this.#isInFolder(path.join(mailbox, folder), word))
  }

  #isInFolder(folder: string, word: string): boolean {
    if (!fs.existsSync(folder)) return false
    return fs.readdirSync(folder).some((name) => {
      const file = path.join(folder, name)
      if (fs.statSync(file).mtimeMs < this.#startedAt) return false
      return headOf(file).includes(`Subject: qmq drill ${word}\n`)
    })
  }

  async #whereabouts(id: string): Promise<string> {
    const events = await traceMessage(this.#context, this.#client, id)
    const last = events.at(-1)
    if (last === undefined) return 'no ledger knows it'
    return `last ${last.event} by ${last.instance}${last.text === undefined ? '' : `: ${displayText(last.text)}`}`
  }
}

function idOf({ outcome }: Probe): string {
  return outcome.kind === 'accepted' ? outcome.id : ''
}

function headOf(file: string): string {
  const descriptor = fs.openSync(file, 'r')
  try {
    const buffer = Buffer.alloc(lookedAtBytesMax)
    return buffer.toString('latin1', 0, fs.readSync(descriptor, buffer))
  } finally {
    fs.closeSync(descriptor)
  }
}
