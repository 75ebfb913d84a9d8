/**
 * Shared state through the server that the layout names. A layout that names another one, or the same one otherwise, gets a new client;
 * sessions go on: what they had asked of the old one is answered as gone, by this process's own counts.
 *
 * Password and keys are read from their files at each connection, so that a change of the file needs no restart; a file that
 * cannot be read is a server that is gone, and is tried again.
 */

import type { Layout, SharedStateSpec } from '../contract/layout.ts'
import type { SharedState, SharedStateStatus } from '../contract/shared-state.ts'
import { DrilledSharedState } from './drilled-shared-state.ts'
import type { Drills } from './drills.ts'
import { FallbackSharedState } from './fallback-shared-state.ts'
import { LocalSharedState } from './local-shared-state.ts'
import { type RedisAccess, RedisSharedState } from './redis-shared-state.ts'
import type { SharedStateSource } from './shared-state-source.ts'
import type { Disk, World } from './world.ts'

type SharedStateWorld = Pick<World, 'clock' | 'random' | 'log' | 'disk'>

/** No password is longer, and a wrong file is not sent to a server. */
const passwordBytesMax = 4096

export class LayoutSharedState implements SharedStateSource {
  readonly #world: SharedStateWorld
  readonly #directory: string
  readonly #state: FallbackSharedState
  readonly #drills: Drills | undefined
  /** What edges ask of the server: itself, or what can play that it is gone. */
  #asked: SharedState | undefined
  #server: RedisSharedState | undefined
  #applied = ''

  /** `directory`: where relative file names begin. */
  constructor(world: SharedStateWorld, layout: Layout, directory: string, drills?: Drills) {
    this.#world = world
    this.#drills = drills
    this.#directory = directory
    this.#state = new FallbackSharedState(new LocalSharedState(world.clock))
    this.apply(layout)
  }

  get state(): SharedState {
    return this.#state
  }

  get status(): SharedStateStatus | undefined {
    const status = this.#server?.status
    if (status === undefined || this.#drills?.isGone('shared-state') !== true) return status
    return { ...status, reached: false, why: 'a drill is running' }
  }

  apply(layout: Layout): void {
    const { sharedState: spec, cluster, edges } = layout
    const wanted = JSON.stringify([cluster, spec ?? null])
    if (wanted !== this.#applied) {
      const before = this.#server
      this.#applied = wanted
      this.#server = spec === undefined ? undefined : this.#connect(cluster, spec)
      this.#asked = this.#server === undefined ? undefined : this.#drilled(this.#server)
      this.#state.use(this.#asked, edges.length)
      before?.close()
    } else this.#state.use(this.#asked, edges.length)
  }

  close(): void {
    this.#state.close()
  }

  #drilled(server: SharedState): SharedState {
    return this.#drills === undefined ? server : new DrilledSharedState(server, this.#drills)
  }

  #connect(cluster: string, spec: SharedStateSpec): RedisSharedState {
    return new RedisSharedState(this.#world, {
      server: serverName(spec),
      cluster,
      access: () => readAccess(this.#world.disk, this.#directory, spec),
      deadlineMs: spec.deadlineMs,
    })
  }
}

/** As conf-qmq writes it, without what goes with it. */
export function serverName({ host, port, database, tls }: SharedStateSpec): string {
  const scheme = tls === undefined ? 'redis' : 'rediss'
  const name = host.includes(':') ? `[${host}]` : host
  return `${scheme}://${name}:${port}${database === 0 ? '' : `/${database}`}`
}

/** Rejects, naming the file, where one cannot be read. */
export async function readAccess(disk: Disk, directory: string, spec: SharedStateSpec): Promise<RedisAccess> {
  const read = (file: string) => disk.readFile(file.startsWith('/') ? file : `${directory}/${file}`)
  const { host, port, database, user, passwordFile, tls } = spec
  return {
    ...{ host, port, database },
    ...(user === undefined ? {} : { user }),
    ...(passwordFile === undefined ? {} : { password: passwordIn(passwordFile, await read(passwordFile)) }),
    ...(tls === undefined ? {} : { tls: await readTls(read, tls) }),
  }
}

function passwordIn(file: string, bytes: Buffer): string {
  const password = bytes.toString('utf8').split(/\r?\n/, 1)[0] ?? ''
  if (password === '' || password.length > passwordBytesMax)
    throw new Error(`${file} has no password on its first line`)
  return password
}

async function readTls(
  read: (file: string) => Promise<Buffer>,
  { caFile, certificateFile, keyFile }: NonNullable<SharedStateSpec['tls']>,
): Promise<NonNullable<RedisAccess['tls']>> {
  return {
    ...(caFile === undefined ? {} : { authority: await read(caFile) }),
    ...(certificateFile === undefined ? {} : { certificate: await read(certificateFile) }),
    ...(keyFile === undefined ? {} : { key: await read(keyFile) }),
  }
}
