/** What is done to a cluster of nats-servers while mail is taken: each deed leaves every server running again. */

import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { NatsCluster } from '../support/nats-cluster.ts'
import type { NatsServer } from '../support/nats-server.ts'
import type { NetworkHosts } from '../support/network-hosts.ts'
import type { PowerCutDisk } from '../support/power-cut-disk.ts'
import { storedEpoch } from './stored-epoch.ts'

export interface Stage {
  readonly nats: NatsCluster
  /** Where each server runs on a host of its own. */
  readonly hosts: NetworkHosts | undefined
  /** One per server, where their power can be cut. */
  readonly disks: readonly PowerCutDisk[]
  /** Resolves when mail was taken while the trouble lasts. */
  readonly meanwhile: () => Promise<void>
  /** SIGKILL to every tier, and until each is ready again. */
  readonly restartTiers: () => Promise<unknown>
  /** Gives an order to the control plane; resolves when every tier goes by it. */
  readonly order: () => Promise<void>
  readonly say: (text: string) => void
}

export type Deed = (stage: Stage) => Promise<void>

async function oneAfterAnother({ nats, meanwhile }: Stage): Promise<void> {
  for (const server of nats.servers) {
    await server.kill()
    await meanwhile()
    await server.start()
  }
}

async function killAll({ nats, meanwhile, restartTiers }: Stage): Promise<void> {
  await nats.kill()
  await meanwhile()
  await restartTiers()
  await meanwhile()
  await nats.start()
}

async function wipeOne({ nats, meanwhile }: Stage): Promise<void> {
  const [first] = nats.servers as [NatsServer]
  await first.kill()
  first.wipe()
  await meanwhile()
  await first.start()
}

async function wipeAll({ nats, meanwhile }: Stage): Promise<void> {
  await nats.kill()
  nats.wipe()
  await meanwhile()
  await nats.start()
}

/** Connections stay, and nobody answers on them. */
async function freezeAll({ nats, meanwhile }: Stage): Promise<void> {
  for (const server of nats.servers) server.freeze()
  await meanwhile()
  for (const server of nats.servers) server.thaw()
}

const slowFrozenMs = 1500
const slowAwakeMs = 150

/** Every answer comes, most of them late: the servers are stopped nine tenths of the time. */
async function slow({ nats, meanwhile }: Stage): Promise<void> {
  let isOver = false
  const stutter = async () => {
    while (!isOver) {
      for (const server of nats.servers) server.freeze()
      await sleep(slowFrozenMs)
      for (const server of nats.servers) server.thaw()
      await sleep(slowAwakeMs)
    }
  }
  await Promise.all([
    stutter(),
    meanwhile().finally(() => {
      isOver = true
    }),
  ])
}

/** Two of three: the store has no quorum, the third still lets clients in. */
async function withoutQuorum({ nats, meanwhile }: Stage): Promise<void> {
  const [, second, third] = nats.servers as [NatsServer, NatsServer, NatsServer]
  await Promise.all([second.kill(), third.kill()])
  await meanwhile()
  await Promise.all([second.start(), third.start()])
}

/** Where the servers were, something else answers. */
async function garbage({ nats, meanwhile }: Stage): Promise<void> {
  await nats.kill()
  const words = ['SSH-2.0-OpenSSH\r\n', 'INFO {}\r\nMSG x 1 99999999999\r\n', '\0\r\n']
  const strangers = await Promise.all(nats.servers.map(({ port }, index) => speakAt(port, words[index] ?? '')))
  await meanwhile()
  for (const close of strangers) close()
  await nats.start()
}

async function speakAt(port: number, words: string): Promise<() => void> {
  const sockets = new Set<net.Socket>()
  const server = net.createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.write(words)
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return () => {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
}

/** Each server cut off from everybody in turn: packets vanish, connections stay. */
async function pullEach({ hosts, meanwhile }: Stage): Promise<void> {
  for (let number = 1; number <= (hosts?.count ?? 0); number++) {
    hosts?.pull(number)
    await meanwhile()
    hosts?.plug(number)
  }
}

/** The tiers from all servers, which go on among themselves. */
async function cutOffTiers({ hosts, meanwhile, restartTiers }: Stage): Promise<void> {
  hosts?.cutOff()
  await meanwhile()
  await restartTiers()
  await meanwhile()
  hosts?.rejoin()
}

async function powerCutOne({ nats, meanwhile, order }: Stage): Promise<void> {
  const [first] = nats.servers as [NatsServer]
  await order()
  await first.cutPower()
  await meanwhile()
  await first.powerOn()
  await first.start()
}

/** What the tiers just took is in no server any more: nearly nothing that was stored has reached a disk. */
async function powerCutAll(stage: Stage): Promise<void> {
  await stage.order()
  await cutAll(stage)
  await stage.restartTiers()
  await stage.meanwhile()
  await powerOnAll(stage)
}

/** The servers come back older, and give revisions again that every watcher has seen with other values. */
async function powerCutOlder(stage: Stage): Promise<void> {
  for (const disk of stage.disks) await disk.sync()
  for (let order = 0; order < 3; order++) await stage.order()
  await cutAll(stage)
  await powerOnAll(stage)
}

/** Each server comes back as it was at another time: one without the last order, one without the last two, one with hardly any. */
async function powerCutUneven(stage: Stage): Promise<void> {
  const [first, second] = stage.disks
  for (const disk of [second, first]) {
    await stage.order()
    await disk?.sync()
  }
  await stage.order()
  await cutAll(stage)
  await powerOnAll(stage)
}

/** Longer than a file system waits before it notes down which files there are, shorter than before it writes what is in them. */
const namesOnlyMs = 7000

/** Files are there, some of them empty or short. */
async function powerCutTorn(stage: Stage): Promise<void> {
  await stage.order()
  await sleep(namesOnlyMs)
  await stage.order()
  await cutAll(stage)
  await stage.restartTiers()
  await stage.meanwhile()
  await powerOnAll(stage)
}

function epochsIn({ servers }: NatsCluster): string {
  return servers.map(({ storeDirectory }) => storedEpoch(storeDirectory)).join(', ')
}

async function cutAll({ nats, meanwhile, say }: Stage): Promise<void> {
  say(`epochs in the stores before the cut: ${epochsIn(nats)}`)
  await Promise.all(nats.servers.map((server) => server.cutPower()))
  await meanwhile()
}

async function powerOnAll({ nats, say }: Stage): Promise<void> {
  await Promise.all(nats.servers.map((server) => server.powerOn()))
  say(`epochs in the stores after the cut: ${epochsIn(nats)}`)
  await nats.start()
}

/** Only with disks. */
export const powerCuts: Readonly<Record<string, Deed>> = {
  'power-cut-one': powerCutOne,
  'power-cut-all': powerCutAll,
  'power-cut-older': powerCutOlder,
  'power-cut-uneven': powerCutUneven,
  'power-cut-torn': powerCutTorn,
}

/** Only with hosts. */
export const partitions: Readonly<Record<string, Deed>> = { 'pull-each': pullEach, 'cut-off-tiers': cutOffTiers }

export const deeds: Readonly<Record<string, Deed>> = {
  'one-after-another': oneAfterAnother,
  'kill-all': killAll,
  'wipe-one': wipeOne,
  'wipe-all': wipeAll,
  'freeze-all': freezeAll,
  'without-quorum': withoutQuorum,
  slow,
  garbage,
}
