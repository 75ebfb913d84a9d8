/** Verbs that order: what they ask of a control process, what they say of its answers, and with which exit code they end. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, it } from 'node:test'
import { planState, writeState } from '../../services/cli/prepare-state.ts'
import type { Context, ExitCode, Verb } from '../../services/cli/verb.ts'
import { auditVerb } from '../../services/cli/verbs/audit.ts'
import { contextVerbs } from '../../services/cli/verbs/context.ts'
import { instanceVerbs } from '../../services/cli/verbs/drain.ts'
import { ordersVerb } from '../../services/cli/verbs/orders.ts'
import { planVerbs } from '../../services/cli/verbs/plan.ts'
import { queueVerbs } from '../../services/cli/verbs/queue.ts'
import { scaleVerb } from '../../services/cli/verbs/scale.ts'
import { topVerb } from '../../services/cli/verbs/top.ts'
import { traceVerb } from '../../services/cli/verbs/trace.ts'
import type { DrainPlan, Layout } from '../../services/contract/layout.ts'
import type { ControlView } from '../../services/control/control-plane.ts'
import { type ApiPlace, cluster, serveApi } from '../control/api/api-place.ts'
import { clusterConf } from '../support/cluster.ts'
import { type Cleanup, temporaryDirectory } from '../support/temporary-directory.ts'
import { TestAuthority, writeCredentials } from '../support/test-authority.ts'
import { confOf, contextIn, type KeptContext } from './command-context.ts'

const traced = '01M83RR83BV0FRYXJK5GXCM4KZ'
const planId = '01JZZZZZZZZZZZZZZZZZZZZZZZ'
const conf = confOf(clusterConf({ smtp: 2525, submission: 2587, smtps: 2465, base: 21_000 }, { deliver: 'hold' }))

interface Stage {
  readonly place: ApiPlace
  readonly context: KeptContext
  readonly layout: Layout
}

async function stage(test: Cleanup): Promise<Stage> {
  const context = contextIn(path.join(temporaryDirectory(test), 'state'))
  const { layout } = await planState(context, conf)
  await writeState(context, await planState(context, conf))
  const home = path.join(context.state, layout.control[0]?.home ?? '')
  fs.mkdirSync(home, { recursive: true })
  const place = await serveApi(test, { home })
  place.plane.current = { ...viewOf(place), layout }
  return { place, context, layout }
}

function viewOf({ plane }: ApiPlace): ControlView {
  assert.ok(plane.current)
  return plane.current
}

function verbNamed(verbs: readonly Verb[], name: string): Verb {
  const verb = verbs.find((one) => one.name === name)
  assert.ok(verb)
  return verb
}

function run(verb: Verb, context: Context, words: string[], options: Record<string, unknown> = {}): Promise<ExitCode> {
  return verb.run(context, { words, options })
}

function draining(view: ControlView, state: DrainPlan['state'] = 'running'): ControlView {
  const plan: DrainPlan = {
    ...{ id: planId, pool: 'CUSTOMER_1', from: 2, to: 1, leaving: ['02'], targets: ['01'], state },
    ...{ force: false, keep: false, by: 'alice', reason: '', startedAt: 1, cordonEpoch: 8 },
  }
  return { ...view, layout: { ...view.layout, plans: [plan] }, waiting: new Map([[planId, ['for edge e1']]]) }
}

/** The receipt of instance 02, as true as the test wants it. */
function keepReceipt({ plane }: ApiPlace, ok: boolean): void {
  const count = { accepted: 5, delivered: 2, bounced: 0, discarded: 0, queued: 0, takenOver: 0, handedOver: 3 }
  const receipt = {
    ...{ version: 1 as const, cluster, plan: planId, pool: 'CUSTOMER_1', instance: '02', by: 'alice', reason: '' },
    ...{ epoch: 9, fence: 1, startedAt: 1, sealedAt: 4001, messages: 3, bytes: 4096, recipients: 3 },
    ...{ left: [], arrived: [], audit: { instance: '02', ...count, balanced: true, quarantined: 0 } },
  }
  const verdict = { ok, receipt, signer: 'key', problems: ok ? [] : ['a byte is another'] }
  plane.kept.set(`${planId}-02`, { text: '{}', verdict })
}

