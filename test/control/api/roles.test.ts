/** Every method the server says it has, by everybody who might call it: allowed where the table says so, refused in all other cases. */

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import path from 'node:path'
import { it } from 'node:test'
import { Client, credentials, Metadata, status } from '@grpc/grpc-js'
import { loadFileDescriptorSetFromBuffer, loadSync, type ServiceDefinition } from '@grpc/proto-loader'
import { methodRoles, type Role, roleOf, roles } from '../../../services/control/api/roles.ts'
import { RpcClient, type RpcTarget } from '../../../services/runtime/rpc-client.ts'
import type { RpcTls } from '../../../services/runtime/rpc-identity.ts'
import type { Cleanup } from '../../support/temporary-directory.ts'
import { dayMs, TestAuthority } from '../../support/test-authority.ts'
import { cluster, serveApi } from './api-place.ts'

const require = createRequire(import.meta.url)
const folderOf = (name: string): string => path.dirname(require.resolve(`${name}/package.json`))
const options = { longs: Number, enums: String, defaults: true, oneofs: true }

function serviceFrom(file: string, name: string): ServiceDefinition {
  return loadSync(file, options)[name] as ServiceDefinition
}

const reflection = serviceFrom(
  path.join(folderOf('@grpc/reflection'), 'build/proto/grpc/reflection/v1/reflection.proto'),
  'grpc.reflection.v1.ServerReflection',
)
/** What a caller gets: an answer or a refusal of another kind, the refusal of a role, or no connection at all. */
type Reception = 'served' | 'denied' | 'unconnected'

function ask(test: Cleanup, target: RpcTarget, service: ServiceDefinition, name: string): Promise<Reception> {
  const client = new RpcClient(target, service, 1024 * 1024)
  test.after(() => client.close())
  const method = service[name]
  return new Promise((resolve) => {
    const judge = (code: string | undefined) => {
      if (code === 'UNAVAILABLE') resolve('unconnected')
      else resolve(code === 'PERMISSION_DENIED' || code === 'UNAUTHENTICATED' ? 'denied' : 'served')
    }
    const limits = { timeoutMs: 20_000 }
    if (method?.requestStream === true) {
      const stream = client.open(name, limits, (failure) => judge(failure?.code))
      stream.on('data', () => judge(undefined))
      stream.write({ listServices: '*' })
    } else if (method?.responseStream === true) {
      const heard = () => judge(undefined)
      client.watch(name, {}, limits, heard, (failure) => judge(failure?.code))
    } else {
      client.call(name, {}, limits).then(
        (outcome) => judge(outcome.kind === 'failed' ? outcome.failure.code : undefined),
        () => judge('INTERNAL'),
      )
    }
  })
}

/** Our own client always shows one. */
function askWithoutCertificate(test: Cleanup, address: string, ca: Buffer, path: string): Promise<Reception> {
  const client = new Client(address, credentials.createSsl(ca, null, null, { checkServerIdentity: () => undefined }), {
    'grpc.ssl_target_name_override': 'qmq',
  })
  test.after(() => client.close())
  const nothing = (): Buffer => Buffer.alloc(0)
  return new Promise((resolve) => {
    client.makeUnaryRequest(path, nothing, nothing, {}, new Metadata(), {}, (error) =>
      resolve(error?.code === status.UNAVAILABLE ? 'unconnected' : 'served'),
    )
  })
}

interface ReflectionAnswer {
  readonly listServicesResponse?: { readonly service: readonly { readonly name: string }[] }
  readonly fileDescriptorResponse?: { readonly fileDescriptorProto: readonly Buffer[] }
}

/** The services that reflection lists, built from what it says of them alone. */
async function reflected(test: Cleanup, target: RpcTarget): Promise<ReadonlyMap<string, ServiceDefinition>> {
  const client = new RpcClient(target, reflection, 1024 * 1024)
  test.after(() => client.close())
  const ask = (request: object) =>
    new Promise<ReflectionAnswer>((resolve, reject) => {
      const stream = client.open('ServerReflectionInfo', { timeoutMs: 20_000 }, (failure) => reject(failure))
      stream.on('data', (answer) => resolve(answer as ReflectionAnswer))
      stream.write(request)
    })
  const { listServicesResponse } = await ask({ listServices: '*' })
  const services = new Map<string, ServiceDefinition>()
  for (const { name } of listServicesResponse?.service ?? []) {
    const { fileDescriptorResponse } = await ask({ fileContainingSymbol: name })
    const files = fileDescriptorResponse?.fileDescriptorProto ?? []
    const definition = loadFileDescriptorSetFromBuffer(Buffer.concat(files.map(asSetMember)), options)
    services.set(name, definition[name] as ServiceDefinition)
  }
  return services
}

