/**
 * `qmq.v1.ClusterService`: what may be seen. Nothing here changes anything, and any control instance answers.
 *
 * Without coordination there is nothing to be seen, and every method says UNAVAILABLE. An instance that does not answer is named in
 * `silent`; what the others said is told.
 */

import { clusterStatus } from '../../contract/cluster-status.ts'
import type { RequestResult } from '../../contract/coordination.ts'
import type { Layout } from '../../contract/layout.ts'
import type { LedgerEvent } from '../../contract/ledger.ts'
import type { Audit, OperationName, QueuedMessage } from '../../contract/operations.ts'
import { transactionIdPattern, transactionOf } from '../../contract/transaction-id.ts'
import { traceLedgers } from '../../runtime/ledger-trace.ts'
import type { RpcAnswer, RpcFailed, RpcHandler } from '../../runtime/rpc-server.ts'
import type { ControlPlane, ControlView } from '../control-plane.ts'
import { isLost } from '../drain/plan-view.ts'
import {
  type ApiCall,
  type ApiWorld,
  failed,
  invalid,
  reply,
  streamMethod,
  unaryMethod,
  withoutCoordination,
} from './api-call.ts'
import { PlanWatch, receiptNameOf } from './plan-watch.ts'
import { watchPlane } from './watching.ts'

const listedMax = 10_000
const listedUsual = 1000
/** An instance is waited for less long than the caller waits for us. */
const askShare = 0.8
const askTimeoutMsMax = 10_000

interface Silence {
  readonly instance: string
  readonly why: string
}

export function clusterHandlers(plane: ControlPlane, world: ApiWorld): Readonly<Record<string, RpcHandler>> {
  const seen = <Request>(
    answer: (view: ControlView, request: Request, call: ApiCall) => RpcAnswer | Promise<RpcAnswer>,
  ): RpcHandler =>
    unaryMethod<Request>(world, async (request, call) => {
      const view = await plane.view()
      return view === undefined ? withoutCoordination() : await answer(view, request, call)
    })
  const { clock, log } = world
  return {
    GetStatus: seen((view) => reply({ status: clusterStatus(view, isLost) })),
    WatchStatus: streamMethod(
      world,
      () => (_call, sink) => watchPlane({ plane, clock, log }, sink, () => lookAtStatus(plane)),
    ),
    GetLayout: seen(({ layout }) => reply({ epoch: layout.epoch, fence: layout.fence, json: JSON.stringify(layout) })),
    Audit: seen((view, _request, call) => auditAll(plane, view, call)),
    Trace: seen((view, request: { id: string }, call) => trace(plane, view, request.id, call)),
    ListQueue: seen((view, request: ListRequest, call) => listQueue(plane, view, request, call)),
    ShowMessage: seen((view, request: { id: string }, call) => showMessage(plane, view, request.id, call)),
    ListReceipts: unaryMethod(world, async ({ plan }: { plan: string }) => {
      const names = (await plane.receipts()).filter((name) => plan === '' || name.plan === plan)
      return reply({ names: names.map((name) => `${name.plan}-${name.instance}`) })
    }),
    GetReceipt: unaryMethod(world, ({ name }: { name: string }) => getReceipt(plane, name)),
    WatchPlan: streamMethod(world, ({ plan }: { plan: string }) => {
      if (!transactionIdPattern.test(plan)) return invalid('plan', `${plan} is no id of a plan`)
      const watch = new PlanWatch(plane, plan)
      return (_call, sink) => watchPlane({ plane, clock, log }, sink, () => watch.look())
    }),
  }
}

async function lookAtStatus(plane: ControlPlane) {
  const view = await plane.view()
  if (view === undefined) return withoutCoordination()
  const status = clusterStatus(view, isLost)
  const mark = JSON.stringify(status, (key, value) => (key === 'at' ? undefined : value))
  return { kind: 'sight' as const, value: { status }, mark, last: false }
}

