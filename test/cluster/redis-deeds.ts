/**
 * What is done to the server that edges share through while mail is taken: its power fails, or packets to it vanish. Each deed leaves it
 * well, and reached by every edge.
 */

import assert from 'node:assert/strict'
import { answerOf, known, reachedClient } from '../shared-state/clients.ts'
import type { NetworkHosts } from '../support/network-hosts.ts'
import type { RedisServer } from '../support/redis-server.ts'
import type { Cleanup } from '../support/temporary-directory.ts'

export interface RedisStage {
  readonly test: Cleanup
  readonly redis: RedisServer
  readonly hosts: NetworkHosts
  /** The server's address for each edge. */
  readonly ways: readonly string[]
  /** Resolves when mail was taken while things are as they are. */
  readonly meanwhile: () => Promise<void>
  /** Resolves when each edge says that it reaches the server, or that it does not. */
  readonly untilReached: (wanted: readonly boolean[]) => Promise<void>
  readonly say: (text: string) => void
}

export type RedisDeed = (stage: RedisStage) => Promise<void>

const keptForMs = 600_000
/** Fewer than a test's patience has milliseconds. */
const noted = 500

/** Remembers by itself what the server says it has kept, cuts, and looks what of it is there. `mustKeep`: all of it. */
async function powerCut(stage: RedisStage, sync: 'everysec' | 'always', mustKeep: boolean): Promise<void> {
  const { test, redis, ways, meanwhile, untilReached, say } = stage
  await redis.command(['CONFIG', 'SET', 'appendfsync', sync])
  await meanwhile()
  const client = await reachedClient(test, redis.port, { access: async () => ({ host: redis.host, port: redis.port }) })
  const acknowledged: string[] = []
  for (let number = 0; number < noted; number++) {
    const answer = await answerOf<true>((answered) => client.keepContents([`${sync} ${number}`], keptForMs, answered))
    if (answer.kind === 'known') acknowledged.push(`${sync} ${number}`)
  }
  client.close()
  assert.equal(acknowledged.length, noted)
  await redis.cutPower()
  await untilReached(ways.map(() => false))
  await meanwhile()
  await redis.powerOn()
  await untilReached(ways.map(() => true))
  const after = await reachedClient(test, redis.port, { access: async () => ({ host: redis.host, port: redis.port }) })
  let kept = 0
  for (const content of acknowledged) {
    kept += (await known<ReadonlySet<string>>((answered) => after.takeContents([content], answered))).size
  }
  after.close()
  say(`appendfsync ${sync}: ${kept} of ${acknowledged.length} acknowledged contents outlived the cut`)
  if (mustKeep) assert.equal(kept, acknowledged.length)
  await meanwhile()
}

/** The first edge alone. */
async function partitionOne(stage: RedisStage): Promise<void> {
  await partition(stage, stage.ways.slice(0, 1))
}

async function partition(stage: RedisStage, cut: readonly string[]): Promise<void> {
  const { hosts, ways, meanwhile, untilReached } = stage
  hosts.cutOff(cut)
  await untilReached(ways.map((way) => !cut.includes(way)))
  await meanwhile()
  hosts.rejoin(cut)
  await untilReached(ways.map(() => true))
  await meanwhile()
}

export const redisDeeds: Readonly<Record<string, RedisDeed>> = {
  'power-cut-everysec': (stage) => powerCut(stage, 'everysec', false),
  'power-cut-always': (stage) => powerCut(stage, 'always', true),
  'partition-one': partitionOne,
  'partition-all': (stage) => partition(stage, stage.ways),
}
