/**
 * Which process a number means: on Linux the pid with its start time and the boot, so that a number used again later is somebody
 * else. Elsewhere the pid alone, which errs towards "still alive".
 */

import fs from 'node:fs'
import process from 'node:process'

/** `PID.START.BOOT`, only characters that are safe in a file name. */
export function ownIdentity(): string {
  return identityOf(process.pid)
}

/** True while a process of exactly this identity may still be writing. */
export function isAlive(identity: string): boolean {
  const pid = pidOf(identity)
  if (!Number.isInteger(pid) || pid <= 0) return false
  if (!answersSignals(pid)) return false
  if (!hasProcessTable()) return true
  return identityOf(pid) === identity && !isZombie(pid)
}

export function pidOf(identity: string): number {
  return Number(identity.split('.')[0])
}

function identityOf(pid: number): string {
  return `${pid}.${startTime(pid)}.${bootId()}`
}

function hasProcessTable(): boolean {
  return fs.existsSync('/proc/self/stat')
}

function answersSignals(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // EPERM: it lives and belongs to somebody else.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Field 22 of proc(5) stat, in clock ticks since boot; '0' where there is none. The name in field 2 may hold anything. */
function startTime(pid: number): string {
  return statFields(pid)[19] ?? '0'
}

/** Dead, and no thread of it is left inside the kernel with a write to finish. */
function isZombie(pid: number): boolean {
  const state = statFields(pid)[0]
  if (state !== 'Z' && state !== 'X') return false
  try {
    return fs.readdirSync(`/proc/${pid}/task`).length <= 1
  } catch {
    return true
  }
}

/** From field 3 on. */
function statFields(pid: number): string[] {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch {
    return []
  }
}

function bootId(): string {
  try {
    return fs.readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').slice(0, 8)
  } catch {
    return '0'
  }
}
