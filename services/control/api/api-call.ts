/**
 * What every call of the API has: an id, a caller with a role, and an end. A call without a deadline gets one, and none is longer than
 * `unaryTimeoutMsMax`; each has an id, the caller's (`x-request-id`) or one of ours, which is sent back and logged.
 */

import { makeTransactionId } from '../../contract/transaction-id.ts'
import type {
  RpcAnswer,
  RpcCall,
  RpcCode,
  RpcFailed,
  RpcHandler,
  RpcSink,
  RpcStreamEnd,
} from '../../runtime/rpc-server.ts'
import type { Clock, Log, Random } from '../../runtime/world.ts'
import { callerName, type Role, roleOf } from './roles.ts'

export interface ApiWorld {
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly cluster: string
}

export interface ApiCall {
  readonly requestId: string
  readonly who: string
  readonly role: Role
  readonly method: string
  /** Milliseconds the caller waits, from now. */
  readonly timeoutMs: number
}

export const requestIdKey = 'x-request-id'
/** Whom the user of a socket says to be; whoever opens it may say anything. */
export const userKey = 'x-qmq-user'
export const fieldKey = 'qmq-field'
const unaryTimeoutMs = 30_000
const unaryTimeoutMsMax = 300_000
const streamTimeoutMsMax = 24 * 3_600_000

export function reply(value: object): RpcAnswer {
  return { kind: 'reply', value }
}

export function failed(code: RpcCode, why: string, metadata?: ReadonlyMap<string, string>): RpcFailed {
  return metadata === undefined ? { kind: 'failed', code, why } : { kind: 'failed', code, why, metadata }
}

/** A request that can never be right. */
export function invalid(field: string, why: string): RpcFailed {
  return failed('INVALID_ARGUMENT', `${field}: ${why}`, new Map([[fieldKey, field]]))
}

export function withoutCoordination(): RpcFailed {
  return failed('UNAVAILABLE', 'coordination cannot be reached: nothing is known of the cluster, and mail flows on')
}

export function unaryMethod<Request>(
  world: ApiWorld,
  answer: (request: Request, call: ApiCall) => Promise<RpcAnswer>,
): RpcHandler {
  return {
    kind: 'unary',
    answer: async (request: Request, rpc) => {
      const call = begin(world, rpc, unaryTimeoutMs, unaryTimeoutMsMax)
      const { promise: timeout, resolve } = Promise.withResolvers<RpcAnswer>()
      const timer = world.clock.after(call.timeoutMs, () =>
        resolve(failed('DEADLINE_EXCEEDED', `no answer within ${call.timeoutMs} ms; what was ordered may be done`)),
      )
      const answered = await Promise.race([answer(request, call), timeout])
      timer.cancel()
      finish(world, call, answered)
      return answered
    },
  }
}

/** Gives what is to be told of its end. */
export type ApiStream = (call: ApiCall, sink: RpcSink) => RpcStreamEnd

/** `begun` says what is wrong with a request before anything begins. */
export function streamMethod<Request>(world: ApiWorld, begun: (request: Request) => ApiStream | RpcFailed): RpcHandler {
  return {
    kind: 'stream',
    begin: (request: Request, rpc, sink) => {
      const call = begin(world, rpc, streamTimeoutMsMax, streamTimeoutMsMax)
      const stream = begun(request)
      if (typeof stream !== 'function') {
        finish(world, call, stream)
        sink.end(stream)
        return { drained: () => {}, closed: () => {} }
      }
      const end = stream(call, sink)
      const timer = world.clock.after(call.timeoutMs, () =>
        sink.end(failed('DEADLINE_EXCEEDED', 'watched for too long')),
      )
      return {
        drained: () => end.drained(),
        closed: () => {
          timer.cancel()
          end.closed()
        },
      }
    },
  }
}

function begin({ clock, random, cluster }: ApiWorld, rpc: RpcCall, usualMs: number, mostMs: number): ApiCall {
  const said = rpc.text(requestIdKey)
  const requestId = /^[\x21-\x7e]{1,128}$/.test(said) ? said : makeTransactionId(clock.now(), random.bytes(10))
  rpc.sendTexts(new Map([[requestIdKey, requestId]]))
  // Without a role the call would not have been admitted.
  const role = roleOf(rpc.caller, cluster) ?? 'viewer'
  const user = rpc.text(userKey)
  const who = callerName(rpc.caller, role, /^[\x20-\x7e]{1,64}$/.test(user) ? user : '')
  const leftMs = rpc.deadlineAt - clock.now()
  const timeoutMs = Number.isFinite(leftMs) ? Math.max(1, Math.min(leftMs, mostMs)) : usualMs
  return { requestId, who, role, method: rpc.method, timeoutMs }
}

function finish({ log }: ApiWorld, { requestId, who, method }: ApiCall, answer: RpcAnswer): void {
  const fields = { requestId, who, method }
  if (answer.kind === 'reply') log.debug('call answered', fields)
  else log.info('call not answered well', { ...fields, code: answer.code, why: answer.why })
}
