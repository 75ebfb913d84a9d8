/**
 * Longer than the suite: `node test/cluster/main.ts [--rounds N] [--deeds NAME,NAME] [--server debian|current]
 * [--partitions | --power-cuts [--sync-always] | --redis]`. Prints what was done and what became of the mail; exit code 1 where some is lost,
 * came twice without a reason, or a reply was wrong. Partitions, power cuts and all that is done to Redis need root, and `ip`, loop devices, or both.
 */

import { parseArgs } from 'node:util'
import { errorText } from '../../services/protocol/failure.ts'
import { natsPrograms } from '../support/nats-server.ts'
import { NetworkHosts } from '../support/network-hosts.ts'
import { deeds, partitions, powerCuts } from './nats-deeds.ts'
import { runDeeds } from './nats-run.ts'
import { redisDeeds } from './redis-deeds.ts'
import { runRedisDeeds } from './redis-run.ts'

interface Subject {
  readonly name: string
  readonly deeds: readonly string[]
  readonly run: (names: readonly string[], say: (text: string) => void) => Promise<Report>
}

interface Report {
  readonly lost: readonly unknown[]
  readonly wrong: readonly string[]
  readonly balanced: boolean
  /** Second copies. Of runs against NATS; those against Redis judge theirs by themselves. */
  readonly unexplained?: readonly string[]
}

const options = {
  rounds: { type: 'string' },
  deeds: { type: 'string' },
  server: { type: 'string' },
  partitions: { type: 'boolean' },
  'power-cuts': { type: 'boolean' },
  'sync-always': { type: 'boolean' },
  redis: { type: 'boolean' },
} as const
const { values } = parseArgs({ options })
const rounds = Number(values.rounds ?? 1)
const cleanups: (() => unknown)[] = []
const test = {
  after: (cleanup: () => unknown) => {
    cleanups.push(cleanup)
  },
}

function natsSubjects(): readonly Subject[] {
  const programs = natsPrograms()
  const chosen =
    values.server === 'debian' ? programs.slice(0, 1) : values.server === 'current' ? programs.slice(1) : programs
  const all = values.partitions === true ? partitions : values['power-cuts'] === true ? powerCuts : deeds
  return chosen.map(({ name, path }) => ({
    ...{ name, deeds: Object.keys(all) },
    run: (names, say) => {
      const hosts = values.partitions === true ? NetworkHosts.make(test, 3) : undefined
      return runDeeds(test, path, names, say, { hosts, syncAlways: values['sync-always'] === true })
    },
  }))
}

const redis: Subject = {
  ...{ name: 'redis-server', deeds: Object.keys(redisDeeds) },
  run: (names, say) => runRedisDeeds(test, names, say),
}

let failed = false
for (const { name, deeds: all, run } of values.redis === true ? [redis] : natsSubjects()) {
  const names = values.deeds?.split(',') ?? all
  for (let round = 1; round <= rounds; round++) {
    try {
      console.log(`${name}, round ${round}: ${names.join(', ')}`)
      const report = await run(names, (text) => console.log(`  ${text}`))
      const { lost, wrong, balanced, unexplained = [] } = report
      if (!balanced || [lost, wrong, unexplained].some((list) => list.length > 0)) failed = true
      console.log(`  ${JSON.stringify(report)}`)
    } catch (error) {
      failed = true
      console.log(`  broken off: ${errorText(error)}`)
    } finally {
      for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
    }
  }
}
process.exit(failed ? 1 : 0)
