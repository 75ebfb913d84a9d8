/**
 * What really happened, seen from outside the cluster: what clients were told, and what arrived where.
 *
 * Nothing here asks the cluster anything. Every recipient address of a run is unique (`ok-7-0@customer1.example` is recipient 0
 * of letter 7), so that an arrival, or a bounce that names it, says exactly which promise it keeps.
 */

export interface Letter {
  readonly token: number
  readonly sender: string
  readonly recipients: readonly string[]
  readonly text: Buffer
  /** When each try began, and how it ended once it has. */
  readonly attempts: LetterAttempt[]
  /** 250 after the final dot. */
  ackedAtMs: number | undefined
  /** 5yz for the whole message. */
  refusedAtMs: number | undefined
}

export interface LetterAttempt {
  readonly atMs: number
  outcome: 'running' | 'acked' | 'refused' | 'deferred'
}

/** A message taken by a receiver outside the queues' control. */
export interface Arrival {
  readonly atMs: number
  readonly where: string
  /** Host of the instance that delivered it. */
  readonly from: string
  readonly sender: string
  readonly recipient: string
  /** The edge's transaction id, '' where none was found. */
  readonly id: string
  readonly text: string
  /** The deliverer has shown that it read our 250. */
  isConfirmed: boolean
}

export interface Crash {
  readonly atMs: number
  readonly host: string
  readonly kind: 'kill' | 'power' | 'disk'
}

/** From this instant an instance may hand over what it has tried, once its running attempts have ended. */
export interface DrainBegun {
  readonly atMs: number
  readonly host: string
}

export class Truth {
  readonly letters: Letter[] = []
  readonly arrivals: Arrival[] = []
  readonly crashes: Crash[] = []
  readonly drains: DrainBegun[] = []
  /** When the instances changed that mail may go to. */
  readonly poolChangesMs: number[] = []
  /** Kinds of faults that were applied. */
  readonly faults = new Set<string>()
  /** Ledger events by tier and name. */
  readonly events = new Map<string, number>()

  count(event: string): void {
    this.events.set(event, (this.events.get(event) ?? 0) + 1)
  }
}

const addressInText = /\b(?:ok|gone)-\d+-\d+@[a-z0-9.]+/g

/** The recipients of letters that a text names. */
export function recipientsNamed(text: string): Set<string> {
  return new Set(text.match(addressInText) ?? [])
}

const idInReceived =
  /^Received:[^\n]*\n(?:[ \t][^\n]*\n)*?[ \t][^\n]* id ([0-9A-HJKMNP-TV-Z]{26}(?:-[0-9a-z]{1,16})?);/gm

/** The oldest of our ids in a header: the edge's. */
export function transactionIn(text: string): string {
  const end = text.search(/\r?\n\r?\n/)
  const header = end < 0 ? text : text.slice(0, end + 2)
  let id = ''
  for (const match of header.matchAll(idInReceived)) id = match[1] ?? ''
  return id
}