/** Field 1 of a FileDescriptorSet. */
function asSetMember(file: Buffer): Buffer {
  const length: number[] = []
  for (let rest = file.length; ; rest >>>= 7) {
    length.push(rest < 128 ? rest : (rest & 127) | 128)
    if (rest < 128) return Buffer.concat([Buffer.from([10, ...length]), file])
  }
}

it('lets each caller do what his role says, in every method there is', { timeout: 300_000 }, async (test) => {
  const [authority, other] = [await TestAuthority.make(test), await TestAuthority.make(test, 2)]
  const uri = (rest: string): string => `qmq://${cluster}/${rest}`
  const { api } = await serveApi(test, { tls: await authority.tls([uri('tier/control/c1')]) })
  const { host, port } = api.address ?? { host: '', port: 0 }
  const by = (tls?: RpcTls): RpcTarget => ({ host, port, tls: tls && (() => tls) })
  const person = async (role: string, endsAt = Date.now() + dayMs) =>
    by(await authority.tls([uri(`role/${role}`)], undefined, { use: 'person', endsAt }))
  const byDnsName = await authority.tls([], undefined, { use: 'person', otherNames: [`DNS:qmq.${cluster}`] })
  const ca = authority.certificate
  const viewer = await person('viewer')
  const callers: readonly (readonly [name: string, target: RpcTarget, is: Role | 'unconnected' | 'denied'])[] = [
    ['without TLS', by(), 'unconnected'],
    ['by another authority', by({ ...(await other.tls([uri('role/admin')])), ca }), 'unconnected'],
    ['with one that has ended', await person('admin', Date.now() - dayMs / 2), 'unconnected'],
    ['viewer', viewer, 'viewer'],
    ['operator', await person('operator'), 'operator'],
    ['admin', await person('admin'), 'admin'],
    ['an edge', by(await authority.tls([uri('tier/edge/e1')])), 'denied'],
    ['a queue that says it is admin', by(await authority.tls([uri('tier/queue/00'), uri('role/admin')])), 'denied'],
    ['an admin of another cluster', by(await authority.tls(['qmq://other.example.com/role/admin'])), 'denied'],
    ['an admin by DNS name', by(byDnsName), 'denied'],
    ['an unknown role', await person('root'), 'denied'],
  ]
  const found = await reflected(test, viewer)
  const services = new Map([...found, ['reflection', reflection]])
  const checked = new Set<string>()
  for (const [, service] of services) {
    for (const [name, { path }] of Object.entries(service)) {
      checked.add(path)
      const needed = methodRoles.get(path)
      assert.ok(needed, path)
      assert.equal(await askWithoutCertificate(test, `${host}:${port}`, ca, path), 'unconnected', path)
      for (const [caller, target, is] of callers) {
        const mayDo: boolean = roles.indexOf(is as Role) >= roles.indexOf(needed)
        const expected: Reception = is === 'unconnected' || is === 'denied' ? is : mayDo ? 'served' : 'denied'
        assert.equal(await ask(test, target, service, name), expected, `${path} ${caller}`)
      }
    }
  }
  const ours = ['AuditLogService', 'ClusterService', 'OperationsService'].map((name) => `qmq.v1.${name}`)
  assert.deepEqual([...found.keys()].sort(), ['grpc.health.v1.Health', ...ours])
  const unseen = [...methodRoles.keys()].filter((method) => !checked.has(method) && !method.includes('v1alpha'))
  assert.deepEqual(unseen, [], 'in the table, and not on the server')
})

it('a role is what a certificate of this cluster says, exactly', () => {
  const of = (...names: string[]) =>
    roleOf({ kind: 'certificate', address: '', commonName: 'admin', names }, 'a.example')
  assert.equal(of('qmq://a.example/role/viewer', 'qmq://a.example/role/admin'), 'admin')
  for (const name of [
    'qmq://a.example/role/admin/',
    'qmq://a.example.org/role/admin',
    'QMQ://a.example/role/admin',
    'qmq://b/role/admin',
  ]) {
    assert.equal(of(name), undefined, name)
  }
  assert.equal(of('qmq://a.example/role/admin', 'qmq://a.example/tier/queue/01'), undefined)
  assert.equal(of(), undefined)
  assert.equal(roleOf({ kind: 'plain', address: '127.0.0.1:1' }, 'a.example'), undefined)
})

it('an API with a method that has no role does not start', async (test) => {
  const table = methodRoles as Map<string, Role>
  const method = '/qmq.v1.OperationsService/Scale'
  const role = table.get(method) as Role
  table.delete(method)
  try {
    await assert.rejects(serveApi(test), /no role is named for \/qmq.v1.OperationsService\/Scale/)
  } finally {
    table.set(method, role)
  }
})
