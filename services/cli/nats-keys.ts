/**
 * The nkeys of a cluster's processes: a seed per client in the credentials directory, `<client>.nk`, mode 0600, made where it is missing
 * and never made anew. Needs what conf-qmq says, and no server.
 */

import type { NatsSpec } from '../contract/layout.ts'
import { makeDirectoryDurably, readFileIfThere, writeFileDurably } from '../runtime/durable-file.ts'
import { makeUserKey, publicKeyOf } from '../runtime/nats-link.ts'
import { below } from '../runtime/open-coordination.ts'
import type { NatsClient } from './nats-configuration.ts'
import type { Context } from './verb.ts'

export interface ClientKey {
  readonly client: NatsClient
  readonly publicKey: string
  readonly isNew: boolean
}

const passwordBytes = 24

/** Rejects, naming the file and nothing of what is in it, where one cannot be read, used or written. */
export async function ensureNatsKeys(
  context: Context,
  spec: NatsSpec,
  clients: readonly NatsClient[],
): Promise<readonly ClientKey[]> {
  const { disk } = context.world
  const directory = below(context.state, spec.credentials)
  await makeDirectoryDurably(disk, directory, 2)
  const keys: ClientKey[] = []
  for (const client of clients) {
    const publicKey = await readKey(context, `${directory}/${client.name}.nk`)
    if (publicKey !== undefined) {
      keys.push({ client, publicKey, isNew: false })
      continue
    }
    const made = makeUserKey()
    await writeFileDurably(disk, `${directory}/${client.name}.nk`, [Buffer.from(`${made.seed}\n`)])
    keys.push({ client, publicKey: made.publicKey, isNew: true })
  }
  return keys
}

/** The keys that are there; rejects, saying what to do, where one is missing. */
export async function readNatsKeys(
  context: Context,
  spec: NatsSpec,
  clients: readonly NatsClient[],
): Promise<readonly ClientKey[]> {
  const directory = below(context.state, spec.credentials)
  const keys: ClientKey[] = []
  for (const client of clients) {
    const publicKey = await readKey(context, `${directory}/${client.name}.nk`)
    if (publicKey === undefined)
      throw new Error(`${directory}/${client.name}.nk is not there: run \`qmq nats keys\` first`)
    keys.push({ client, publicKey, isNew: false })
  }
  return keys
}

/** By which the servers of a cluster know each other. */
export async function ensureClusterPassword(context: Context, spec: NatsSpec): Promise<string> {
  const { disk, random } = context.world
  const file = `${below(context.state, spec.credentials)}/servers.password`
  const present = (await readFileIfThere(disk, file))?.toString('utf8').trim()
  if (present !== undefined && /^[A-Za-z0-9_-]{16,}$/.test(present)) return present
  if (present !== undefined) throw new Error(`${file} holds no password that can be used`)
  const password = random.bytes(passwordBytes).toString('base64url')
  await makeDirectoryDurably(disk, below(context.state, spec.credentials), 2)
  await writeFileDurably(disk, file, [Buffer.from(`${password}\n`)])
  return password
}

async function readKey(context: Context, file: string): Promise<string | undefined> {
  const text = await readFileIfThere(context.world.disk, file)
  if (text === undefined) return undefined
  try {
    return publicKeyOf(text.toString('utf8').trim())
  } catch {
    // The library's own words may quote what it was given.
    throw new Error(`${file} is no seed of an nkey`)
  }
}
