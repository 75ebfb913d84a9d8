/** The way of one message, put together from what ledgers have of it: its transaction, the bounces it names, in order of time. */

import type { LedgerEvent } from '../contract/ledger.ts'
import { transactionOf } from '../contract/transaction-id.ts'

/** A bounce has the id of its message, so that one round finds all of our own; other links end somewhere. */
const linkedTransactionsMax = 8

/** `eventsOf` gives all there is of one transaction, everywhere. */
export async function traceLedgers(
  id: string,
  eventsOf: (transaction: string) => Promise<readonly LedgerEvent[]>,
): Promise<readonly LedgerEvent[]> {
  const events: LedgerEvent[] = []
  const wanted = [transactionOf(id)]
  for (let next = 0; next < wanted.length && next < linkedTransactionsMax; next++) {
    const found = await eventsOf(wanted[next] ?? '')
    events.push(...found)
    for (const { bounce } of found) {
      const linked = bounce === undefined ? undefined : transactionOf(bounce)
      if (linked !== undefined && !wanted.includes(linked)) wanted.push(linked)
    }
  }
  return events.sort((one, other) => one.at - other.at || rankOf(one) - rankOf(other))
}

/** Within one millisecond: acceptance first, the edge's 250 next, an end last. */
function rankOf({ event }: LedgerEvent): number {
  if (event === 'accepted') return 0
  if (event === 'received') return 1
  return event === 'ended' ? 3 : 2
}
