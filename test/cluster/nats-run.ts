/**
 * One run: three nats-servers, a real cluster on them, letters all the time, deed after deed; then everything must be well again, and
 * every letter that was accepted must have arrived.
 */

import { join } from 'node:path'
import { errorText } from '../../services/protocol/failure.ts'
import { Cluster, clusterConf, clusterPorts } from '../support/cluster.ts'
import { NatsCluster, type NatsNodeOptions } from '../support/nats-cluster.ts'
import type { NetworkHosts } from '../support/network-hosts.ts'
import { PowerCutDisk } from '../support/power-cut-disk.ts'
import type { Cleanup } from '../support/temporary-directory.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { Letters, type LettersVerdict } from './letters.ts'
import { type Deed, deeds, partitions, powerCuts } from './nats-deeds.ts'
import { Orders } from './orders.ts'
import { isWell, restartTiers, untilStatus } from './status.ts'

export interface RunReport extends LettersVerdict {
  readonly balanced: boolean
  /** How often a person had to do what decision 0011 says, because orders did not come back by themselves after a power cut. */
  readonly cures: number
}

export interface RunPlaces {
  readonly hosts?: NetworkHosts | undefined
  readonly syncAlways?: boolean
}

const serverCount = 3
/** Enough for what a server writes in an hour. */
const diskBytes = 256 * 1024 ** 2
/** How many letters are taken in each trouble. */
const lettersEach = 10

/** Rejects where the cluster does not come to itself; the verdict on the letters is the caller's. */
export async function runDeeds(
  test: Cleanup,
  program: string,
  names: readonly string[],
  say: (text: string) => void,
  { hosts, syncAlways = false }: RunPlaces = {},
): Promise<RunReport> {
  const disks = names.some((name) => name in powerCuts) ? await makeDisks() : []
  const places = hosts === undefined ? disks.map((disk) => ({ disk, syncAlways })) : placesOn(hosts)
  const nats = await NatsCluster.prepare(program, places.length === 0 ? undefined : places)
  test.after(async () => {
    await nats.remove()
    for (const disk of disks) await disk.destroy()
  })
  await nats.start()
  const directory = temporaryDirectory(test)
  const coordination = `"nats://${nats.addresses.join(',')}"`
  const cluster = new Cluster(directory, clusterConf(await clusterPorts(), { deliver: 'hold', coordination }))
  test.after(async () => {
    await cluster.stop()
  })
  const ready = await cluster.untilReady(120_000)
  const port = ready.listeners.find(({ kind }) => kind === 'smtp')?.port ?? 0
  const letters = new Letters(port, join(directory, 'state'))
  test.after(() => letters.stop())
  await untilStatus(cluster, 'at first', isWell)
  const orders = new Orders(cluster)
  let cures = 0
  const curing = async (what: string, work: () => Promise<unknown>) => {
    try {
      await work()
    } catch (error) {
      if (disks.length === 0) throw error
      cures++
      say(`${what}: a person has to help: ${errorText(error)}`)
      await cure(nats, cluster)
      await untilStatus(cluster, `after the cure of ${what}`, isWell)
      await orders.give()
    }
  }
  const stage = {
    ...{ nats, hosts, disks, say, order: () => curing('an order', () => orders.give()) },
    ...{
      meanwhile: () => letters.take(lettersEach),
      restartTiers: () => restartTiers(cluster, () => letters.tiersDied()),
    },
  }
  for (const name of names) {
    const deed = { ...deeds, ...partitions, ...powerCuts }[name] as Deed
    await deed(stage)
    await curing(name, async () => {
      await untilStatus(cluster, `after ${name}`, isWell)
      await orders.stands()
      await orders.give()
    })
    say(`${name}: well again, and takes orders, ${letters.accepted} letters so far`)
  }
  const verdict = await letters.end()
  const audit = (await cluster.ask(['audit'])).answer as { readonly balanced: boolean }
  return { ...verdict, balanced: audit.balanced, cures }
}

/** As decision 0011 has it: nothing in the servers' stores is needed. */
async function cure(nats: NatsCluster, cluster: Cluster): Promise<void> {
  await nats.kill()
  nats.wipe()
  await nats.start()
  await cluster.stop()
  cluster.restart()
  await cluster.untilReady(120_000)
}

async function makeDisks(): Promise<readonly PowerCutDisk[]> {
  const disks: PowerCutDisk[] = []
  for (let number = 0; number < serverCount; number++) disks.push(await PowerCutDisk.make(diskBytes))
  return disks
}

function placesOn(hosts: NetworkHosts): readonly NatsNodeOptions[] {
  return Array.from({ length: hosts.count }, (_, index) => ({
    starter: hosts.starter(index + 1),
    host: hosts.address(index + 1),
  }))
}
