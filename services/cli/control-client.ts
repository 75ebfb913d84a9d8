/**
 * A command's way to the control plane: the socket of a control process of this state, or the address of a context.
 *
 * Any control process answers what may be seen; an order goes to the one that leads, which the first one names. That is followed once: a
 * lead that has changed hands twice meanwhile is for the user to try again.
 */

import fs from 'node:fs'
import { nobodyLeads } from '../contract/cluster-status.ts'
import { errorText } from '../protocol/failure.ts'
import type { RpcClient, RpcFailure, RpcTarget } from '../runtime/rpc-client.ts'
import type { RpcTls } from '../runtime/rpc-identity.ts'
import { layoutAbsent, layoutFileName, readLayoutFile } from '../runtime/tier-layout.ts'
import { addressOf } from './contexts.ts'
import type { Context, RemoteCluster } from './verb.ts'

export type ControlService = 'ClusterService' | 'OperationsService' | 'AuditLogService'

export type Asked<Reply> =
  | { readonly kind: 'reply'; readonly value: Reply }
  | { readonly kind: 'failed'; readonly failure: RpcFailure }

const definition = ['qmq/v1/cluster.proto', 'qmq/v1/operations.proto', 'qmq/v1/audit_log.proto'] as const
const messageBytesMax = 16 * 1024 * 1024
const callTimeoutMs = 30_000
/** Longer than a lease lives. */
const leaderWaitMs = 20_000
const leaderAgainMs = 1000
const controlSocketName = 'control.sock'

interface Door {
  /** '' where it is not known. */
  readonly id: string
  readonly target: RpcTarget
}

type MakeClient = (target: RpcTarget, service: ControlService) => RpcClient

export class ControlClient {
  readonly #context: Context
  readonly #make: MakeClient
  readonly #doors: readonly Door[]
  readonly #clients = new Map<string, RpcClient>()
  #door = 0

  private constructor(context: Context, doors: readonly Door[], make: MakeClient) {
    this.#context = context
    this.#doors = doors
    this.#make = make
  }

  /** Rejects, in words for the user, where there is nobody to speak to. */
  static async open(context: Context): Promise<ControlClient> {
    const { remote } = context
    const doors = remote === undefined ? await localDoors(context) : [remoteDoor(remote)]
    return new ControlClient(context, doors, await loadMaker())
  }

  async ask<Reply>(service: ControlService, method: string, request: object): Promise<Asked<Reply>> {
    let asked = await this.#askAt<Reply>(this.#doors[this.#door], service, method, request)
    for (let tries = 1; tries < this.#doors.length && isAway(asked); tries++) {
      this.#door = (this.#door + 1) % this.#doors.length
      asked = await this.#askAt<Reply>(this.#doors[this.#door], service, method, request)
    }
    return asked
  }

  /** Rejects with what went wrong, for verbs that can do nothing without. */
  async must<Reply>(service: ControlService, method: string, request: object): Promise<Reply> {
    const asked = await this.ask<Reply>(service, method, request)
    if (asked.kind === 'failed') throw new Error(asked.failure.why)
    return asked.value
  }

  /** To the one that leads. A lease that its holder did not live to give back runs out by itself: so long one waits for the next. */
  async order<Reply>(method: string, request: object): Promise<Asked<Reply>> {
    for (let waitedMs = 0; ; waitedMs += leaderAgainMs) {
      const asked = await this.#order<Reply>(method, request)
      const isBetween = asked.kind === 'failed' && asked.failure.metadata.get('qmq-leader') === nobodyLeads
      if (!isBetween || waitedMs >= leaderWaitMs) return asked
      if (waitedMs === 0) this.#context.complain('no control process leads at this moment: waiting for one')
      await this.#context.sleep(leaderAgainMs)
    }
  }

