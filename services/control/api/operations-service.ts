/**
 * `qmq.v1.OperationsService`: orders. Each is in the audit log, durably, before it is carried out: an order that cannot be logged is not
 * given. Only the instance that leads carries orders out; another one says who does, and the caller goes there: forwarding
 * would hide from the log of that instance who ordered.
 */

import { nobodyLeads } from '../../contract/cluster-status.ts'
import { transactionIdPattern } from '../../contract/transaction-id.ts'
import { errorText } from '../../protocol/failure.ts'
import type { RpcAnswer, RpcFailed, RpcHandler } from '../../runtime/rpc-server.ts'
import type { ControlPlane, Order, OrderedBy, OrderOutcome, OrderRefusal, PreviewOutcome } from '../control-plane.ts'
import type { OrderLog } from '../order-log/order-log.ts'
import { type ApiCall, type ApiWorld, failed, invalid, reply, unaryMethod } from './api-call.ts'

export const leaderKey = 'qmq-leader'
export const leaderAddressKey = 'qmq-leader-address'

const reasonCharactersMax = 500
const countMax = 1000

interface Given {
  readonly pool: string
  readonly instance: string
  readonly toPool: string
  readonly plan: string
  readonly count: number
  readonly dryRun?: boolean
  readonly force?: boolean
  readonly reason: string
}

export interface OperationParts {
  readonly plane: ControlPlane
  readonly orders: OrderLog
  readonly world: ApiWorld
}

export function operationHandlers(parts: OperationParts): Readonly<Record<string, RpcHandler>> {
  const method = (read: (given: Given) => Order | RpcFailed): RpcHandler =>
    unaryMethod<Given>(parts.world, async (given, call) => {
      const order = problemOf(given) ?? read(given)
      if (order.kind === 'failed') return order
      return given.dryRun === true
        ? await preview(parts, order, given, call)
        : await carryOut(parts, order, given, call)
    })
  return {
    Scale: method(({ pool, count, force = false }) => {
      if (pool === '') return invalid('pool', 'it is empty')
      if (count > countMax) return invalid('count', `at most ${countMax}`)
      return { kind: 'scale', pool, count, force }
    }),
    Drain: method(({ instance, toPool, force = false }) =>
      ofInstance(instance, { kind: 'drain', instance, toPool: toPool === '' ? undefined : toPool, force }),
    ),
    Cordon: method(({ instance }) => ofInstance(instance, { kind: 'cordon', instance })),
    Uncordon: method(({ instance }) => ofInstance(instance, { kind: 'uncordon', instance })),
    CancelPlan: method(({ plan }) => ofPlan(plan, { kind: 'cancel', plan })),
    ResumePlan: method(({ plan, force = false }) => ofPlan(plan, { kind: 'resume', plan, force })),
  }
}

function problemOf({ reason }: Given): RpcFailed | undefined {
  if (reason.length > reasonCharactersMax) return invalid('reason', `at most ${reasonCharactersMax} characters`)
  return /[\p{Cc}\p{Zl}\p{Zp}]/u.test(reason) ? invalid('reason', 'one line, without control characters') : undefined
}

function ofInstance(instance: string, order: Order): Order | RpcFailed {
  return /^\d{2,3}$/.test(instance)
    ? order
    : invalid('instance', 'it is no id of a queue instance: two or three digits')
}

function ofPlan(plan: string, order: Order): Order | RpcFailed {
  return transactionIdPattern.test(plan) ? order : invalid('plan', 'it is no id of a plan')
}

