/**
 * Power cuts under load: the file system with the whole state directory stops at once, everything unsynced is gone, every
 * process dies a moment later, and the cluster starts again on what is left.
 *
 * Between the cut and the deaths the processes still run on a dead disk: an acknowledgement given then counts, and would be
 * found as a loss.
 */

import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { gone } from '../support/child.ts'
import { processTree } from '../support/process-tree.ts'
import { Seeded } from './load.ts'
import { PowerCutDisk } from './power-cut-disk.ts'
import { type CrashOptions, type CrashReport, CrashWorld } from './world.ts'

const startTimeoutMs = 60_000
const loadMsMin = 100
const loadMsSpread = 900
const afterCutMs = 60

export async function cutPower(options: Omit<CrashOptions, 'state'>, cuts: number): Promise<CrashReport> {
  const disk = await PowerCutDisk.make()
  try {
    const world = await CrashWorld.start({ ...options, state: join(disk.mountPoint, 'state') })
    try {
      const random = new Seeded(options.seed)
      for (let cut = 0; cut < cuts; cut++) {
        await cutOnce(world, disk, cut, loadMsMin + random.below(loadMsSpread))
        if ((cut + 1) % 10 === 0) options.note(`${cut + 1} cuts, ${world.ledger.messages.size} messages sent`)
      }
      return await world.finish()
    } finally {
      await world.stop()
    }
  } finally {
    await disk.destroy()
  }
}

async function cutOnce(world: CrashWorld, disk: PowerCutDisk, round: number, loadMs: number): Promise<void> {
  const load = world.load(round)
  await sleep(loadMs)
  await disk.cut()
  await sleep(afterCutMs)
  await killAll(world)
  // Until here a next hop could still be given mail whose mark would never be durable.
  world.ledger.incident({ kind: 'cut', target: 'all', at: Date.now() })
  await load.stop()
  await disk.powerOn()
  world.cluster.restart()
  await world.cluster.untilReady(startTimeoutMs)
}

async function killAll(world: CrashWorld): Promise<void> {
  const pids = processTree(world.cluster.child.pid).map((entry) => entry.pid)
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It ended by itself: a failed fsync is fatal.
    }
  }
  await world.cluster.child.finished
  for (const pid of pids) {
    if (!(await gone(pid))) throw new Error(`process ${pid} outlived SIGKILL`)
  }
}
