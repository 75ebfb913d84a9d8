/**
 * One run: three nats-servers, a real cluster on them, letters all the time, deed after deed; then everything must be well again, and
 * every letter that was accepted must have arrived.
 */

import { join } from 'node:path'
import { Cluster, clusterConf, clusterPorts } from '../support/cluster.ts'
import { NatsCluster, type NatsNodeOptions } from '../support/nats-cluster.ts'
import type { NetworkHosts } from '../support/network-hosts.ts'
import type { Cleanup } from '../support/temporary-directory.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { Letters, type LettersVerdict } from './letters.ts'
import { type Deed, deeds, partitions } from './nats-deeds.ts'
import { isWell, pidsOf, statusOf, untilStatus } from './status.ts'

export interface RunReport extends LettersVerdict {
  readonly balanced: boolean
}

/** How many letters are taken in each trouble. */
const lettersEach = 10

/** Rejects where the cluster does not come to itself; the verdict on the letters is the caller's. */
export async function runDeeds(
  test: Cleanup,
  program: string,
  names: readonly string[],
  say: (text: string) => void,
  hosts?: NetworkHosts,
): Promise<RunReport> {
  const nats = await NatsCluster.prepare(program, hosts === undefined ? undefined : placesOn(hosts))
  test.after(() => nats.remove())
  await nats.start()
  const directory = temporaryDirectory(test)
  const coordination = `"nats://${nats.addresses.join(',')}"`
  const cluster = new Cluster(directory, clusterConf(await clusterPorts(), { deliver: 'hold', coordination }))
  test.after(async () => {
    await cluster.stop()
  })
  const ready = await cluster.untilReady(60_000)
  const port = ready.listeners.find(({ kind }) => kind === 'smtp')?.port ?? 0
  const letters = new Letters(port, join(directory, 'state'))
  await untilStatus(cluster, 'at first', isWell)
  const meanwhile = () => letters.take(lettersEach)
  for (const name of names) {
    const deed = (hosts === undefined ? deeds[name] : partitions[name]) as Deed
    await deed({ nats, hosts, meanwhile, restartTiers: () => restartTiers(cluster) })
    await untilStatus(cluster, `after ${name}`, isWell)
    say(`${name}: well again, ${letters.accepted} letters so far`)
  }
  const verdict = await letters.end()
  const audit = (await cluster.ask(['audit'])).answer as { readonly balanced: boolean }
  return { ...verdict, balanced: audit.balanced }
}

function placesOn(hosts: NetworkHosts): readonly NatsNodeOptions[] {
  return Array.from({ length: hosts.count }, (_, index) => ({
    starter: hosts.starter(index + 1),
    host: hosts.address(index + 1),
  }))
}

async function restartTiers(cluster: Cluster): Promise<void> {
  const before = pidsOf(await statusOf(cluster))
  for (const pid of before.values()) process.kill(pid, 'SIGKILL')
  await untilStatus(cluster, 'every tier started again', (heard) => {
    const pids = pidsOf(heard)
    const renewed = [...before].every(([id, pid]) => pids.has(id) && pids.get(id) !== pid)
    return renewed && heard.status.instances.every(({ phase }) => phase === 'ready')
  })
}
