/**
 * Which coordination a process has, by its layout: this host's hub alone, or NATS beside it.
 *
 * With NATS the hub stays: the parent of a host's processes hears from them, and commands on that host reach them, with every
 * server gone. What all hosts share (leases, the layout, everybody's state) is in NATS alone; a process announces itself on both.
 * NATS gone is said once, with the reason, and once when it is back; everything goes on meanwhile by the last layout on disk.
 * Credentials are read at each attempt to connect, so that new ones need no restart, and are in no message. What speaks NATS takes its
 * time to load, and is loaded only where servers are named.
 */

import type { Coordination } from '../contract/coordination.ts'
import type { NatsSpec } from '../contract/layout.ts'
import type { Trouble } from '../contract/operations.ts'
import { errorCode } from '../protocol/failure.ts'
import { readFileIfThere } from './durable-file.ts'
import type { LinkAuthentication } from './nats-link.ts'
import type { Timer, World } from './world.ts'

export interface CoordinationLinks {
  /** What all hosts share. */
  readonly shared: Coordination
  /** Every link: states are announced, operations served and layouts heard on each. */
  readonly all: readonly Coordination[]
  /** Undefined while the shared one can be reached, or nobody has noticed yet that it cannot. */
  readonly trouble: Trouble | undefined
  close(): void
}

export interface CoordinationChoice {
  readonly world: Pick<World, 'clock' | 'random' | 'disk' | 'log'>
  readonly state: string
  /** The layout's `coordination`. */
  readonly spec: NatsSpec | undefined
  /** An instance's id, `up`, `operator`. */
  readonly client: string
  /** May make the buckets: `up` and control. */
  readonly makesBuckets: boolean
  /** This host's hub. Absent: NATS alone. */
  readonly near: Coordination | undefined
  /** It came or went: with the reason, or undefined. */
  readonly onLink?: (trouble: Trouble | undefined) => void
}

/** It is back once it has been there for longer than a heartbeat: a store that answers every other call is none. */
const steadyMs = 1500

export async function openCoordination(choice: CoordinationChoice): Promise<CoordinationLinks> {
  const { spec, near } = choice
  if (spec !== undefined) return await openNats(choice, spec)
  if (near === undefined) throw new Error('no coordination is named')
  return { shared: near, all: [near], trouble: undefined, close: () => near.close() }
}

async function openNats(choice: CoordinationChoice, spec: NatsSpec): Promise<CoordinationLinks> {
  const { NatsCoordination } = await import('./nats-coordination.ts')
  const { world, client, near, makesBuckets, onLink } = choice
  let trouble: Trouble | undefined
  let steady: Timer | undefined
  const tell = (why: string | undefined) => {
    if (why === undefined) world.log.info('coordination is there', { servers: spec.servers })
    else world.log.warn('coordination is gone, mail is carried by the layout at hand', { servers: spec.servers, why })
    trouble = why === undefined ? undefined : { why, at: world.clock.now() }
    onLink?.(trouble)
  }
  const heard = (why: string | undefined) => {
    steady?.cancel()
    if (why !== undefined && trouble === undefined) tell(why)
    else if (why !== undefined) world.log.debug('coordination is still gone', { why })
    else if (trouble !== undefined) steady = world.clock.after(steadyMs, () => tell(undefined))
  }
  const shared = new NatsCoordination({
    ...{ clock: world.clock, random: world.random, client, makesBuckets, servers: spec.servers, onLink: heard },
    ...(spec.tls === undefined ? {} : { tls: tlsFiles(choice.state, spec.tls) }),
    ...(spec.replicas === undefined ? {} : { replicas: spec.replicas }),
    authentication: () => readCredentials(choice, spec),
  })
  const all = near === undefined ? [shared] : [near, shared]
  return {
    shared,
    all,
    get trouble() {
      return trouble
    },
    close: () => {
      steady?.cancel()
      for (const one of all) one.close()
    },
  }
}

function tlsFiles(state: string, { caFile, certificateFile, keyFile }: NonNullable<NatsSpec['tls']>) {
  return {
    ...(caFile === undefined ? {} : { caFile: below(state, caFile) }),
    ...(certificateFile === undefined ? {} : { certFile: below(state, certificateFile) }),
    ...(keyFile === undefined ? {} : { keyFile: below(state, keyFile) }),
  }
}

export function below(state: string, file: string): string {
  return file.startsWith('/') ? file : `${state}/${file}`
}

/** Rejects in words that name the file and tell nothing of its content. */
async function readCredentials(
  { world, state, client }: CoordinationChoice,
  spec: NatsSpec,
): Promise<LinkAuthentication> {
  const { disk } = world
  const directory = below(state, spec.credentials)
  const read = async (name: string) => (await readFileIfThere(disk, `${directory}/${name}`))?.toString('utf8')
  if (spec.user !== undefined) {
    const password = await read('password')
    if (password === undefined) throw new Error(`${directory}/password is not there: the password of ${spec.user}`)
    return { kind: 'password', user: spec.user, password: password.replace(/\r?\n$/, '') }
  }
  const seed = await read(`${client}.nk`)
  if (seed !== undefined) return { kind: 'seed', seed: seed.trim() }
  const credentials = await read(`${client}.creds`)
  if (credentials !== undefined) return { kind: 'credentials', text: credentials }
  try {
    await disk.list(directory)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return { kind: 'none' }
    throw error
  }
  throw new Error(`${directory} has neither ${client}.nk nor ${client}.creds; \`qmq nats keys\` makes them`)
}
