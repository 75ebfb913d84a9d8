/**
 * SIGKILL of every process in turn, the parent included, at random moments under load.
 *
 * Whoever runs `qmq up` in production starts it again when it dies; here this file does. Nothing else helps the cluster.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { gone } from '../support/child.ts'
import { type ProcessEntry, processTree } from '../support/process-tree.ts'
import { Seeded } from './load.ts'
import { type CrashOptions, type CrashReport, CrashWorld } from './world.ts'

/** In this order, again and again. `up` is the parent. */
const targets = ['e1', '01', '00', '02', '90', 'e1', '01', '80', '02', '99', 'up'] as const

const backTimeoutMs = 60_000
const pauseMsMin = 60
const pauseMsSpread = 340

export async function killProcesses(options: CrashOptions, kills: number): Promise<CrashReport> {
  const world = await CrashWorld.start(options)
  try {
    const random = new Seeded(options.seed)
    const load = world.load(0)
    for (let kill = 0; kill < kills; kill++) {
      await sleep(pauseMsMin + random.below(pauseMsSpread))
      await killOne(world, targets[kill % targets.length] as string)
      if ((kill + 1) % 50 === 0) options.note(`${kill + 1} kills, ${world.ledger.messages.size} messages sent`)
    }
    await Promise.all([...new Set(targets)].map((target) => pidOf(world, target)))
    await load.stop()
    return await world.finish()
  } finally {
    await world.stop()
  }
}

async function killOne(world: CrashWorld, target: string): Promise<void> {
  const pid = await pidOf(world, target)
  const orphans = target === 'up' ? processTree(pid).slice(1) : []
  world.ledger.incident({ kind: 'kill', target, at: Date.now() })
  process.kill(pid, 'SIGKILL')
  if (target !== 'up') return
  const deaths = orphans.map((orphan) => recordDeath(world, orphan))
  await world.cluster.child.finished
  world.cluster.restart()
  await world.cluster.untilReady(backTimeoutMs)
  await Promise.all(deaths)
}

/** The parent's children end after it, each in its own time; that is the moment that explains a duplicate. */
async function recordDeath(world: CrashWorld, orphan: ProcessEntry): Promise<void> {
  if (!(await gone(orphan.pid, backTimeoutMs))) throw new Error(`${orphan.command} outlived its parent`)
  const words = orphan.command.split(' ')
  const target = targets.find((candidate) => words.includes(candidate)) ?? 'unknown'
  world.ledger.incident({ kind: 'orphan', target, at: Date.now() })
}

/** Waits for a process that is just being started again: that it comes back is part of what is tested. */
async function pidOf(world: CrashWorld, target: string): Promise<number> {
  const parent = world.cluster.child.pid
  if (target === 'up') return parent
  const deadline = Date.now() + backTimeoutMs
  for (;;) {
    const found = processTree(parent).find((entry) => entry.command.split(' ').includes(target))
    if (found !== undefined) return found.pid
    if (Date.now() > deadline) throw new Error(`${target} did not come back within ${backTimeoutMs} ms`)
    await sleep(50)
  }
}
