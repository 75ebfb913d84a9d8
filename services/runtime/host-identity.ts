/**
 * Which machine this is: `MACHINE-ID/NAME/BOOT`, each part empty where the system has none.
 *
 * The same machine id and name mean the same machine, whatever it booted since. Without an id (a container) only the same boot of the same
 * name does. Two machines must not share an id: an image that carries one for all that are made from it must not have it.
 */

import fs from 'node:fs'
import os from 'node:os'

export function hostIdentity(): string {
  const machine = firstWord('/etc/machine-id') ?? firstWord('/etc/hostid') ?? ''
  const boot = firstWord('/proc/sys/kernel/random/boot_id') ?? ''
  return `${machine}/${os.hostname()}/${boot}`
}

/** False where it cannot be known. */
export function isSameHost(one: string, other: string): boolean {
  const [machine, name, boot] = one.split('/')
  const [otherMachine, otherName, otherBoot] = other.split('/')
  if (name !== otherName) return false
  if (machine !== '' || otherMachine !== '') return machine === otherMachine
  return boot !== '' && boot === otherBoot
}

function firstWord(file: string): string | undefined {
  try {
    const [word] = fs.readFileSync(file, 'latin1').trim().split(/\s/)
    return word === '' || word === 'uninitialized' ? undefined : word
  } catch {
    return undefined
  }
}
