/** One end of a hand-over without its sockets: a journal in a directory, with a taker, manifests and a layout that can be changed. */

import assert from 'node:assert/strict'
import type { HandoverAnswer, HandoverHello, HandoverOffer } from '../../../services/contract/handover.ts'
import type { DrainPlan, Layout, Standing } from '../../../services/contract/layout.ts'
import type { LedgerEvent } from '../../../services/contract/ledger.ts'
import { envelopeOf } from '../../../services/queue/handover/envelope.ts'
import { Manifests } from '../../../services/queue/handover/manifests.ts'
import { Taker } from '../../../services/queue/handover/taker.ts'
import { IdIndex } from '../../../services/queue/id-index.ts'
import type { JournalRecord } from '../../../services/queue/journal/record.ts'
import { JournalStore } from '../../../services/queue/journal/store.ts'
import { type LiveMessage, LiveMessages } from '../../../services/queue/live-messages.ts'
import { systemWorld } from '../../../services/runtime/system-world.ts'
import type { World } from '../../../services/runtime/world.ts'
import { layoutOf, shippedConf } from '../../support/shipped-layout.ts'

export const silent = { debug() {}, info() {}, warn() {}, error() {} }
export const planId = '01JDABCDEFGH0123456789P2AN'
export const messageId = '01JDABCDEFGH0123456789ABCD'

const pair = layoutOf(shippedConf)

export const plan: DrainPlan = {
  ...{ id: planId, pool: 'CUSTOMER_1', from: 2, to: 1, leaving: ['02'], targets: ['01'], state: 'running' },
  ...{ force: false, keep: false, by: 'test', reason: 'test', startedAt: 1, cordonEpoch: 2 },
}

/** Instance 02 of the shipped layout leaves, 01 takes its mail. */
export function drainLayout(given: { standing?: Standing; plans?: readonly DrainPlan[]; epoch?: number } = {}): Layout {
  const { standing = 'draining', plans = [plan], epoch = 3 } = given
  const first = pair.instances.find(({ id }) => id === '01')
  assert.ok(first)
  const second = { ...first, id: '02', number: 2, port: first.port + 1, handoverPort: first.handoverPort + 1 }
  const others = pair.instances.filter(({ id }) => id !== '02')
  const leaving = { ...second, home: 'instances/02', standing }
  return { ...pair, epoch, plans, instances: [...others, leaving] }
}

export const hello: HandoverHello = {
  ...{ version: 1, cluster: pair.cluster, plan: planId, source: '02', target: '01', epoch: 3 },
}

export class Place {
  readonly live = new LiveMessages()
  readonly ids = new IdIndex()
  readonly ledger: LedgerEvent[] = []
  readonly taken: LiveMessage[] = []
  readonly store: JournalStore
  readonly manifests: Manifests
  readonly taker: Taker
  layout = drainLayout()
  refusing: string | undefined

  constructor(home: string, instance: string, world: World = systemWorld(silent)) {
    const onFatal = (error: Error): void => assert.fail(error)
    this.store = new JournalStore(world, `${home}/journal`, { live: this.live, ids: this.ids, onFatal })
    this.manifests = new Manifests(world, `${home}/handover`, { instance, onFatal })
    this.taker = new Taker(world, {
      ...{ instance, store: this.store, ids: this.ids, manifests: this.manifests },
      layout: () => this.layout,
      ledger: { record: (event) => this.ledger.push(event) },
      refusing: () => this.refusing,
      onTaken: (message) => this.taken.push(message),
    })
  }

  append(record: JournalRecord, body = Buffer.alloc(0)): Promise<LiveMessage | undefined> {
    return new Promise((resolve, reject) => {
      this.store.append(record, body.length === 0 ? [] : [body], body.length, (error, message) =>
        error === undefined ? resolve(message) : reject(error),
      )
    })
  }

  offer(offer: HandoverOffer, by: HandoverHello = hello): Promise<HandoverAnswer> {
    return new Promise((resolve) => this.taker.take(by, offer, resolve))
  }

  async close(): Promise<void> {
    await this.manifests.close()
    await this.store.close()
  }
}

export function offerOf(message: LiveMessage, body: Buffer, instance = '02'): HandoverOffer {
  return { number: message.number, envelope: envelopeOf(message, instance), body: [body], bodyBytes: body.length }
}
