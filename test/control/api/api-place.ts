/** The API over a fake control plane, and clients of it: by its socket, or by its port with certificates. */

import path from 'node:path'
import { type Api, apiFiles, controlSocketName, startApi } from '../../../services/control/api/api-server.ts'
import { RpcClient, type RpcOutcome, type RpcTarget } from '../../../services/runtime/rpc-client.ts'
import { loadDefinition, serviceIn } from '../../../services/runtime/rpc-definition.ts'
import type { RpcTls } from '../../../services/runtime/rpc-identity.ts'
import { silentLog } from '../../../services/runtime/silent-log.ts'
import { systemWorld } from '../../../services/runtime/system-world.ts'
import type { Disk } from '../../../services/runtime/world.ts'
import { type Cleanup, temporaryDirectory } from '../../support/temporary-directory.ts'
import { FakePlane } from './fake-plane.ts'

export const cluster = 'mail.example.com'

export interface ApiPlace {
  readonly plane: FakePlane
  readonly home: string
  readonly api: Api
  readonly socket: RpcTarget
}

export async function serveApi(
  test: Cleanup,
  options: { tls?: RpcTls; disk?: Disk; home?: string } = {},
): Promise<ApiPlace> {
  const home = options.home ?? temporaryDirectory(test, 'control')
  const plane = new FakePlane()
  const { clock, random, disk } = systemWorld(silentLog)
  const world = { clock, random, disk: options.disk ?? disk, log: silentLog, cluster }
  const { tls } = options
  const api = await startApi({ plane, world, home })
  test.after(() => api.close())
  if (tls !== undefined) await api.openPort({ host: '127.0.0.1', port: 0, tls: () => tls })
  return { plane, home, api, socket: { socket: path.join(home, controlSocketName) } }
}

export function clientOf(test: Cleanup, target: RpcTarget, service: string): RpcClient {
  const client = new RpcClient(target, serviceIn(loadDefinition(...apiFiles), `qmq.v1.${service}`), 16 * 1024 * 1024)
  test.after(() => client.close())
  return client
}

export function callOnce(
  test: Cleanup,
  { socket }: ApiPlace,
  method: `${string}/${string}`,
  request: object = {},
  metadata: ReadonlyMap<string, string> = new Map(),
): Promise<RpcOutcome> {
  const [service = '', name = ''] = method.split('/')
  return clientOf(test, socket, service).call(name, request, { timeoutMs: 10_000, metadata })
}
