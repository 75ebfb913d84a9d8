/**
 * Who may call what. A method that is not in the table is nobody's, and an API that has one does not start.
 *
 * A caller's role is in the names of his certificate, `qmq://CLUSTER/role/viewer|operator|admin`, and nowhere else; a tier's certificate
 * (`qmq://CLUSTER/tier/...`) gives none, whatever else it says. Whoever may open the socket below the state directory owns
 * that directory, with every message in it, and is an admin.
 */

import type { RpcCaller } from '../../runtime/rpc-identity.ts'

export const roles = ['viewer', 'operator', 'admin'] as const
/** Each may do what those before it may. */
export type Role = (typeof roles)[number]

export const methodRoles: ReadonlyMap<string, Role> = new Map<string, Role>([
  ['/grpc.health.v1.Health/Check', 'viewer'],
  ['/grpc.health.v1.Health/Watch', 'viewer'],
  ['/grpc.health.v1.Health/List', 'viewer'],
  ['/grpc.reflection.v1.ServerReflection/ServerReflectionInfo', 'viewer'],
  ['/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo', 'viewer'],
  ['/qmq.v1.ClusterService/GetStatus', 'viewer'],
  ['/qmq.v1.ClusterService/WatchStatus', 'viewer'],
  ['/qmq.v1.ClusterService/GetLayout', 'viewer'],
  ['/qmq.v1.ClusterService/Audit', 'viewer'],
  ['/qmq.v1.ClusterService/ListReceipts', 'viewer'],
  ['/qmq.v1.ClusterService/GetReceipt', 'viewer'],
  ['/qmq.v1.ClusterService/WatchPlan', 'viewer'],
  // Who writes to whom, and about what.
  ['/qmq.v1.ClusterService/Trace', 'operator'],
  ['/qmq.v1.ClusterService/ListQueue', 'operator'],
  ['/qmq.v1.ClusterService/ShowMessage', 'operator'],
  ['/qmq.v1.OperationsService/Scale', 'operator'],
  ['/qmq.v1.OperationsService/Drain', 'operator'],
  ['/qmq.v1.OperationsService/Cordon', 'operator'],
  ['/qmq.v1.OperationsService/Uncordon', 'operator'],
  ['/qmq.v1.OperationsService/CancelPlan', 'operator'],
  ['/qmq.v1.OperationsService/ResumePlan', 'operator'],
  ['/qmq.v1.AuditLogService/VerifyAuditLog', 'operator'],
  ['/qmq.v1.AuditLogService/ReadAuditLog', 'admin'],
])

/** Undefined: none. */
export function roleOf(caller: RpcCaller, cluster: string): Role | undefined {
  if (caller.kind === 'socket') return 'admin'
  if (caller.kind === 'plain') return undefined
  const base = `qmq://${cluster}/`
  if (caller.names.some((name) => name.startsWith(`${base}tier/`))) return undefined
  return roles.findLast((role) => caller.names.includes(`${base}role/${role}`))
}

/** Why the caller may not call the method; undefined where he may. */
export function objection(method: string, caller: RpcCaller, cluster: string): string | undefined {
  const needed = methodRoles.get(method)
  if (needed === undefined) return `${method} is open to nobody`
  const has = roleOf(caller, cluster)
  if (has !== undefined && roles.indexOf(has) >= roles.indexOf(needed)) return undefined
  return `${method} takes the role ${needed}; this caller ${has === undefined ? 'has none' : `is ${has}`}`
}

/** For the audit log and the layout: `alice (operator)`, `at the socket (admin)`. */
export function callerName(caller: RpcCaller, role: Role, said: string): string {
  if (caller.kind === 'certificate') return `${caller.commonName || caller.names.join(' ')} (${role})`
  return `${said === '' ? 'somebody' : said}, at the socket (${role})`
}
