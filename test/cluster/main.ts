/**
 * Longer than the suite: `node test/cluster/main.ts [--rounds N] [--deeds NAME,NAME] [--server debian|current]
 * [--partitions | --power-cuts]`. Prints what was done and what became of the letters; exit code 1 where one is lost or a reply was wrong.
 * Partitions and power cuts need root, the latter also loop devices.
 */

import { parseArgs } from 'node:util'
import { natsPrograms } from '../support/nats-server.ts'
import { NetworkHosts } from '../support/network-hosts.ts'
import { deeds, partitions, powerCuts } from './nats-deeds.ts'
import { runDeeds } from './nats-run.ts'

const options = {
  rounds: { type: 'string' },
  deeds: { type: 'string' },
  server: { type: 'string' },
  partitions: { type: 'boolean' },
  'power-cuts': { type: 'boolean' },
} as const
const { values } = parseArgs({ options })
const programs = natsPrograms()
const chosen =
  values.server === 'debian' ? programs.slice(0, 1) : values.server === 'current' ? programs.slice(1) : programs
const all = values.partitions === true ? partitions : values['power-cuts'] === true ? powerCuts : deeds
const names = values.deeds?.split(',') ?? Object.keys(all)
const rounds = Number(values.rounds ?? 1)
const cleanups: (() => unknown)[] = []
const test = {
  after: (cleanup: () => unknown) => {
    cleanups.push(cleanup)
  },
}

let failed = false
for (const { name, path } of chosen) {
  for (let round = 1; round <= rounds; round++) {
    try {
      console.log(`${name}, round ${round}: ${names.join(', ')}`)
      const hosts = values.partitions === true ? NetworkHosts.make(test, 3) : undefined
      const report = await runDeeds(test, path, names, (text) => console.log(`  ${text}`), hosts)
      const { lost, wrong, balanced } = report
      if (lost.length > 0 || wrong.length > 0 || !balanced) failed = true
      console.log(`  ${JSON.stringify(report)}`)
    } finally {
      for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
    }
  }
}
process.exit(failed ? 1 : 0)
