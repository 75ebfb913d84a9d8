/**
 * Power cuts under load: every process is frozen, the file system with the whole state directory is shut down, everything
 * unsynced is gone, the processes die without having run again, and the cluster starts on what is left.
 *
 * Frozen first, because a power cut ends programs and disk in one instant. Were they left running, an fdatasync that was under
 * way could return success: ext4 ends the write-back of a page whose extent it can no longer record without an error.
 */

import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { gone } from '../support/child.ts'
import { PowerCutDisk } from '../support/power-cut-disk.ts'
import { processState, processTree } from '../support/process-tree.ts'
import { Seeded } from './load.ts'
import { type CrashOptions, type CrashReport, CrashWorld } from './world.ts'

const startTimeoutMs = 60_000
const loadMsMin = 100
const loadMsSpread = 900

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
  const frozen = await freeze(world)
  await disk.cut()
  await killAll(world, frozen)
  // Not before: the next hop may still read what was sent to it before the freeze.
  world.ledger.incident({ kind: 'cut', target: 'all', at: Date.now() })
  await load.stop()
  await disk.powerOn()
  world.cluster.restart()
  await world.cluster.untilReady(startTimeoutMs)
}

/** Stops the whole tree, the parent first so that it starts nothing anew, and waits until none of it runs. */
async function freeze(world: CrashWorld): Promise<number[]> {
  process.kill(world.cluster.child.pid, 'SIGSTOP')
  const pids = processTree(world.cluster.child.pid).map((entry) => entry.pid)
  for (const pid of pids) process.kill(pid, 'SIGSTOP')
  while (!pids.every(isStopped)) await sleep(1)
  return pids
}

/** A child that had ended by itself counts: it runs no more. */
function isStopped(pid: number): boolean {
  const state = processState(pid)
  return state === 'T' || state === 'Z' || state === ''
}

async function killAll(world: CrashWorld, pids: readonly number[]): Promise<void> {
  for (const pid of pids) {
    if (processState(pid) !== '') process.kill(pid, 'SIGKILL')
  }
  await world.cluster.child.finished
  for (const pid of pids) {
    if (!(await gone(pid))) throw new Error(`process ${pid} outlived SIGKILL`)
  }
}
