/**
 * What a run proves, from the outside ledger alone.
 *
 * Lost: acknowledged, but did not arrive at every recipient. Damaged: arrived with other bytes than were sent. Stray: arrived without
 * having been sent. Duplicate: arrived twice at one recipient, which is explained by one of three, and by nothing else:
 *   the next hop had taken the message and the instance died before it had recorded so (RFC 1047): a queue process died before the second
 *     arrival, at most `readLagMs` before and no later than `markWindowMs` after the first;
 *   the next hop's answer to the first copy was lost;
 *   the client's answer was lost, and it sent the message again: that explains one more copy for each time.
 */

import type { Arrival, Incident, OutsideLedger } from './outside-ledger.ts'

export interface Verdict {
  readonly sent: number
  readonly acked: number
  readonly arrived: number
  readonly lost: readonly string[]
  readonly damaged: readonly string[]
  readonly stray: readonly string[]
  readonly duplicates: number
  /** Those with a reason, and the reason. */
  readonly explained: readonly string[]
  readonly unexplained: readonly string[]
}

/** Generous: a loaded machine may take this long between the next hop's reply and the durable mark. */
export const markWindowMs = 3000

/**
 * What a process wrote before it died is read by the next hop a little later, and has that later time. Shorter than a process
 * takes to be started again, so that no copy made by its next life is excused.
 */
export const readLagMs = 250

export function judge(ledger: OutsideLedger): Verdict {
  const byDelivery = groupArrivals(ledger.arrivals)
  const incidents = sortIncidents(ledger.incidents)
  const acked = [...ledger.messages.values()].filter((message) => message.ackedAt !== undefined)
  const lost = acked.flatMap((message) =>
    message.recipients
      .map((recipient) => deliveryKey(message.token, recipient))
      .filter((delivery) => !byDelivery.has(delivery)),
  )
  const stray: string[] = []
  const damaged: string[] = []
  const explained: string[] = []
  const unexplained: string[] = []
  for (const [delivery, arrivals] of byDelivery) {
    const message = ledger.messages.get((arrivals[0] as Arrival).token)
    if (message === undefined) stray.push(delivery)
    else if (arrivals.some((arrival) => arrival.hash !== message.hash)) damaged.push(delivery)
    for (const reason of reasonsFor(arrivals, incidents)) {
      if (reason === undefined) unexplained.push(delivery)
      else explained.push(`${delivery}: ${reason}`)
    }
  }
  const counts = { sent: ledger.messages.size, acked: acked.length, arrived: byDelivery.size }
  const duplicates = explained.length + unexplained.length
  return { ...counts, lost, damaged, stray, duplicates, explained, unexplained }
}

export function holds(verdict: Verdict): boolean {
  const faults = [verdict.lost, verdict.damaged, verdict.stray, verdict.unexplained]
  return faults.every((list) => list.length === 0)
}

export function deliveryKey(token: string, recipient: string): string {
  return `${token} ${recipient}`
}

interface SortedIncidents {
  readonly deaths: readonly Incident[]
  /** By token. */
  readonly unanswered: ReadonlyMap<string, readonly Incident[]>
  readonly sentAgain: ReadonlyMap<string, readonly Incident[]>
}

function sortIncidents(incidents: readonly Incident[]): SortedIncidents {
  const ofKind = (kind: Incident['kind']) => incidents.filter((incident) => incident.kind === kind)
  const byToken = (kind: Incident['kind']) => Map.groupBy(ofKind(kind), ({ target }) => target)
  const deaths = incidents.filter((incident) => mayCostCopies(incident))
  return { deaths, unanswered: byToken('unanswered'), sentAgain: byToken('sent-again') }
}

/**
 * An edge keeps no mail and delivers none, nor does control or the parent: their deaths make no second copy of what was
 * acknowledged once.
 */
function mayCostCopies({ kind, target }: Incident): boolean {
  return kind !== 'unanswered' && kind !== 'sent-again' && !/^(?:[ec]\d+|up)$/.test(target)
}

/** One for each copy of a delivery after the first, in order. */
function reasonsFor(arrivals: readonly Arrival[], incidents: SortedIncidents): readonly (string | undefined)[] {
  const token = (arrivals[0] as Arrival).token
  const again = [...(incidents.sentAgain.get(token) ?? [])]
  const unanswered = incidents.unanswered.get(token) ?? []
  return arrivals.slice(1).map((second, index) => {
    const first = arrivals[index] as Arrival
    if (unanswered.some(({ at }) => at === first.at)) return 'the next hop’s answer to the copy before was lost'
    const death = incidents.deaths.find(({ at }) => isDeathInWindow(at, first.at, second.at))
    if (death !== undefined) return `${deathText(death, first)} (RFC 1047)`
    if (again[0] === undefined || again[0].at > second.at) return undefined
    again.shift()
    return 'the client’s answer was lost, and it sent the message again'
  })
}

/** A death a little before what the next hop read is that of a process that had written it. */
function deathText({ kind, target, at }: Incident, first: Arrival): string {
  const when = at < first.at ? `${first.at - at} ms before` : `${at - first.at} ms after`
  return `${target} ${kind === 'orphan' ? 'had ended with its parent' : 'died'} ${when} the copy before was there`
}

/** All in milliseconds since 1970: the death of a queue process, and the arrivals of a copy and of the next one. */
export function isDeathInWindow(at: number, first: number, second: number): boolean {
  const sinceFirst = at - first
  return sinceFirst >= -readLagMs && sinceFirst <= markWindowMs && at <= second
}

function groupArrivals(arrivals: readonly Arrival[]): Map<string, Arrival[]> {
  const groups = new Map<string, Arrival[]>()
  for (const arrival of arrivals) {
    const key = deliveryKey(arrival.token, arrival.recipient)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [arrival])
    else group.push(arrival)
  }
  for (const group of groups.values()) group.sort((a, b) => a.at - b.at)
  return groups
}
