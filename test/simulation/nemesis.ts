/**
 * What goes wrong in a simulated cluster: each fault begins at one instant, and everything heals in the end.
 *
 * A fault answers how it is healed, or nothing where it heals by itself. Which faults a run has, where and when, is drawn
 * from its seed.
 */

import type { Cluster } from './cluster.ts'
import type { Mood } from './next-hop.ts'
import type { SeededRandom } from './seeded-random.ts'

export type Fault = (cluster: Cluster, random: SeededRandom) => (() => void) | undefined

const second = 1000
const minute = 60 * second
const day = 24 * 60 * minute

export const faults = {
  'kill instance': (cluster, random) => {
    random.pick(cluster.instances).kill()
    return undefined
  },
  'kill edge': (cluster, random) => {
    random.pick(cluster.edges).kill()
    return undefined
  },
  'power cut': (cluster, random) => {
    random.pick(cluster.instances).host.cutPower()
    return undefined
  },
  'power cut at a durable call': (cluster, random) => {
    const { device } = random.pick(cluster.instances).host
    device.faults.durableCallsUntilPowerCut = 1 + random.below(random.pick([3, 12, 30]))
    return () => {
      device.faults.durableCallsUntilPowerCut = Number.POSITIVE_INFINITY
    }
  },
  'power cut on a slow disk': (cluster, random) => {
    const { device } = random.pick(cluster.instances).host
    device.faults.durableCallsUntilPowerCut = 1 + random.below(6)
    device.faults.slowness = random.between(10, 40)
    return () => {
      device.faults.durableCallsUntilPowerCut = Number.POSITIVE_INFINITY
      device.faults.slowness = 1
    }
  },
  partition: (cluster, random) => {
    const names = cluster.hostNames()
    const a = random.pick(names)
    const b = random.pick(names)
    cluster.around.fabric.cut(a, b)
    return () => cluster.around.fabric.heal(a, b)
  },
  isolation: (cluster, random) => {
    const { name } = random.pick([...cluster.instances, ...cluster.edges]).host
    for (const other of cluster.hostNames()) if (other !== name) cluster.around.fabric.cut(name, other)
    return () => {
      for (const other of cluster.hostNames()) cluster.around.fabric.heal(name, other)
    }
  },
  'lost acknowledgements': (cluster, random) => {
    const links = [...cluster.around.fabric.links].filter((link) => link.server !== undefined)
    if (links.length > 0) cluster.around.fabric.loseAcknowledgements(random.pick(links), random.between(1, 70_000))
    return undefined
  },
  'connection reset': (cluster, random) => {
    const links = [...cluster.around.fabric.links]
    if (links.length > 0) random.pick(links).reset()
    return undefined
  },
  'dns down': (cluster) => {
    cluster.around.dns.isDown = true
    return () => {
      cluster.around.dns.isDown = false
    }
  },
  'disk full': (cluster, random) => {
    const { device, name } = random.pick(cluster.instances).host
    device.faults.full = true
    cluster.crashed(name, 'disk')
    return () => {
      device.faults.full = false
    }
  },
  'every disk full': (cluster) => {
    for (const { host } of cluster.instances) {
      host.device.faults.full = true
      cluster.crashed(host.name, 'disk')
    }
    return () => {
      for (const { host } of cluster.instances) host.device.faults.full = false
    }
  },
  'datasync fails': (cluster, random) => {
    const { device, name } = random.pick(cluster.instances).host
    device.faults.datasyncsToFail = 1
    cluster.crashed(name, 'disk')
    return () => {
      device.faults.datasyncsToFail = 0
    }
  },
  'slow disk': (cluster, random) => {
    const { device } = random.pick(cluster.instances).host
    device.faults.slowness = random.between(5, 60)
    return () => {
      device.faults.slowness = 1
    }
  },
  'next hop killed': (cluster, random) => {
    random.pick(cluster.hops).process.kill()
    return undefined
  },
  'next hop temporary': mood('temporary', 'temporary-at-end'),
  'next hop permanent': mood('permanent'),
  'next hop unclear': mood('silent-at-end', 'drops', 'slow'),
  'another layout': (cluster, random) => {
    const concurrency = random.pick([1, 2, 500])
    cluster.write({ ...cluster.layout, pools: cluster.layout.pools.map((pool) => ({ ...pool, concurrency })) })
    for (const id of cluster.placesUp()) if (random.chance(0.7)) cluster.give(id)
    return undefined
  },
  'clock jump': (cluster, random) => {
    const host = random.pick([...cluster.instances, ...cluster.edges]).host
    host.clockErrorMs += random.pick([-1, 1]) * random.pick([second, minute, 60 * minute, day, 30 * day])
    return undefined
  },
} satisfies Record<string, Fault>

export type FaultName = keyof typeof faults

function mood(...moods: readonly Mood[]): Fault {
  return (cluster, random) => {
    const { hop } = random.pick(cluster.hops)
    hop.mood = random.pick(moods)
    return () => {
      hop.mood = 'kind'
    }
  }
}

/** Faults that matter most come more often. */
const favourites: readonly FaultName[] = [
  'power cut at a durable call',
  'power cut on a slow disk',
  'power cut on a slow disk',
  'lost acknowledgements',
  'kill instance',
]

export function drawFault(random: SeededRandom, only: readonly FaultName[] | undefined): FaultName {
  return random.pick(only ?? [...(Object.keys(faults) as FaultName[]), ...favourites])
}

/** How long a fault lasts, milliseconds. */
export function durationOf(random: SeededRandom): number {
  return random.pick([random.between(1, 500), random.between(1000, 20_000), random.between(10_000, 90_000)])
}
