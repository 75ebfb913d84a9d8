/**
 * The API of a control instance: the services of `contract/proto/qmq/v1/`, on the socket in its home and, with certificates, on its
 * port. Without certificates there is no port: nobody is believed by his address.
 *
 * It starts with coordination gone, and says so to whoever asks; health says NOT_SERVING meanwhile, and of orders wherever another
 * instance leads. It is on no message's way: with it gone, mail flows, and nobody can order anything.
 */

import { loadDefinition, serviceIn, serviceNames } from '../../runtime/rpc-definition.ts'
import type { RpcSecurity } from '../../runtime/rpc-identity.ts'
import { introspectionMethods } from '../../runtime/rpc-introspection.ts'
import { listenRpc, type RpcPlace, type RpcServer, type RpcServiceOffer } from '../../runtime/rpc-server.ts'
import type { Address, Disk, Timer } from '../../runtime/world.ts'
import type { ControlPlane } from '../control-plane.ts'
import { OrderLog } from '../order-log/order-log.ts'
import type { ApiWorld } from './api-call.ts'
import { auditLogHandlers } from './audit-log-service.ts'
import { clusterHandlers } from './cluster-service.ts'
import { operationHandlers } from './operations-service.ts'
import { methodRoles, objection } from './roles.ts'

export interface ApiParts {
  readonly plane: ControlPlane
  readonly world: ApiWorld & { readonly disk: Disk }
  /** Of the control instance, absolute. */
  readonly home: string
}

export interface ApiPort {
  readonly host: string
  readonly port: number
  readonly tls: RpcSecurity
}

export interface Api {
  /** Of the port; undefined where there is none. */
  readonly address: Address | undefined
  /** Besides the socket, until it has been had once. Rejects where it cannot be. */
  openPort(port: ApiPort): Promise<void>
  close(): Promise<void>
}

export const controlSocketName = 'control.sock'
export const apiFiles = ['qmq/v1/cluster.proto', 'qmq/v1/operations.proto', 'qmq/v1/audit_log.proto'] as const
const names = {
  cluster: 'qmq.v1.ClusterService',
  operations: 'qmq.v1.OperationsService',
  auditLog: 'qmq.v1.AuditLogService',
} as const
/** A request is a few words; an answer may be a layout of a hundred instances or ten thousand queued messages. */
const messageBytesMax = 16 * 1024 * 1024
const healthIntervalMs = 2000

/** Rejects where the log of orders or a listener cannot be had, and where a method has no role. */
export async function startApi({ plane, world, home }: ApiParts): Promise<Api> {
  const orders = await OrderLog.open(world, home)
  const servers: RpcServer[] = []
  const offers = offersOf(plane, orders, world)
  const open = async (place: RpcPlace) => {
    servers.push(await serve(place, offers, world))
  }
  try {
    await open({ socket: `${home}/${controlSocketName}` })
  } catch (error) {
    await orders.close()
    throw error
  }
  const health = new HealthTeller(plane, world, servers)
  health.start()
  return {
    get address() {
      return servers[1]?.address
    },
    openPort: open,
    close: async () => {
      health.stop()
      await Promise.all(servers.map((server) => server.close()))
      await orders.close()
    },
  }
}

function offersOf(plane: ControlPlane, orders: OrderLog, world: ApiWorld): readonly RpcServiceOffer[] {
  const definition = loadDefinition(...apiFiles)
  const handlers = new Map([
    [names.cluster as string, clusterHandlers(plane, world)],
    [names.operations, operationHandlers({ plane, orders, world })],
    [names.auditLog, auditLogHandlers(orders, world)],
  ])
  return serviceNames(definition).map((name) => ({
    service: serviceIn(definition, name),
    handlers: handlers.get(name) ?? {},
  }))
}

function serve(place: RpcPlace, offers: readonly RpcServiceOffer[], { log, cluster }: ApiWorld): Promise<RpcServer> {
  const methods = [
    ...offers.flatMap(({ service }) => Object.values(service).map(({ path }) => path)),
    ...introspectionMethods,
  ]
  const open = methods.filter((method) => !methodRoles.has(method))
  if (open.length > 0) throw new Error(`no role is named for ${open.join(', ')}`)
  return listenRpc({
    ...{ place, log, offers, messageBytesMax, introspection: apiFiles },
    admit: (method, caller) => {
      const why = objection(method, caller, cluster)
      if (why === undefined) return undefined
      log.warn('a call was refused', { method, why, caller: JSON.stringify(caller) })
      return { code: 'PERMISSION_DENIED', why }
    },
  })
}

class HealthTeller {
  readonly #plane: ControlPlane
  readonly #world: ApiWorld
  readonly #servers: readonly RpcServer[]
  #timer: Timer | undefined
  #stopped = false

  constructor(plane: ControlPlane, world: ApiWorld, servers: readonly RpcServer[]) {
    this.#plane = plane
    this.#world = world
    this.#servers = servers
  }

  start(): void {
    this.#plane.view().then(
      (view) => this.#tell(view !== undefined, view?.leader === this.#plane.id),
      () => this.#tell(false, false),
    )
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  #tell(sees: boolean, leads: boolean): void {
    if (this.#stopped) return
    for (const { health } of this.#servers) {
      for (const name of ['', names.cluster]) health.tell(name, sees)
      health.tell(names.operations, leads)
      health.tell(names.auditLog, true)
    }
    this.#timer = this.#world.clock.after(healthIntervalMs, () => this.start())
  }
}
