/** A certificate for a person: what they show to the control plane, with the role it lets them have. */

import fs from 'node:fs'
import path from 'node:path'
import { type PersonRole, writeIdentity } from '../contract/identity.ts'
import { writeFileDurably } from '../runtime/durable-file.ts'
import { type Authority, backdatedMs, dayMs, issue, trustOf, writePair } from './certificate-authority.ts'
import type { Context } from './verb.ts'

/** There is no revocation: a person's certificate is short-lived instead. */
export const personLifetimeMs = 30 * dayMs

export interface PersonOrder {
  readonly cluster: string
  readonly role: PersonRole
  readonly name: string
  /** Made where it is not there. */
  readonly directory: string
  readonly lifetimeMs: number
}

/** Throws where the directory has a key already: it may be somebody's, and there is no second copy of it. */
export async function issueToPerson(context: Context, authority: Authority, order: PersonOrder): Promise<void> {
  const { disk, clock } = context.world
  const { cluster, role, name, directory, lifetimeMs } = order
  const key = path.join(directory, 'key.pem')
  if (fs.existsSync(key)) throw new Error(`${key} is there already and stays: name another directory with --out`)
  await disk.makeDirectory(directory)
  const now = clock.now()
  const pair = await issue(context, authority, {
    use: 'person',
    subject: name,
    names: [`URI:${writeIdentity({ kind: 'role', cluster, role })}`],
    startsAt: now - backdatedMs,
    endsAt: now + lifetimeMs,
  })
  await writeFileDurably(disk, path.join(directory, 'ca.pem'), [trustOf(authority)])
  await writePair(disk, directory, pair)
}
