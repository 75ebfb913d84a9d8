/**
 * The seal of an instance that has left: `home/seal.json`, durable. It says that everything went and that nothing was accepted after;
 * the home is kept with it until somebody removes it by hand.
 */

import type { ManifestPart } from '../../contract/manifest.ts'
import type { Audit } from '../../contract/operations.ts'
import { readFileIfThere, removeIfThere, writeFileDurably } from '../../runtime/durable-file.ts'
import type { Disk } from '../../runtime/world.ts'

export const sealVersion = 1

export interface Seal {
  readonly version: typeof sealVersion
  readonly plan: string
  readonly instance: string
  /** Unix milliseconds. */
  readonly sealedAt: number
  readonly left: readonly ManifestPart[]
  readonly audit: Audit
}

export async function writeSeal(disk: Disk, home: string, seal: Seal): Promise<void> {
  await writeFileDurably(disk, `${home}/seal.json`, [Buffer.from(`${JSON.stringify(seal)}\n`, 'latin1')])
}

/** An instance that carries mail again has none. */
export async function breakSeal(disk: Disk, home: string): Promise<void> {
  if ((await readFileIfThere(disk, `${home}/seal.json`)) === undefined) return
  await removeIfThere(disk, `${home}/seal.json`)
  await disk.syncDirectory(home)
}
