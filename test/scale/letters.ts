/**
 * The mail of a scaling run, and what is to become of each kind: the local part of the recipient tells the next hop what to do, and the
 * verdict what to look for.
 *
 *   take    is taken at once; arrives
 *   stall   is taken after a while, so that something can die meanwhile; arrives
 *   reject  is refused for good; its bounce comes home, which counts as its arrival
 *   defer   is put off as long as the run lasts; stays queued, with its due time and attempts
 */

import type { Seeded } from '../crash/load.ts'

export type Kind = 'take' | 'stall' | 'reject' | 'defer'

export const sender = 'box@example.com'
const domain = 'customer1.example'

export function addressOf(kind: Kind): string {
  return `${kind}@${domain}`
}

export function kindOf(address: string): Kind | undefined {
  const [local] = address.split('@')
  return local === 'take' || local === 'stall' || local === 'reject' || local === 'defer' ? local : undefined
}

/** The next hop's word on a recipient; undefined where it takes it. */
export function refusalOf(address: string): string | undefined {
  const kind = kindOf(address)
  if (kind === 'defer') return '451 4.3.0 not today'
  return kind === 'reject' ? '550 5.1.1 nobody of that name' : undefined
}

/** Of every ten messages of the load; two have more than one recipient. */
export function recipientsFor(random: Seeded): readonly Kind[] {
  const draws: readonly (readonly Kind[])[] = [
    ...[['take'], ['take'], ['take'], ['stall'], ['reject']],
    ...[['defer'], ['defer'], ['defer'], ['take', 'defer'], ['take', 'reject', 'defer']],
  ] as readonly (readonly Kind[])[]
  return draws[random.below(draws.length)] as readonly Kind[]
}
