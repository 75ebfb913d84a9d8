/**
 * What the outside world knows about each message: when it was sent, whether it was acknowledged, where it arrived.
 *
 * Kept outside the file system under test and apart from the software's own records. A message is its token; a delivery is
 * a token at one recipient. The same lines are appended to a file, so that a run can be read afterwards.
 */

import { createHash } from 'node:crypto'
import { appendFileSync } from 'node:fs'

export interface OutsideMessage {
  readonly token: string
  readonly recipients: readonly string[]
  /** Of the text after the header, lines ending in CR LF. */
  readonly hash: string
  readonly sentAt: number
  ackedAt: number | undefined
}

export interface Arrival {
  readonly token: string
  readonly recipient: string
  readonly hash: string
  readonly at: number
}

/**
 * `orphan`: a child that ended because its parent had been killed. `cut`: of the power. `unanswered`: the next hop had taken a copy, and its
 * answer was lost; `at` is the copy's. `sent-again`: a client did not get its answer.
 */
export type IncidentKind = 'kill' | 'orphan' | 'cut' | 'unanswered' | 'sent-again'

export interface Incident {
  readonly kind: IncidentKind
  /** Instance id, `up` for the parent, `all` for a power cut; of a lost answer the message's token. */
  readonly target: string
  readonly at: number
}

export class OutsideLedger {
  readonly messages = new Map<string, OutsideMessage>()
  readonly arrivals: Arrival[] = []
  readonly incidents: Incident[] = []
  readonly #file: string

  constructor(file: string) {
    this.#file = file
  }

  sent(message: Omit<OutsideMessage, 'ackedAt'>): void {
    this.messages.set(message.token, { ...message, ackedAt: undefined })
    this.#append('sent', message.token, message.recipients.join(' '))
  }

  acked(token: string, at: number): void {
    const message = this.messages.get(token)
    if (message === undefined) throw new Error(`acknowledged but never sent: ${token}`)
    message.ackedAt = at
    this.#append('acked', token)
  }

  arrived(arrival: Arrival): void {
    this.arrivals.push(arrival)
    this.#append('arrived', arrival.token, arrival.recipient)
  }

  incident(incident: Incident): void {
    this.incidents.push(incident)
    this.#append(incident.kind, incident.target)
  }

  #append(...words: string[]): void {
    appendFileSync(this.#file, `${Date.now()} ${words.join(' ')}\n`)
  }
}

/** Token and hash of a message as it arrived, in either line form; undefined for mail that is not ours. */
export function readArrival(data: Buffer): { token: string; hash: string } | undefined {
  const text = data.toString('latin1').replace(/\r?\n/g, '\r\n')
  const end = text.indexOf('\r\n\r\n')
  const token = /^X-Token: (\S+)\r$/m.exec(text.slice(0, end + 2))?.[1]
  return token === undefined ? undefined : { token, hash: hashOf(text.slice(end + 4)) }
}

export function hashOf(text: string): string {
  return createHash('sha256').update(text, 'latin1').digest('hex')
}
