/**
 * One process per home: two must never write one journal.
 *
 * Every contender puts a file named by its own identity into `<home>/lock/` and then looks at the others: it owns the home if no
 * other of them is alive, else it takes its file back. Since each writes before it looks, two can never both see nobody;
 * since a name means one process for ever, removing a dead one's file races with nothing. No timeouts, no heartbeat.
 */

import fs from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { isAlive, ownIdentity, pidOf } from './process-identity.ts'

export type HomeLock =
  | { readonly kind: 'held'; release(): void }
  /** Somebody else has it, or wants it at this moment. */
  | { readonly kind: 'taken'; readonly pid: number }

/** Throws where the directory cannot be written. */
export function lockHome(home: string): HomeLock {
  const directory = path.join(home, 'lock')
  fs.mkdirSync(directory, { recursive: true, mode: 0o700 })
  const own = ownIdentity()
  const file = path.join(directory, own)
  fs.writeFileSync(file, '', { mode: 0o600, flag: 'wx' })
  const owner = liveOwner(directory, own)
  if (owner === undefined) return { kind: 'held', release: () => fs.rmSync(file, { force: true }) }
  fs.rmSync(file, { force: true })
  return { kind: 'taken', pid: owner }
}

/** The process that holds the home now, for commands that only look. */
export function homeOwner(home: string): number | undefined {
  try {
    return liveOwner(path.join(home, 'lock'), '')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** SIGKILL to the process that holds the home on this machine; undefined where none does. Its pid is never taken from anybody's word. */
export function killHomeOwner(home: string): number | undefined {
  const owner = homeOwner(home)
  if (owner !== undefined) process.kill(owner, 'SIGKILL')
  return owner
}

function liveOwner(directory: string, own: string): number | undefined {
  for (const name of fs.readdirSync(directory)) {
    if (name === own) continue
    if (isAlive(name)) return pidOf(name)
    if (own !== '') fs.rmSync(path.join(directory, name), { force: true })
  }
  return undefined
}