async function askAll<Value>(
  parts: { plane: ControlPlane; ids: readonly string[]; call: ApiCall },
  operation: OperationName,
  value: Readonly<Record<string, string | number>>,
): Promise<{ readonly values: readonly Value[]; readonly silent: readonly Silence[] }> {
  const { plane, ids, call } = parts
  const timeoutMs = Math.min(askTimeoutMsMax, Math.ceil(call.timeoutMs * askShare))
  const results = await Promise.all(ids.map((id) => plane.ask(id, operation, value, timeoutMs)))
  const values: Value[] = []
  const silent: Silence[] = []
  for (const [index, result] of results.entries()) {
    if (result.kind === 'reply') values.push(result.value as Value)
    else silent.push({ instance: ids[index] ?? '', why: silenceOf(result) })
  }
  return { values, silent }
}

function silenceOf(result: Exclude<RequestResult, { kind: 'reply' }>): string {
  if (result.kind === 'refused') return result.why
  return result.kind === 'timeout' ? 'it does not answer in time' : 'it does not answer'
}

function runningQueues({ instances }: Layout): readonly string[] {
  return instances.filter(({ standing }) => standing !== 'parked').map(({ id }) => id)
}

async function auditAll(plane: ControlPlane, { layout }: ControlView, call: ApiCall): Promise<RpcAnswer> {
  const parked = layout.instances.filter(({ standing }) => standing === 'parked')
  const { values, silent } = await askAll<Audit>({ plane, ids: runningQueues(layout), call }, 'audit', {})
  const resting = parked.map(({ id }) => ({ instance: id, why: 'it is parked' }))
  const balanced = silent.length === 0 && values.every((audit) => audit.balanced)
  return reply({ instances: values, balanced, silent: [...silent, ...resting] })
}

async function trace(plane: ControlPlane, { layout }: ControlView, id: string, call: ApiCall): Promise<RpcAnswer> {
  if (!transactionIdPattern.test(id)) return invalid('id', 'it is no message id: 26 letters and digits')
  const ids = [...layout.edges.map((edge) => edge.id), ...runningQueues(layout)]
  let silent: readonly Silence[] = []
  const events = await traceLedgers(id, async (transaction) => {
    const found = await askAll<readonly LedgerEvent[]>({ plane, ids, call }, 'trace', { id: transaction })
    silent = found.silent
    return found.values.flat()
  })
  return reply({ events, silent })
}

interface ListRequest {
  readonly instances: readonly string[]
  readonly limit: number
}

async function listQueue(
  plane: ControlPlane,
  { layout }: ControlView,
  { instances, limit }: ListRequest,
  call: ApiCall,
): Promise<RpcAnswer> {
  const unknown = instances.find((id) => !layout.instances.some((instance) => instance.id === id))
  if (unknown !== undefined) return failed('NOT_FOUND', `instances: there is no instance ${unknown}`)
  if (limit > listedMax) return invalid('limit', `at most ${listedMax}`)
  const ids = instances.length > 0 ? [...new Set(instances)] : runningQueues(layout)
  const most = limit === 0 ? listedUsual : limit
  const { values, silent } = await askAll<readonly QueuedMessage[]>({ plane, ids, call }, 'list', { limit: most })
  return reply({ messages: values.flat(), silent })
}

async function showMessage(
  plane: ControlPlane,
  { layout }: ControlView,
  id: string,
  call: ApiCall,
): Promise<RpcAnswer> {
  if (!transactionIdPattern.test(transactionOf(id))) return invalid('id', 'it is no message id: 26 letters and digits')
  const { values, silent } = await askAll<readonly object[]>({ plane, ids: runningQueues(layout), call }, 'show', {
    id,
  })
  const messages = values.flat()
  if (messages.length === 0 && silent.length === 0) return failed('NOT_FOUND', `${id} is in no queue`)
  return reply({ messages, silent })
}

async function getReceipt(plane: ControlPlane, name: string): Promise<RpcAnswer | RpcFailed> {
  const parsed = receiptNameOf(name)
  if (parsed === undefined) return invalid('name', `${name} is no name of a receipt: PLAN-INSTANCE`)
  const found = await plane.receipt(parsed)
  if (found === undefined) return failed('NOT_FOUND', `there is no receipt ${name} here`)
  return reply({ name, text: found.text, verified: found.verdict.ok, problems: found.verdict.problems })
}
