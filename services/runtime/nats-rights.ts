/**
 * Who may do what in NATS: the subjects each client may publish and hear, by its role. Pure; `qmq nats config` writes it into the
 * servers' configuration, where the servers keep it, whatever a client does.
 *
 * - a tier reads records and states, writes its own state, answers on its own subjects, and asks for shares of the cluster's limits;
 * - control writes records and leases besides, asks every instance, gives shares, and makes the buckets, anew where need be;
 * - `up` puts the layout there and makes the buckets, and asks nobody;
 * - an operator's command reads and asks; a viewer's reads, and asks only how things are.
 * Answers go to inboxes that nobody else may hear, and to nowhere else (`nats-exchange.ts`). Nobody may make a consumer, a stream of his
 * own, or a change that was none.
 */

import { clockKey, layoutKey, operationSubject, stateKey } from '../contract/coordination.ts'
import type { OperationName } from '../contract/operations.ts'
import { shareKeeperName } from '../contract/share.ts'
import {
  type Bucket,
  bucketOfKind,
  buckets,
  changeSubject,
  formSubjects,
  inboxOf,
  inboxRoot,
  infoSubject,
  keySubject,
  readSubject,
} from './nats-buckets.ts'

export type NatsRole = 'tier' | 'control' | 'up' | 'operator' | 'viewer'

export interface NatsRights {
  readonly publish: readonly string[]
  readonly subscribe: readonly string[]
}

const [records, states, leases] = (['record', 'state', 'lease'] as const).map(bucketOfKind) as [Bucket, Bucket, Bucket]
const sharesAsk = operationSubject(shareKeeperName, 'ask')
/** What a viewer may ask an instance. */
const harmless: readonly OperationName[] = ['status', 'audit']

/** `client`: an instance's id, `up`, `operator`, `viewer`. */
export function rightsOf(role: NatsRole, client: string): NatsRights {
  const reads = role === 'tier' || role === 'up' ? [records, states] : [records, states, leases]
  return {
    publish: [
      ...reads.flatMap((bucket) => [infoSubject(bucket), readSubject(bucket)]),
      ...[...writesOf(role, client), ...asksOf(role, client), ...answersOf(role)],
    ].toSorted(),
    subscribe: [
      `${inboxOf(client)}.>`,
      ...reads.map((bucket) => changeSubject(bucket)),
      ...(role === 'tier' || role === 'control' ? [operationSubject(client, '*')] : []),
      ...(role === 'control' ? [sharesAsk] : []),
    ].toSorted(),
  }
}

function writesOf(role: NatsRole, client: string): readonly string[] {
  const own = [keySubject(stateKey(client)), keySubject(clockKey(client))]
  const form = buckets.flatMap(formSubjects)
  switch (role) {
    case 'tier':
      return own
    case 'control':
      return [...own, `${records.prefix}>`, `${leases.prefix}>`, ...form]
    case 'up':
      return [keySubject(clockKey(client)), keySubject(layoutKey), ...form, infoSubject(leases)]
    case 'operator':
      return [keySubject(clockKey(client))]
    case 'viewer':
      return []
  }
}

/** Servers of one subject also tell each other there which of them is the newest. */
function asksOf(role: NatsRole, client: string): readonly string[] {
  if (role === 'viewer') return harmless.map((operation) => operationSubject('*', operation))
  if (role === 'operator' || role === 'control') return [operationSubject('*', '*')]
  return role === 'tier' ? [operationSubject(client, '*'), sharesAsk] : []
}

/** A permission to answer whoever asks would be one to publish anywhere: who may ask himself names the subject. */
function answersOf(role: NatsRole): readonly string[] {
  return role === 'tier' || role === 'control' ? [`${inboxRoot}.>`] : []
}