/** The order begins the plan, which goes on to its end once the command has told of it. */
function scaleDown({ place, context }: Stage, end: (view: ControlView) => ControlView = (view) => view): void {
  const { plane } = place
  const view = viewOf(place)
  const balanced = { instance: '01', ...{ accepted: 0, delivered: 0, bounced: 0, discarded: 0, queued: 0 } }
  plane.answers = () => ({
    kind: 'reply',
    value: { ...balanced, takenOver: 0, handedOver: 0, balanced: true, quarantined: 0 },
  })
  plane.outcome = () => {
    plane.current = draining(view)
    const timer = setInterval(() => {
      if (![...context.printed, ...context.complaints].some((line) => line.includes('for edge e1'))) return
      clearInterval(timer)
      plane.show(end(view))
    }, 10)
    return Promise.resolve({ kind: 'done', epoch: 8, plan: planId })
  }
}

describe('qmq scale', { concurrency: true }, () => {
  it('waits for the plan and ends with one line of what became of it', async (test) => {
    const on = await stage(test)
    scaleDown(on)
    keepReceipt(on.place, true)
    const context = { ...on.context, output: 'json' as const }
    assert.equal(await run(scaleVerb, context, ['CUSTOMER_1=1'], { reason: 'less mail', wait: true }), 0)
    assert.equal(on.context.printed.length, 1)
    assert.deepEqual(JSON.parse(on.context.printed[0] ?? ''), {
      ...{ pool: 'CUSTOMER_1', from: 2, to: 1, messages: 3, bytes: 4096, seconds: 4, receipt: planId },
      ...{ receipts: [`${planId}-02`], verified: true, balanced: true },
    })
    assert.match(on.context.complaints.join('\n'), /waits: for edge e1/)
    const [{ order, by } = { order: undefined, by: undefined }] = on.place.plane.ordered
    assert.deepEqual(order, { kind: 'scale', pool: 'CUSTOMER_1', count: 1, force: false })
    assert.equal(by?.reason, 'less mail')
  })

  it('is degraded where a receipt is missing or not true', async (test) => {
    for (const receipt of [undefined, false]) {
      const on = await stage(test)
      scaleDown(on)
      if (receipt !== undefined) keepReceipt(on.place, receipt)
      assert.equal(await run(scaleVerb, on.context, ['CUSTOMER_1=1'], { wait: true }), 3)
      assert.match(on.context.printed.at(-1) ?? '', /NOT verified/)
    }
  })

  it('goes on watching when the control plane was away for a while', async (test) => {
    const on = await stage(test)
    const view = viewOf(on.place)
    keepReceipt(on.place, true)
    on.place.plane.answers = () => ({ kind: 'timeout' })
    on.place.plane.outcome = () => {
      on.place.plane.current = undefined
      return Promise.resolve({ kind: 'done', epoch: 8, plan: planId })
    }
    let pauses = 0
    const sleep = (): Promise<void> => {
      pauses++
      on.place.plane.current = view
      return Promise.resolve()
    }
    assert.equal(await run(scaleVerb, { ...on.context, sleep }, ['CUSTOMER_1=1'], { wait: true }), 3)
    assert.ok(pauses > 0)
    assert.match(on.context.printed.at(-1) ?? '', new RegExp(`receipt ${planId}; mail is NOT balanced`))
  })

  it('says that a plan was cancelled', async (test) => {
    const on = await stage(test)
    scaleDown(on, (view) => draining(view, 'cancelling'))
    const timer = setInterval(() => {
      if (on.place.plane.current?.layout.plans[0]?.state === 'cancelling') {
        clearInterval(timer)
        setTimeout(() => on.place.plane.show({ ...viewOf(on.place), layout: on.layout }), 700)
      }
    }, 10)
    test.after(() => clearInterval(timer))
    assert.equal(await run(scaleVerb, on.context, ['CUSTOMER_1=1'], { wait: true }), 1)
    assert.match(on.context.complaints.join('\n'), /cancelled/)
  })

  it('waits for new instances to be ready', async (test) => {
    const on = await stage(test)
    const view = viewOf(on.place)
    on.place.plane.outcome = () => Promise.resolve({ kind: 'done', epoch: 8, plan: undefined })
    let pauses = 0
    const sleep = (): Promise<void> => {
      pauses++
      const own = on.layout.instances.filter(({ pool }) => pool === 'CUSTOMER_1')
      const states = own.map(({ id }) => ({
        ...{ id, tier: 'queue' as const, pid: 1, epoch: 8, phase: 'ready' as const, listeners: [], startedAt: 1 },
        ...{ at: view.now, load: { queued: 0, inFlight: 0, acceptedPerSecond: 0, oldestAgeMs: 0 } },
      }))
      on.place.plane.current = { ...view, states: new Map(states.map((state) => [state.id, state])) }
      return Promise.resolve()
    }
    assert.equal(await run(scaleVerb, { ...on.context, sleep }, ['CUSTOMER_1=2'], { wait: true }), 0)
    assert.ok(pauses > 0, 'it did not wait')
  })

  it('ends with 2 for what is asked wrongly, with 1 for what cannot be', async (test) => {
    const on = await stage(test)
    for (const words of ['CUSTOMER_1', 'CUSTOMER_1=', '=2', 'CUSTOMER_1=-1', 'CUSTOMER_1=1.5']) {
      assert.equal(await run(scaleVerb, on.context, [words]), 2, words)
    }
    assert.deepEqual(on.place.plane.ordered, [])
    const answers = [
      [{ kind: 'absent', why: 'there is no pool X' }, 2],
      [{ kind: 'refused', why: 'another plan is under way' }, 1],
      [{ kind: 'not-leader', leader: 'c2' }, 1],
      [{ kind: 'not-leader', leader: undefined }, 1],
      [{ kind: 'unavailable', why: 'no coordination' }, 1],
    ] as const
    for (const [answer, code] of answers) {
      on.place.plane.outcome = () => Promise.resolve(answer)
      let waited = 0
      const sleep = async (ms: number): Promise<void> => {
        waited += ms
      }
      assert.equal(await run(scaleVerb, { ...on.context, sleep }, ['X=1']), code, JSON.stringify(answer))
      // A lease that was not given back runs out meanwhile.
      const isBetween = answer.kind === 'not-leader' && answer.leader === undefined
      assert.equal(waited >= 15_000, isBetween, JSON.stringify(answer))
      if ('why' in answer) assert.match(on.context.complaints.at(-1) ?? '', new RegExp(answer.why))
    }
  })

  it('asks a person before mail moves, and orders nothing without a yes', async (test) => {
    const on = await stage(test)
    const preview = { leaving: ['02'], targets: ['01'], added: [], messages: 5, bytes: 2048, oldestAgeMs: 90_000 }
    const estimate = { seconds: 2, rate: 'measured', slaRisk: 1, notes: [] }
    on.place.plane.previewed = { kind: 'preview', preview: { ...preview, ...estimate } }
    const asked: string[] = []
    const ask = (question: string) => Promise.resolve(asked.push(question) > 1 ? 'yes' : '')
    const terminal = { columns: 200, rows: 50, write: () => {}, ask }
    assert.equal(await run(scaleVerb, { ...on.context, terminal }, ['CUSTOMER_1=1']), 0)
    assert.equal(asked.length, 1)
    assert.deepEqual(on.place.plane.ordered, [])
    assert.match(
      on.context.printed[0] ?? '',
      /leaving: 02.*\n.*5 messages, 2.0 KiB.*\n.*2.0 s.*\n.*1 messages would pass/,
    )
    assert.equal(await run(scaleVerb, { ...on.context, terminal }, ['CUSTOMER_1=1'], { wait: false }), 0)
    assert.equal(on.place.plane.ordered.length, 1)
    assert.equal(await run(scaleVerb, on.context, ['CUSTOMER_1=1'], { dryRun: true }), 0)
    assert.equal(on.place.plane.ordered.length, 1)
  })
})

