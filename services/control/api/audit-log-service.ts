/** `qmq.v1.AuditLogService`: the orders this control instance was given, and whether their log is unchanged. */

import type { RpcHandler } from '../../runtime/rpc-server.ts'
import type { OrderLog } from '../order-log/order-log.ts'
import { type ApiWorld, invalid, reply, unaryMethod } from './api-call.ts'

const entriesUsual = 100
const entriesMax = 1000

export function auditLogHandlers(orders: OrderLog, world: ApiWorld): Readonly<Record<string, RpcHandler>> {
  return {
    ReadAuditLog: unaryMethod(world, async ({ from, limit }: { from: number; limit: number }) => {
      if (limit > entriesMax) return invalid('limit', `at most ${entriesMax}`)
      return reply({ entries: await orders.read(from, limit === 0 ? entriesUsual : limit) })
    }),
    VerifyAuditLog: unaryMethod(world, async () => reply(await orders.verify())),
  }
}
