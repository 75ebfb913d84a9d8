/**
 * Orders to a cluster under test, one instance cordoned and uncordoned in turn: an order that was answered stands, whatever becomes of
 * the store it went through, and another one takes effect.
 */

import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Cluster } from '../support/cluster.ts'
import { type Heard, isWell, statusOf, untilStatus } from './status.ts'

const instance = '02'
/** A leader that was lost is followed by another when its lease has ended, fifteen seconds later. */
const patienceMs = 60_000
const pauseMs = 200

export class Orders {
  readonly #cluster: Cluster
  /** Of the last order: the least that every tier goes by. */
  #epoch = 0
  #standing: 'active' | 'cordoned' = 'active'

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /** Resolves when every tier goes by it. */
  async give(): Promise<void> {
    const next = this.#standing === 'active' ? 'cordoned' : 'active'
    const verb = next === 'cordoned' ? 'cordon' : 'uncordon'
    const deadline = performance.now() + patienceMs
    for (;;) {
      const { finished, answer } = await this.#cluster.ask([verb, instance])
      if (finished.code === 0) {
        const { epoch } = answer as { readonly epoch: number }
        assert.ok(epoch > this.#epoch, `${verb}: epoch ${epoch} after ${this.#epoch}`)
        this.#epoch = epoch
        break
      }
      assert.ok(performance.now() < deadline, `${verb}: ${finished.stdout}${finished.stderr}`)
      await sleep(pauseMs)
    }
    this.#standing = next
    await untilStatus(this.#cluster, verb, (heard) => isWell(heard) && this.#holds(heard))
  }

  /** Rejects where the last order has been taken back. */
  async stands(): Promise<void> {
    const heard = await statusOf(this.#cluster)
    assert.ok(this.#holds(heard), `${instance} is to be ${this.#standing}: ${heard.finished.stdout}`)
  }

  #holds({ status }: Heard): boolean {
    const standing = status.instances.find(({ id }) => id === instance)?.standing
    return standing === this.#standing && status.epoch >= this.#epoch
  }
}