it('orders to one instance and to a plan say what they are', async (test) => {
  const on = await stage(test)
  const orders: readonly (readonly [verbs: readonly Verb[], name: string, word: string, order: object])[] = [
    [instanceVerbs, 'cordon', '02', { kind: 'cordon', instance: '02' }],
    [instanceVerbs, 'uncordon', '02', { kind: 'uncordon', instance: '02' }],
    [planVerbs, 'plan cancel', planId, { kind: 'cancel', plan: planId }],
    [planVerbs, 'plan resume', planId, { kind: 'resume', plan: planId, force: true }],
    [instanceVerbs, 'drain', '02', { kind: 'drain', instance: '02', toPool: undefined, force: true }],
  ]
  for (const [verbs, name, word, order] of orders) {
    assert.equal(await run(verbNamed(verbs, name), on.context, [word], { force: true }), 0, name)
    assert.deepEqual(on.place.plane.ordered.at(-1)?.order, order)
  }
  assert.equal(await run(verbNamed(instanceVerbs, 'cordon'), on.context, ['e1']), 2)
  on.place.plane.current = draining(viewOf(on.place))
  assert.equal(await run(verbNamed(planVerbs, 'plan ls'), on.context, []), 0)
  assert.match(on.context.printed.at(-1) ?? '', new RegExp(`${planId}  CUSTOMER_1  2 to 1 .*for edge e1`))
})