  async #order<Reply>(method: string, request: object): Promise<Asked<Reply>> {
    const asked = await this.ask<Reply>('OperationsService', method, request)
    if (asked.kind === 'reply') return asked
    const leader = asked.failure.metadata.get('qmq-leader')
    if (leader === undefined || leader === nobodyLeads) return asked
    const door = this.#leaderDoor(leader, asked.failure.metadata.get('qmq-leader-address'))
    return door === undefined ? asked : await this.#askAt<Reply>(door, 'OperationsService', method, request)
  }

  /** As `RpcClient.watch`. */
  watch<Value>(method: string, request: object, heard: (value: Value) => void): Promise<RpcFailure | undefined> {
    const client = this.#clientFor(this.#doors[this.#door], 'ClusterService')
    const options = { timeoutMs: 0, metadata: this.#metadata() }
    return new Promise((resolve) => {
      client.watch(method, request, options, (value) => heard(value as Value), resolve)
    })
  }

  close(): void {
    for (const client of this.#clients.values()) client.close()
  }

  #askAt<Reply>(door: Door | undefined, service: ControlService, method: string, request: object) {
    const options = { timeoutMs: callTimeoutMs, metadata: this.#metadata() }
    return this.#clientFor(door, service).call(method, request, options) as Promise<Asked<Reply>>
  }

  #metadata(): ReadonlyMap<string, string> {
    const { user } = this.#context
    return user === undefined ? new Map() : new Map([['x-qmq-user', user]])
  }

  #leaderDoor(id: string, address: string | undefined): Door | undefined {
    const { remote } = this.#context
    if (remote === undefined) return this.#doors.find((door) => door.id === id)
    const parsed = addressOf(address ?? '')
    return parsed === undefined ? undefined : remoteDoor({ ...remote, ...parsed })
  }

  #clientFor(door: Door | undefined, service: ControlService): RpcClient {
    if (door === undefined) throw new Error('there is no control process to speak to')
    const key = JSON.stringify([
      service,
      'socket' in door.target ? door.target.socket : [door.target.host, door.target.port],
    ])
    const known = this.#clients.get(key)
    if (known !== undefined) return known
    const client = this.#make(door.target, service)
    this.#clients.set(key, client)
    return client
  }
}

/** gRPC takes its time to load, and most commands need none. */
async function loadMaker(): Promise<MakeClient> {
  const [{ RpcClient: Client }, { loadDefinition, serviceIn }] = await Promise.all([
    import('../runtime/rpc-client.ts'),
    import('../runtime/rpc-definition.ts'),
  ])
  const services = loadDefinition(...definition)
  return (target, service) => new Client(target, serviceIn(services, `qmq.v1.${service}`), messageBytesMax)
}

/** Nobody answered: another one may. */
export function isAway<Reply>(asked: Asked<Reply>): boolean {
  return asked.kind === 'failed' && asked.failure.code === 'UNAVAILABLE'
}

async function localDoors({ world, state }: Context): Promise<readonly Door[]> {
  const layout = await readLayoutFile(world.disk, `${state}/${layoutFileName}`)
  if (layout === layoutAbsent) throw new Error(`no cluster in ${state}: ${layoutFileName} ${layout}`)
  if (typeof layout === 'string') throw new Error(`${state}/${layoutFileName} cannot be used: ${layout}`)
  const doors = layout.control.map(({ id, home }) => ({
    id,
    target: { socket: `${state}/${home}/${controlSocketName}` },
  }))
  const open = doors.filter(({ target }) => fs.existsSync(target.socket))
  if (open.length > 0) return open
  throw new Error(`no control process runs on ${state}: start \`qmq up\`, or name another cluster with --context`)
}

/** Rejects where a file cannot be read now; at each connection they are read again. */
function remoteDoor(remote: RemoteCluster): Door {
  const { host, port } = remote
  const tls = () => {
    try {
      return rpcTlsOf(remote)
    } catch (error) {
      return errorText(error)
    }
  }
  rpcTlsOf(remote)
  return { id: '', target: { host, port, tls } }
}

function rpcTlsOf({ ca, certificate, key }: RemoteCluster): RpcTls {
  return {
    ca: readNamed(ca),
    certificate: readNamed(certificate),
    key: readNamed(key),
    allowed: (names) => names.some((name) => /^qmq:\/\/[^/]+\/tier\/control\/[^/]+$/.test(name)),
  }
}

function readNamed(file: string): Buffer {
  try {
    return fs.readFileSync(file)
  } catch (error) {
    throw new Error(`${file} of this context cannot be read: ${(error as NodeJS.ErrnoException).code}`)
  }
}
