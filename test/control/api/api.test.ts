/** The API over a real socket, with a control plane that says what the test wants. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, it } from 'node:test'
import type { RequestResult } from '../../../services/contract/coordination.ts'
import type { DrainPlan } from '../../../services/contract/layout.ts'
import { unaryMethod } from '../../../services/control/api/api-call.ts'
import { controlSocketName } from '../../../services/control/api/api-server.ts'
import type { ControlView } from '../../../services/control/control-plane.ts'
import { readChained, verifyChain } from '../../../services/control/order-log/order-chain.ts'
import { orderLogName } from '../../../services/control/order-log/order-log.ts'
import type { RpcOutcome } from '../../../services/runtime/rpc-client.ts'
import type { RpcAnswer } from '../../../services/runtime/rpc-server.ts'
import { silentLog } from '../../../services/runtime/silent-log.ts'
import { systemWorld } from '../../../services/runtime/system-world.ts'
import { failingWrites } from '../../support/failing-writes.ts'
import { type ApiPlace, callOnce, clientOf, serveApi } from './api-place.ts'

const planId = '01JZZZZZZZZZZZZZZZZZZZZZZZ'

function failureOf(outcome: RpcOutcome): { code: string; why: string; texts: Record<string, string> } {
  assert.equal(outcome.kind, 'failed')
  if (outcome.kind !== 'failed') throw new Error()
  const { code, why, metadata } = outcome.failure
  return { code, why, texts: Object.fromEntries(metadata) }
}

// biome-ignore lint/suspicious/noExplicitAny: answers are what the proto says.
function replyOf(outcome: RpcOutcome): any {
  assert.equal(outcome.kind, 'reply', JSON.stringify(outcome))
  return outcome.kind === 'reply' ? outcome.value : undefined
}

function logLines({ home }: ApiPlace): string[] {
  return fs.readFileSync(path.join(home, orderLogName), 'utf8').split('\n').slice(0, -1)
}

function viewOf(place: ApiPlace): ControlView {
  const { current } = place.plane
  assert.ok(current)
  return current
}

function planIn(view: ControlView, change: Partial<DrainPlan> = {}): ControlView {
  const plan: DrainPlan = {
    ...{ id: planId, pool: 'INTERNAL', from: 2, to: 1, leaving: ['00'], targets: ['99'], state: 'running' },
    ...{ force: false, keep: false, by: 'alice', reason: '', startedAt: 1, cordonEpoch: 8, ...change },
  }
  return { ...view, layout: { ...view.layout, plans: [plan] } }
}

describe('an order', { concurrency: true }, () => {
  it('is in the log before it is carried out, and its outcome after', async (test) => {
    const place = await serveApi(test)
    const before: string[][] = []
    place.plane.outcome = () => {
      before.push(logLines(place))
      return Promise.resolve({ kind: 'done', epoch: 8, plan: planId })
    }
    const said = new Map([
      ['x-request-id', 'req-1'],
      ['x-qmq-user', 'alice'],
    ])
    const request = { pool: 'INTERNAL', count: 2, reason: 'more mail' }
    const outcome = await callOnce(test, place, 'OperationsService/Scale', request, said)
    const { result, to } = replyOf(outcome)
    assert.deepEqual([to, result.changed, result.epoch, result.plan], [2, true, 8, planId])
    assert.equal(outcome.kind === 'reply' ? outcome.metadata.get('x-request-id') : '', 'req-1')
    const [{ order, by } = { order: undefined, by: undefined }] = place.plane.ordered
    assert.deepEqual(order, { kind: 'scale', pool: 'INTERNAL', count: 2, force: false })
    assert.deepEqual(by, { by: 'alice, at the socket (admin)', reason: 'more mail', requestId: 'req-1' })
    assert.equal(before[0]?.length, 1)
    const [first, second] = logLines(place).map((line) => readChained(line))
    assert.deepEqual(
      [first?.kind, first?.who, first?.reason, first?.requestId],
      ['order', by?.by, 'more mail', 'req-1'],
    )
    assert.equal(first?.arguments, '{"pool":"INTERNAL","count":2,"force":false}')
    assert.deepEqual([second?.kind, second?.of, second?.result], ['outcome', 1, 'epoch 8'])
    assert.equal(verifyChain(fs.readFileSync(path.join(place.home, orderLogName), 'utf8')).intact, true)
  })

  it('is not given where it cannot be logged', async (test) => {
    const { disk } = systemWorld(silentLog)
    const place = await serveApi(test, { disk: failingWrites(disk, () => 'ENOSPC') })
    const { code, why } = failureOf(await callOnce(test, place, 'OperationsService/Cordon', { instance: '00' }))
    assert.equal(code, 'UNAVAILABLE')
    assert.match(why, /nothing was ordered.*ENOSPC/)
    assert.deepEqual(place.plane.ordered, [])
  })

  it('names the field that is wrong, and is then neither logged nor given', async (test) => {
    const place = await serveApi(test)
    const wrong: readonly (readonly [method: `${string}/${string}`, request: object, field: string])[] = [
      ['OperationsService/Scale', { count: 2 }, 'pool'],
      ['OperationsService/Scale', { pool: 'A', count: 100_000 }, 'count'],
      ['OperationsService/Scale', { pool: 'A', reason: 'a\nb' }, 'reason'],
      ['OperationsService/Scale', { pool: 'A', reason: 'x'.repeat(501) }, 'reason'],
      ['OperationsService/Drain', { instance: '../00' }, 'instance'],
      ['OperationsService/Cordon', {}, 'instance'],
      ['OperationsService/Uncordon', { instance: 'e1' }, 'instance'],
      ['OperationsService/CancelPlan', { plan: 'x' }, 'plan'],
      ['OperationsService/ResumePlan', {}, 'plan'],
      ['ClusterService/Trace', { id: 'x' }, 'id'],
      ['ClusterService/ShowMessage', { id: '' }, 'id'],
      ['ClusterService/GetReceipt', { name: '../../keys' }, 'name'],
      ['ClusterService/ListQueue', { limit: 10_001 }, 'limit'],
      ['AuditLogService/ReadAuditLog', { limit: 1001 }, 'limit'],
    ]
    for (const [method, request, field] of wrong) {
      const { code, why, texts } = failureOf(await callOnce(test, place, method, request))
      assert.deepEqual([code, texts['qmq-field']], ['INVALID_ARGUMENT', field], method)
      assert.ok(why.startsWith(`${field}: `), why)
    }
    assert.deepEqual(place.plane.ordered, [])
    assert.deepEqual(logLines(place), [])
  })

  it('is refused by the convention of gRPC', async (test) => {
    const place = await serveApi(test)
    const { plane } = place
    const order = async (): Promise<ReturnType<typeof failureOf>> =>
      failureOf(await callOnce(test, place, 'OperationsService/Cordon', { instance: '00' }))
    plane.outcome = () => Promise.resolve({ kind: 'absent', why: 'no instance 00' })
    assert.equal((await order()).code, 'NOT_FOUND')
    plane.outcome = () => Promise.resolve({ kind: 'refused', why: 'the last of its pool' })
    assert.deepEqual(await order(), { code: 'FAILED_PRECONDITION', why: 'the last of its pool', texts: {} })
    plane.outcome = () => Promise.resolve({ kind: 'unavailable', why: 'no coordination' })
    assert.equal((await order()).code, 'UNAVAILABLE')
    // The lease of its own life before says that c1 leads: nobody does.
    for (const leader of [undefined, 'c1']) {
      plane.outcome = () => Promise.resolve({ kind: 'not-leader', leader })
      const { code, texts } = await order()
      assert.deepEqual([code, texts['qmq-leader']], ['UNAVAILABLE', 'none'])
    }
    const { host, port } = viewOf(place).layout.control[0] ?? { host: '', port: 0 }
    plane.id = 'c2'
    plane.outcome = () => Promise.resolve({ kind: 'not-leader', leader: 'c1' })
    const { code, why, texts } = await order()
    assert.deepEqual(
      [code, texts['qmq-leader'], texts['qmq-leader-address']],
      ['FAILED_PRECONDITION', 'c1', `${host}:${port}`],
    )
    assert.match(why, /c1 leads/)
    const results = logLines(place).flatMap((line) => readChained(line)?.result || [])
    assert.equal(results.length, 6)
    plane.outcome = () => Promise.reject(new Error('secret of the house'))
    const broken = await order()
    assert.equal(broken.code, 'INTERNAL')
    assert.doesNotMatch(broken.why, /secret/)
  })

  it('that is a dry run changes nothing, and is no order', async (test) => {
    const place = await serveApi(test)
    const preview = { leaving: ['01'], targets: ['00'], added: [], messages: 5, bytes: 70, oldestAgeMs: 9 }
    const estimate = { seconds: 1.5, rate: 'assumed', slaRisk: 2, notes: ['slow'] }
    place.plane.previewed = { kind: 'preview', preview: { ...preview, ...estimate } }
    const request = { pool: 'INTERNAL', count: 1, dryRun: true }
    const { result } = replyOf(await callOnce(test, place, 'OperationsService/Scale', request))
    assert.deepEqual({ ...result.preview }, { ...preview, ...estimate })
    assert.equal(result.changed, false)
    assert.deepEqual(place.plane.ordered, [])
    assert.deepEqual(logLines(place), [])
  })
})

describe('what is to be seen', { concurrency: true }, () => {
  it('without coordination is nothing, and that is said', async (test) => {
    const place = await serveApi(test)
    place.plane.current = undefined
    for (const name of ['GetStatus', 'GetLayout', 'Audit', 'ListQueue'] as const) {
      assert.equal(failureOf(await callOnce(test, place, `ClusterService/${name}`)).code, 'UNAVAILABLE', name)
    }
  })

  it('names every place, and who does not report', async (test) => {
    const place = await serveApi(test)
    const view = viewOf(place)
    const state = {
      ...{ id: '00', tier: 'queue' as const, pool: 'INTERNAL', pid: 7, epoch: 7, phase: 'ready' as const },
      ...{ listeners: [], startedAt: 1, at: view.now },
      load: { queued: 3, inFlight: 1, acceptedPerSecond: 2.5, oldestAgeMs: 900 },
    }
    place.plane.current = { ...view, states: new Map([['00', state]]) }
    const { status } = replyOf(await callOnce(test, place, 'ClusterService/GetStatus'))
    const { layout } = view
    assert.equal(status.places.length, layout.control.length + layout.edges.length + layout.instances.length)
    const [queue, edge] = ['00', 'e1'].map((id) => status.places.find((one: { id: string }) => one.id === id))
    assert.deepEqual([queue.phase, queue.standing, queue.queued, queue.acceptedPerSecond], ['ready', 'active', 3, 2.5])
    assert.equal(edge.phase, 'lost')
    assert.equal(status.healthy, false)
    assert.deepEqual([status.leader, status.epoch], ['c1', 7])
    const { json } = replyOf(await callOnce(test, place, 'ClusterService/GetLayout'))
    assert.deepEqual(JSON.parse(json), layout)
  })

  it('is put together from the instances that answer, and names those that do not', async (test) => {
    const place = await serveApi(test)
    const counts = { accepted: 5, delivered: 3, bounced: 1, discarded: 0, queued: 1, takenOver: 2, handedOver: 2 }
    const audit = { instance: '00', ...counts, balanced: true, quarantined: 0 }
    const answers = new Map<string, RequestResult>([
      ['00', { kind: 'reply', value: audit }],
      ['90', { kind: 'refused', why: 'it is starting' }],
    ])
    place.plane.answers = (id, operation) =>
      (operation === 'audit' ? answers.get(id) : undefined) ?? { kind: 'timeout' }
    const answer = replyOf(await callOnce(test, place, 'ClusterService/Audit'))
    assert.deepEqual({ ...answer.instances[0] }, audit)
    assert.equal(answer.balanced, false)
    const silent = new Map(answer.silent.map((one: { instance: string; why: string }) => [one.instance, one.why]))
    assert.equal(silent.get('90'), 'it is starting')
    assert.equal(silent.size, viewOf(place).layout.instances.length - 1)
    const unknown = failureOf(await callOnce(test, place, 'ClusterService/ListQueue', { instances: ['77'] }))
    assert.equal(unknown.code, 'NOT_FOUND')
  })

  it('is told again when it has changed, and watched no longer than somebody looks', async (test) => {
    const place = await serveApi(test)
    const client = clientOf(test, place.socket, 'ClusterService')
    const seen: string[] = []
    const { promise: ended, resolve: end } = Promise.withResolvers<void>()
    const { promise: second, resolve: see } = Promise.withResolvers<void>()
    const view = viewOf(place)
    const cancel = client.watch(
      'WatchStatus',
      {},
      { timeoutMs: 20_000 },
      (value) => {
        seen.push((value as { status: { leader: string } }).status.leader)
        if (seen.length === 1) place.plane.show({ ...view, leader: 'c2' })
        if (seen.length === 2) see()
      },
      () => end(),
    )
    await second
    assert.deepEqual(seen, ['c1', 'c2'])
    assert.equal(place.plane.watchers, 1)
    cancel()
    await ended
    while (place.plane.watchers > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  })

  it('of a plan ends with the plan', async (test) => {
    const place = await serveApi(test)
    const watch = (then: (plan: { state: string }) => void) =>
      new Promise<{ plans: Record<string, unknown>[]; code: string }>((resolve) => {
        const plans: Record<string, unknown>[] = []
        const heard = (value: object): void => {
          const { plan } = value as { plan: { state: string } }
          plans.push({ ...plan })
          then(plan)
        }
        const client = clientOf(test, place.socket, 'ClusterService')
        client.watch('WatchPlan', { plan: planId }, { timeoutMs: 20_000 }, heard, (failure) =>
          resolve({ plans, code: failure?.code ?? 'OK' }),
        )
      })
    assert.equal((await watch(() => {})).code, 'NOT_FOUND')
    const view = viewOf(place)
    place.plane.current = planIn({ ...view, waiting: new Map([[planId, ['for edge e1']]]) })
    const { plans, code } = await watch(({ state }) => state === 'running' && place.plane.show(view))
    assert.equal(code, 'OK')
    assert.deepEqual(
      plans.map(({ state, waiting }) => [state, waiting]),
      [
        ['running', ['for edge e1']],
        ['done', []],
      ],
    )
    place.plane.current = planIn(view, { state: 'cancelling' })
    const cancelled = await watch(({ state }) => state === 'cancelling' && place.plane.show(view))
    assert.equal(cancelled.plans.at(-1)?.['state'], 'cancelled')
  })
})

it('the socket belongs to the user of the process alone', async (test) => {
  const { home } = await serveApi(test)
  const { mode } = fs.statSync(path.join(home, controlSocketName))
  assert.equal(mode & 0o777, 0o600)
})

it('a request without an id gets one, and one that is no good is not kept', async (test) => {
  const place = await serveApi(test)
  for (const said of [new Map<string, string>(), new Map([['x-request-id', 'x'.repeat(200)]])]) {
    const outcome = await callOnce(test, place, 'ClusterService/GetStatus', {}, said)
    assert.match(outcome.kind === 'reply' ? (outcome.metadata.get('x-request-id') ?? '') : '', /^[0-9A-Z]{26}$/)
  }
})

it('a call ends by itself, with the deadline of the caller or one of ours', async () => {
  const { clock, random } = systemWorld(silentLog)
  const asked: number[] = []
  const soon = {
    ...{ now: () => clock.now(), monotonic: () => clock.monotonic(), soon: (task: () => void) => clock.soon(task) },
    after: (delayMs: number, task: () => void) => {
      asked.push(delayMs)
      return clock.after(0, task)
    },
  }
  const world = { clock: soon, random, log: silentLog, cluster: 'a' }
  const never = unaryMethod(world, () => new Promise(() => {}))
  assert.equal(never.kind, 'unary')
  const call = { caller: { kind: 'socket' as const }, method: '/m', text: () => '', sendTexts: () => {} }
  for (const deadlineAt of [Number.POSITIVE_INFINITY, clock.now() + 1e9]) {
    const answer: RpcAnswer | undefined =
      never.kind === 'unary' ? await never.answer({}, { ...call, deadlineAt }) : undefined
    assert.equal(answer?.kind === 'failed' ? answer.code : '', 'DEADLINE_EXCEEDED')
  }
  assert.deepEqual(asked, [30_000, 300_000])
})