it('the log of orders is read as a file, and its first broken line named', async (test) => {
  const on = await stage(test)
  await run(verbNamed(instanceVerbs, 'cordon'), { ...on.context, user: 'alice' }, ['02'], { reason: 'a disk' })
  assert.equal(await run(ordersVerb, on.context, []), 0)
  assert.match(
    on.context.printed.at(-1) ?? '',
    /2 lines, unchanged.*\n[\s\S]*alice, at the socket \(admin\).*Cordon.*a disk/,
  )
  const file = path.join(on.place.home, 'orders.log')
  fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace('a disk', 'a whim'))
  assert.equal(await run(ordersVerb, on.context, []), 1)
  assert.match(on.context.complaints.at(-1) ?? '', /orders.log: line 1 is broken: it was changed/)
})

it('without a control process an order says so, and top shows what there is', async (test) => {
  const context = contextIn(path.join(temporaryDirectory(test), 'state'))
  await assert.rejects(run(scaleVerb, context, ['A=1']), /no cluster in .*state/)
  await writeState(context, await planState(context, conf))
  await assert.rejects(run(scaleVerb, context, ['A=1']), /no control process runs on .*qmq up/)
  assert.equal(await run(topVerb, context, [], { once: true }), 3)
  assert.match(context.printed[0] ?? '', /nobody leads: 0 queued[\s\S]*\n02 +queue +CUSTOMER_1 +active +lost/)
  assert.match(context.complaints[0] ?? '', /no `qmq up` is running on this state: start it/)
  let drawn = ''
  const write = (text: string): void => {
    drawn += text
  }
  const terminal = { columns: 200, rows: 50, write, ask: () => Promise.resolve('') }
  const sleep = () => Promise.reject(new Error('seen'))
  await assert.rejects(run(topVerb, { ...context, terminal, sleep }, []), /seen/)
  assert.match(drawn, /no `qmq up` is running on this state: start it.*\r\n.*\r\n.*nobody leads/)
})

