/**
 * What a run proves, from the outside ledger alone.
 *
 * Lost: acknowledged, but did not arrive at every recipient. Damaged: arrived with other bytes than were sent.
 * Duplicate: arrived twice at one recipient. One window allows that (RFC 1047): the next hop had taken the message and the
 * instance died before it had recorded so. A duplicate is explained only by a queue process that died before the second
 * arrival, at most `readLagMs` before and no later than `markWindowMs` after the first. Stray: arrived without having been sent.
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
  const acked = [...ledger.messages.values()].filter((message) => message.ackedAt !== undefined)
  const lost = acked.flatMap((message) =>
    message.recipients
      .map((recipient) => deliveryKey(message.token, recipient))
      .filter((delivery) => !byDelivery.has(delivery)),
  )
  const stray: string[] = []
  const damaged: string[] = []
  const unexplained: string[] = []
  let duplicates = 0
  for (const [delivery, arrivals] of byDelivery) {
    const message = ledger.messages.get((arrivals[0] as Arrival).token)
    if (message === undefined) stray.push(delivery)
    else if (arrivals.some((arrival) => arrival.hash !== message.hash)) damaged.push(delivery)
    for (let index = 1; index < arrivals.length; index++) {
      duplicates++
      const [first, second] = [arrivals[index - 1] as Arrival, arrivals[index] as Arrival]
      if (!ledger.incidents.some((incident) => explains(incident, first, second))) unexplained.push(delivery)
    }
  }
  const counts = { sent: ledger.messages.size, acked: acked.length, arrived: byDelivery.size }
  return { ...counts, lost, damaged, stray, duplicates, unexplained }
}

export function holds(verdict: Verdict): boolean {
  const faults = [verdict.lost, verdict.damaged, verdict.stray, verdict.unexplained]
  return faults.every((list) => list.length === 0)
}

export function deliveryKey(token: string, recipient: string): string {
  return `${token} ${recipient}`
}

/**
 * An edge keeps no mail and delivers none, nor does control or the parent: their deaths make no second copy of what was
 * acknowledged once.
 */
function explains(incident: Incident, first: Arrival, second: Arrival): boolean {
  if (/^(?:[ec]\d+|up)$/.test(incident.target)) return false
  const sinceFirst = incident.at - first.at
  return sinceFirst >= -readLagMs && sinceFirst <= markWindowMs && incident.at <= second.at
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
