/**
 * Looking at the journal of an instance that is not running: audit, list, verify. Reads only; repairs nothing, and says
 * what a start would find. A home without a journal is an empty queue.
 */

import type { Audit, QueuedMessage } from '../contract/operations.ts'
import { displayText } from '../protocol/byte-string.ts'
import { errorCode } from '../protocol/failure.ts'
import type { World } from '../runtime/world.ts'
import { IdIndex } from './id-index.ts'
import { type Damage, inspect, quarantineOf, type Recovered } from './journal/recovery.ts'
import { isConserved, LiveMessages } from './live-messages.ts'

export interface Verification {
  readonly instance: string
  readonly sound: boolean
  readonly segments: number
  readonly records: number
  readonly messages: number
  /** Bytes of a last batch that was never acknowledged: not damage. */
  readonly tornBytes: number
  readonly damage: readonly Damage[]
  /** Records set aside by earlier starts. */
  readonly quarantined: number
  readonly balanced: boolean
}

export async function verifyJournal(world: World, home: string, instance: string): Promise<Verification> {
  const { recovered, live, quarantined } = await look(world, home)
  const damage = recovered?.damage ?? []
  const { balanced } = auditOf(instance, live, quarantined)
  return {
    instance,
    sound: damage.length === 0 && balanced,
    segments: recovered?.segments.length ?? 0,
    records: recovered?.recordsRead ?? 0,
    messages: live.size,
    tornBytes: recovered?.tornBytes ?? 0,
    damage,
    quarantined,
    balanced,
  }
}

export async function auditJournal(world: World, home: string, instance: string): Promise<Audit> {
  const { recovered, live, quarantined } = await look(world, home)
  // What the next start will set aside counts already; what earlier starts did set aside is found as damage again.
  return auditOf(instance, live, Math.max(quarantined, recovered?.damage.length ?? 0))
}

export async function listJournal(world: World, home: string, instance: string): Promise<readonly QueuedMessage[]> {
  const { live } = await look(world, home)
  return [...live.all()].map((message) => ({
    id: message.id,
    instance,
    sender: displayText(message.sender),
    bytes: message.location.bytes,
    birthAt: message.birthAt,
    recipients: message.recipients.map((recipient) => ({
      address: displayText(recipient.address),
      status: recipient.status === 'failed' ? 'bouncing' : recipient.status === 'pending' ? 'pending' : 'delivered',
      attempts: recipient.attempts,
      dueAt: recipient.dueAt,
      destination: '',
      lastText: recipient.failure === undefined ? '' : displayText(recipient.failure.text),
    })),
  }))
}

interface Look {
  readonly recovered: Recovered | undefined
  readonly live: LiveMessages
  readonly quarantined: number
}

async function look(world: World, home: string): Promise<Look> {
  const journal = `${home}/journal`
  const live = new LiveMessages()
  const recovered = await ifThere(inspect(world, journal, live, new IdIndex()))
  const names = (await ifThere(world.disk.list(quarantineOf(journal)))) ?? []
  return { recovered, live, quarantined: names.filter((name) => name.endsWith('.record')).length }
}

function auditOf(instance: string, live: LiveMessages, quarantined: number): Audit {
  const queued = live.countQueued()
  return { instance, ...live.totals, queued, balanced: isConserved(live.totals, queued), quarantined }
}

async function ifThere<Value>(reading: Promise<Value>): Promise<Value | undefined> {
  try {
    return await reading
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}
