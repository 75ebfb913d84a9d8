/** What `qmq status -o json` says of a cluster under test, and waiting until it says what is wanted. */

import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Standing } from '../../services/contract/layout.ts'
import type { InstanceState } from '../../services/contract/operations.ts'
import type { Finished } from '../support/child.ts'
import type { Cluster } from '../support/cluster.ts'

export interface Status {
  readonly healthy: boolean
  readonly epoch: number
  readonly instances: readonly (InstanceState & { readonly pid?: number; readonly standing?: Standing })[]
}

export interface Heard {
  readonly finished: Finished
  readonly status: Status
}

const patienceMs = 90_000
const pauseMs = 200
/** Of what `qmq up` has said last. */
const toldCharactersMax = 3000

export async function statusOf(cluster: Cluster): Promise<Heard> {
  const { finished, answer } = await cluster.ask(['status'])
  assert.ok(answer !== undefined, finished.stderr)
  return { finished, status: answer as Status }
}

/** Asks again and again. */
export async function untilStatus(cluster: Cluster, what: string, wanted: (heard: Heard) => boolean): Promise<Heard> {
  const deadline = performance.now() + patienceMs
  let heard = await statusOf(cluster)
  while (!wanted(heard) && performance.now() < deadline) {
    await sleep(pauseMs)
    heard = await statusOf(cluster)
  }
  const said = `${heard.finished.stdout}${heard.finished.stderr}`
  assert.ok(wanted(heard), `${what}: ${said}${cluster.child.stderr.slice(-toldCharactersMax)}`)
  return heard
}

export function isWell({ finished, status }: Heard): boolean {
  return finished.code === 0 && status.healthy
}

/** By id, of those that run. */
export function pidsOf({ status }: Heard): ReadonlyMap<string, number> {
  return new Map(status.instances.flatMap(({ id, pid }) => (pid === undefined ? [] : [[id, pid] as const])))
}

/** SIGKILL to every tier, then `killed`; resolves when each runs again and is ready. */
export async function restartTiers(cluster: Cluster, killed = () => {}): Promise<Heard> {
  const before = pidsOf(await statusOf(cluster))
  for (const pid of before.values()) process.kill(pid, 'SIGKILL')
  killed()
  return await untilStatus(cluster, 'every tier started again', (heard) => {
    const pids = pidsOf(heard)
    const renewed = [...before].every(([id, pid]) => pids.has(id) && pids.get(id) !== pid)
    return renewed && heard.status.instances.every(({ phase }) => phase === 'ready')
  })
}