async function carryOut(
  { plane, orders, world }: OperationParts,
  order: Order,
  given: Given,
  call: ApiCall,
): Promise<RpcAnswer> {
  const { requestId, who, role, method } = call
  const { kind: _kind, ...words } = order
  const line = { who, role, requestId, method, arguments: JSON.stringify(words), reason: given.reason }
  let number: number
  try {
    number = await orders.append({ kind: 'order', of: 0, ...line, result: '' })
  } catch (error) {
    return failed('UNAVAILABLE', `nothing was ordered, because it cannot be logged: ${errorText(error)}`)
  }
  const from = order.kind === 'scale' ? await countOf(plane, order.pool) : 0
  const outcome = await plane.order(order, orderedBy(call, given))
  const result = outcome.kind === 'done' ? `epoch ${outcome.epoch}` : `${outcome.kind}: ${whyOf(outcome)}`
  world.log.info('an order', { requestId, who, method, arguments: line.arguments, reason: given.reason, result })
  try {
    await orders.append({ kind: 'outcome', of: number, ...line, arguments: '', reason: '', result })
  } catch (error) {
    world.log.error('the outcome of an order could not be logged', { requestId, error: errorText(error) })
  }
  if (outcome.kind !== 'done' && outcome.kind !== 'unchanged') return refusal(plane, outcome)
  const { epoch, plan = '' } = outcome
  const why = outcome.kind === 'unchanged' ? outcome.why : ''
  return answerOf(order, from, { changed: outcome.kind === 'done', why, epoch, plan })
}

async function preview({ plane }: OperationParts, order: Order, given: Given, call: ApiCall): Promise<RpcAnswer> {
  if (order.kind !== 'scale' && order.kind !== 'drain') return invalid('dry_run', 'this order has none')
  const outcome = await plane.preview(order, orderedBy(call, given))
  const from = order.kind === 'scale' ? await countOf(plane, order.pool) : 0
  if (outcome.kind === 'preview') return answerOf(order, from, { changed: false, preview: outcome.preview })
  if (outcome.kind === 'unchanged') return answerOf(order, from, { changed: false, why: outcome.why })
  return refusal(plane, outcome)
}

function answerOf(order: Order, from: number, result: object): RpcAnswer {
  return reply(order.kind === 'scale' ? { from, to: order.count, result } : { result })
}

function orderedBy({ who, requestId }: ApiCall, { reason }: Given): OrderedBy {
  return { by: who, reason, requestId }
}

/** Instances of the pool that take mail, as the layout had it before the order. */
async function countOf(plane: ControlPlane, pool: string): Promise<number> {
  const view = await plane.view()
  return view?.layout.instances.filter((one) => one.pool === pool && one.standing === 'active').length ?? 0
}

function whyOf(outcome: Exclude<OrderOutcome | PreviewOutcome, { kind: 'done' | 'preview' }>): string {
  if (outcome.kind !== 'not-leader') return outcome.why
  return outcome.leader === undefined ? 'no control instance leads now' : `${outcome.leader} leads`
}

/** One that was started again may find the lease of its life before: nobody leads until that has run out. */
function withLeader(plane: ControlPlane, outcome: OrderRefusal): OrderRefusal {
  return outcome.kind === 'not-leader' && outcome.leader === plane.id
    ? { kind: 'not-leader', leader: undefined }
    : outcome
}

async function refusal(plane: ControlPlane, refused: OrderRefusal): Promise<RpcFailed> {
  const outcome = withLeader(plane, refused)
  const why = whyOf(outcome)
  if (outcome.kind === 'absent') return failed('NOT_FOUND', why)
  if (outcome.kind === 'refused') return failed('FAILED_PRECONDITION', why)
  if (outcome.kind === 'unavailable') return failed('UNAVAILABLE', why)
  if (outcome.leader === undefined) return failed('UNAVAILABLE', why, new Map([[leaderKey, nobodyLeads]]))
  const spec = (await plane.view())?.layout.control.find(({ id }) => id === outcome.leader)
  const texts = new Map([[leaderKey, outcome.leader]])
  if (spec !== undefined) texts.set(leaderAddressKey, `${spec.host}:${spec.port}`)
  return failed('FAILED_PRECONDITION', `${plane.id} does not lead: ${why}`, texts)
}