describe('contexts', () => {
  it('are added, used, listed and forgotten', async (test) => {
    const file = path.join(temporaryDirectory(test), 'deep', 'contexts.yaml')
    const context = { ...contextIn('/nowhere'), contextsFile: file, output: 'json' as const }
    const verb = (name: string, words: string[], options: Record<string, unknown> = {}) =>
      run(verbNamed(contextVerbs, `context ${name}`), context, words, options)
    const files = { ca: 'ca.pem', cert: '/x/me.pem', key: '/x/true' }
    assert.equal(await verb('add', ['prod'], { address: '[::1]:2950', ...files }), 0)
    assert.equal(await verb('add', ['on'], { address: 'c1.example.com:2950', ...files }), 0)
    assert.equal(fs.statSync(file).mode & 0o777, 0o600)
    assert.equal(await verb('use', ['on']), 0)
    assert.equal(await verb('ls', []), 0)
    const listed = JSON.parse(context.printed.at(-1) ?? '')
    const row = { ca: path.resolve('ca.pem'), certificate: '/x/me.pem', key: '/x/true', port: 2950 }
    assert.deepEqual(listed, [
      { name: 'prod', host: '::1', ...row, current: false },
      { name: 'on', host: 'c1.example.com', ...row, current: true },
    ])
    assert.equal(await verb('rm', ['on']), 0)
    assert.equal(await verb('use', ['on']), 2)
    for (const [name, options] of [
      ['a b', { address: 'a:1', ...files }],
      ['a', { address: 'a', ...files }],
      ['a', { address: 'a:1', ca: 'x' }],
    ] as const) {
      assert.equal(await verb('add', [name], options), 2, name)
    }
    fs.writeFileSync(file, 'contexts:\n  prod: { address: "no" }\n')
    await assert.rejects(verb('ls', []), /contexts.yaml: context prod: address is not HOST:PORT/)
  })

  it('lead to a control process elsewhere, with the rights of our certificate', async (test) => {
    const authority = await TestAuthority.make(test)
    const place = await serveApi(test, { tls: await authority.tls([`qmq://${cluster}/tier/control/c1`]) })
    const edge = await serveApi(test, { tls: await authority.tls([`qmq://${cluster}/tier/edge/e1`]) })
    const as = async (role: string, api: ApiPlace): Promise<KeptContext> => {
      const directory = temporaryDirectory(test, role)
      const person = await authority.issue([`qmq://${cluster}/role/${role}`], { use: 'person' })
      writeCredentials(directory, authority.certificate, person)
      const [ca = '', certificate = '', key = ''] = ['ca', 'cert', 'key'].map((name) => `${directory}/${name}.pem`)
      const { host, port } = api.api.address ?? { host: '', port: 0 }
      return { ...contextIn('/nowhere'), remote: { name: 'far', host, port, ca, certificate, key } }
    }
    const looking = await as('viewer', place)
    assert.equal(await run(topVerb, looking, [], { once: true }), 3)
    assert.match(looking.printed[0] ?? '', /c1 leads/)
    assert.equal(await run(scaleVerb, looking, ['INTERNAL=2']), 1)
    assert.match(looking.complaints[0] ?? '', /takes the role operator; this caller is viewer/)
    assert.equal(place.plane.ordered.length, 0)
    const operating = await as('operator', place)
    assert.equal(await run(scaleVerb, operating, ['INTERNAL=2'], { wait: false }), 0)
    assert.equal(place.plane.ordered.at(-1)?.by.by, 'somebody (operator)')
    const [event, count] = [
      { id: traced, tier: 'edge', instance: 'e1', event: 'received', at: 1 },
      { accepted: 2, delivered: 2 },
    ]
    const nothing = { bounced: 0, discarded: 0, queued: 0, takenOver: 0, handedOver: 0, quarantined: 0 }
    place.plane.answers = (instance, operation) => {
      if (operation === 'audit') return { kind: 'reply', value: { instance, ...count, ...nothing, balanced: true } }
      return instance === 'e1' && operation === 'trace'
        ? { kind: 'reply', value: [event] }
        : { kind: 'reply', value: [] }
    }
    assert.equal(await run(auditVerb, operating, []), 0)
    assert.match(operating.printed.at(-1) ?? '', /\nall +12 +0 +12 +0 +0 +0 +0 +0 +yes/)
    assert.equal(await run(traceVerb, operating, [traced]), 0)
    assert.match(operating.printed.at(-1) ?? '', /edge +e1 +received/)
    assert.equal(await run(verbNamed(queueVerbs, 'queue ls'), operating, []), 0)
    assert.equal(operating.printed.at(-1), 'Nothing is queued.')
    assert.equal(await run(verbNamed(queueVerbs, 'queue ls'), operating, ['77']), 2)
    await assert.rejects(run(traceVerb, looking, [traced]), /takes the role operator/)
    await assert.rejects(run(topVerb, await as('viewer', edge), [], { once: true }), /tier\/edge\/e1/)
  })
})
