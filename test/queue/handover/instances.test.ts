/** Two whole instances, one leaving to the other over gRPC: what moves, what stays, what is said of it. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import { bounceOptionsOf, QmailBouncePolicy } from '../../../services/bounce/bounce-policy.ts'
import type { Attempt, Outcome, Transport } from '../../../services/contract/delivery.ts'
import type { DrainPlan, Layout, Standing } from '../../../services/contract/layout.ts'
import type { LedgerEvent } from '../../../services/contract/ledger.ts'
import { permanent, temporary } from '../../../services/protocol/failure.ts'
import { encodeQmtpHead, encodeQmtpTail } from '../../../services/protocol/qmtp.ts'
import { QueueInstance } from '../../../services/queue/instance.ts'
import { dialHandover } from '../../../services/runtime/handover-dial.ts'
import { listenHandover } from '../../../services/runtime/handover-server.ts'
import { systemWorld } from '../../../services/runtime/system-world.ts'
import { freePorts } from '../../support/free-ports.ts'
import { type Cleanup, temporaryDirectory } from '../../support/temporary-directory.ts'
import { drainLayout, messageId, plan, planId, silent } from './place.ts'

type Answer = (recipient: string, attempt: Attempt) => Outcome

/** Answers by the recipient; attempts it is told to keep end when they are let go. */
class Scripted implements Transport {
  readonly attempts: Attempt[] = []
  kept: (() => void)[] | undefined
  readonly #answer: Answer

  constructor(answer: Answer) {
    this.#answer = answer
  }

  attempt(attempt: Attempt, done: (outcomes: readonly Outcome[]) => void): void {
    this.attempts.push(attempt)
    const settle = (): void => done(attempt.recipients.map((recipient) => this.#answer(recipient, attempt)))
    if (this.kept === undefined) setImmediate(settle)
    else this.kept.push(settle)
  }

  close(): void {}
}

const deferred: Outcome = { kind: 'failed', to: 'mx', failure: temporary('peer', '4.2.2', 'mailbox full', 452) }
const delivered: Outcome = { kind: 'delivered', to: 'mx', text: 'ok' }
const refused: Outcome = { kind: 'failed', to: 'mx', failure: permanent('peer', '5.1.1', 'no such user', 550) }

interface Running {
  readonly instance: QueueInstance
  readonly transport: Scripted
  readonly ledger: LedgerEvent[]
}

interface Stage {
  readonly state: string
  readonly layoutOf: (given?: { standing?: Standing; plans?: readonly DrainPlan[] }) => Layout
  start(id: string, layout: Layout, answer?: Answer): Promise<Running>
}

async function stage(t: Cleanup): Promise<Stage> {
  const state = temporaryDirectory(t)
  const ports = await freePorts(4)
  let epoch = 3
  const layoutOf: Stage['layoutOf'] = (given) => {
    const layout = drainLayout({ epoch: epoch++, ...given })
    const place = (id: string): number => (id === '01' ? 0 : 2)
    const instances = layout.instances
      .filter(({ id }) => ['01', '02', '90'].includes(id))
      .map((one) => ({ ...one, port: ports[place(one.id)] ?? 0, handoverPort: ports[place(one.id) + 1] ?? 0 }))
    return { ...layout, instances }
  }
  const start: Stage['start'] = async (id, layout, answer = () => deferred) => {
    const ledger: LedgerEvent[] = []
    const transport = new Scripted(answer)
    fs.mkdirSync(`${state}/instances/${id}`, { recursive: true })
    const world = systemWorld(silent)
    const instance = new QueueInstance(world, {
      ...{ layout, id, state },
      ledger: { record: (event) => ledger.push(event) },
      transports: { smtp: transport, qmtp: transport, maildir: transport },
      bouncePolicyOf: (cluster, pool) => new QmailBouncePolicy(bounceOptionsOf(cluster, pool)),
      onFatal: (why) => assert.fail(why),
      handoverDoors: async () => ({
        dial: dialHandover,
        listen: (at, taker) => listenHandover({ ...at, taker, log: silent }),
      }),
      limits: { diskReserveBytes: 1024 * 1024, stopWaitMs: 100 },
    })
    await instance.start()
    t.after(() => instance.stop().catch(() => {}))
    return { instance, transport, ledger }
  }
  return { state, layoutOf, start }
}

/** Hands a package to an instance; answers its letters. */
function send(instance: QueueInstance, recipients: readonly string[], id = messageId): Promise<string> {
  const trace = `Received: from c ([192.0.2.1])\r\n  by mail.example.com with SMTP id ${id}; 1 Jan 2026 00:00:00 -0000\r\n`
  const body = `${trace}Subject: test\r\n\r\nhello\r\n`
  const text = encodeQmtpHead('crlf', body.length) + body + encodeQmtpTail('s@sender.example', recipients)
  const port = instance.address?.port ?? 0
  return exchange(port, Buffer.from(text, 'latin1'))
}

async function exchange(port: number, bytes: Buffer): Promise<string> {
  const net = await import('node:net')
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.end(bytes))
    let text = ''
    socket.setEncoding('latin1').on('data', (piece: string) => {
      text += piece
    })
    socket.on('end', () => resolve([...text.matchAll(/:([KZD])/g)].map((match) => match[1]).join('')))
    socket.on('error', reject)
  })
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let round = 0; round < 1000; round++) {
    if (holds()) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  assert.fail(`not within 10 s: ${what}`)
}

test('instance: all mail moves with its history, the manifests agree, and the seal is written', async (t) => {
  const { state, layoutOf, start } = await stage(t)
  const before = layoutOf({ standing: 'active', plans: [] })
  const [target, source] = [await start('01', before), await start('02', before)]
  for (let count = 0; count < 30; count++)
    await send(source.instance, [`r${count}@customer1.example`], `${messageId}-${count.toString(36)}`)
  await until('all were tried', () =>
    source.instance.list(100).every(({ recipients }) => recipients[0]?.attempts === 1),
  )
  const known = source.instance.list(100).map(({ id, birthAt, recipients }) => ({ id, birthAt, recipients }))
  const draining = layoutOf()
  for (const { instance } of [target, source]) instance.apply(draining)
  await until('empty', () => source.instance.drain?.phase === 'empty')
  assert.deepEqual(source.instance.drain, {
    ...{ plan: planId, phase: 'empty', moved: 30, left: 0, leftBytes: 0, offered: 0 },
    movedBytes: target.instance.list(100).reduce((sum, { bytes }) => sum + bytes, 0),
  })
  assert.equal(await send(source.instance, ['late@customer1.example']), 'K')
  await until('the late one has moved', () => source.instance.drain?.moved === 31)
  const sealed = layoutOf({ standing: 'sealed' })
  for (const { instance } of [target, source]) instance.apply(sealed)
  await until('sealed', () => source.instance.drain?.phase === 'sealed')
  assert.deepEqual([source.instance.phase, source.instance.why], ['refusing', 'this queue has left the cluster'])
  assert.equal(await send(source.instance, ['later@customer1.example'], `${messageId}-z`), 'Z')
  assert.equal(await send(source.instance, ['late@customer1.example']), 'K', 'what was committed here is still known')
  const came = target.instance.list(100).filter(({ recipients }) => recipients[0]?.address.startsWith('r'))
  const byId = (a: { id: string }, b: { id: string }): number => (a.id < b.id ? -1 : 1)
  assert.deepEqual(
    came.map(({ id, birthAt, recipients }) => ({ id, birthAt, recipients })).sort(byId),
    known.sort(byId),
  )
  assert.equal(
    target.transport.attempts.filter(({ recipients }) => recipients[0]?.startsWith('r')).length,
    0,
    'none before it is due',
  )
  const [left, arrived] = [await source.instance.manifest(planId), await target.instance.manifest(planId)]
  assert.deepEqual(left.parts, arrived.parts)
  assert.deepEqual([left.parts[0]?.messages, left.parts[0]?.recipients], [31, 31])
  const audits = [source.instance.audit(), target.instance.audit()]
  assert.deepEqual(
    audits.map(({ balanced, queued, takenOver, handedOver }) => [balanced, queued, takenOver, handedOver]),
    [
      [true, 0, 0, 31],
      [true, 31, 31, 0],
    ],
  )
  const seal = JSON.parse(fs.readFileSync(`${state}/instances/02/seal.json`, 'utf8')) as { plan: string; left: unknown }
  assert.deepEqual([seal.plan, seal.left], [planId, left.parts])
  assert.equal(source.ledger.filter(({ event, to }) => event === 'handed-over' && to === '01').length, 31)
  assert.equal(target.ledger.filter(({ event, to }) => event === 'taken-over' && to === '02').length, 31)
  const first = await target.instance.manifestLines(planId, { source: '02', target: '01' }, '', 20)
  const last = JSON.parse(first.lines.at(-1) ?? '{}') as { number: number }
  const rest = await target.instance.manifestLines(planId, { source: '02', target: '01' }, `02>${last.number}`, 20)
  assert.deepEqual([first.lines.length, first.more, rest.lines.length, rest.more], [20, true, 11, false])
  assert.equal(new Set([...first.lines, ...rest.lines]).size, 31)
})

test('instance: a delivery under way ends first, and its outcome goes along; nothing else begins', async (t) => {
  const { layoutOf, start } = await stage(t)
  const before = layoutOf({ standing: 'active', plans: [] })
  const answer: Answer = (recipient) => (recipient.startsWith('yes') ? delivered : deferred)
  const [target, source] = [await start('01', before), await start('02', before, answer)]
  source.transport.kept = []
  await send(source.instance, ['yes@customer1.example', 'later@customer1.example'])
  await until('the delivery runs', () => source.transport.kept?.length === 1)
  const draining = layoutOf()
  for (const { instance } of [target, source]) instance.apply(draining)
  assert.equal(await send(source.instance, ['new@customer1.example'], `${messageId}-1`), 'K')
  await until('the new one has moved', () => source.instance.drain?.moved === 1)
  assert.deepEqual([source.instance.drain?.phase, source.instance.drain?.left], ['quiescing', 1])
  for (const settle of source.transport.kept.splice(0)) settle()
  await until('empty', () => source.instance.drain?.phase === 'empty')
  assert.equal(source.transport.attempts.length, 1)
  const moved = target.instance.list(9).find(({ recipients }) => recipients.length === 2)
  assert.deepEqual(
    moved?.recipients.map(({ status, attempts }) => [status, attempts]),
    [
      ['delivered', 1],
      ['pending', 1],
    ],
  )
  const { delivered: done, handedOver, balanced } = source.instance.audit()
  assert.deepEqual([done, handedOver, balanced, target.instance.audit().takenOver], [1, 2, true, 2])
})

test('instance: bounces and forwards keep the ids they had where the message was accepted', async (t) => {
  const { layoutOf, start } = await stage(t)
  const before = layoutOf({ standing: 'active', plans: [] })
  const noBounceHost: Answer = (recipient) => (recipient === 's@sender.example' ? deferred : refused)
  const [target, source] = [await start('01', before), await start('02', before, noBounceHost)]
  await send(source.instance, ['no@customer1.example'])
  await until('the bounce was offered', () => source.transport.attempts.some(({ sender }) => sender === ''))
  const draining = layoutOf()
  for (const { instance } of [target, source]) instance.apply(draining)
  await until('moved', () => source.instance.drain?.phase === 'empty')
  await until('reported', () => target.transport.attempts.some(({ sender }) => sender === ''))
  const ids = [source, target].map(({ transport }) => transport.attempts.find(({ sender }) => sender === '')?.id)
  assert.equal(ids[0], ids[1])
})

test('instance: a cancelled plan settles what was offered, and the rest is delivered here', async (t) => {
  const { layoutOf, start } = await stage(t)
  const before = layoutOf({ standing: 'active', plans: [] })
  const [target, source] = [await start('01', before), await start('02', before, () => delivered)]
  // Nobody is there to take it.
  await target.instance.stop()
  source.transport.kept = []
  const draining = layoutOf()
  source.instance.apply(draining)
  for (let count = 0; count < 5; count++)
    await send(source.instance, [`r${count}@customer1.example`], `${messageId}-${count}`)
  await until('it says why', () => source.instance.drain?.why !== undefined)
  assert.match(source.instance.drain?.why ?? '', /^01: /)
  assert.equal(source.transport.attempts.length, 0)
  source.transport.kept = undefined
  source.instance.apply(layoutOf({ standing: 'active', plans: [{ ...plan, state: 'cancelling' }] }))
  await until('delivered', () => source.instance.audit().delivered === 5)
  assert.deepEqual([source.instance.drain, source.instance.audit().handedOver], [undefined, 0])
})

test('instance: a plan that is cancelled while a delivery runs delivers each recipient once', async (t) => {
  const { layoutOf, start } = await stage(t)
  const before = layoutOf({ standing: 'active', plans: [] })
  const source = await start('02', before, () => delivered)
  source.transport.kept = []
  // Two next hops: one delivery runs, and the other as well.
  await send(source.instance, ['a@customer1.example', 'b@elsewhere.example'])
  await until('both run', () => source.transport.kept?.length === 2)
  const [first, second] = source.transport.kept.splice(0)
  source.instance.apply(layoutOf())
  first?.()
  await until('one has ended', () => source.instance.audit().delivered === 1)
  source.instance.apply(layoutOf({ standing: 'active', plans: [{ ...plan, state: 'cancelling' }] }))
  source.instance.apply(layoutOf({ standing: 'active', plans: [] }))
  second?.()
  await until('delivered', () => source.instance.audit().delivered === 2)
  assert.deepEqual([source.transport.attempts.length, source.instance.audit().queued], [2, 0])
})

test('instance: a drain goes on after a stop, from journal and layout alone', async (t) => {
  const { layoutOf, start } = await stage(t)
  const before = layoutOf({ standing: 'active', plans: [] })
  const source = await start('02', before)
  for (let count = 0; count < 5; count++)
    await send(source.instance, [`r${count}@customer1.example`], `${messageId}-${count}`)
  const draining = layoutOf()
  source.instance.apply(draining)
  await until('it says why', () => source.instance.drain?.why !== undefined)
  await source.instance.stop()
  const target = await start('01', draining)
  const again = await start('02', draining)
  await until('empty', () => again.instance.drain?.phase === 'empty')
  assert.deepEqual(
    [again.instance.drain?.moved, target.instance.audit().takenOver, again.transport.attempts.length],
    [5, 5, 0],
  )
})

test('instance: a message whose body is damaged stays, is named, and keeps the instance from being empty', async (t) => {
  const { state, layoutOf, start } = await stage(t)
  const before = layoutOf({ standing: 'active', plans: [] })
  const first = await start('02', before)
  for (let count = 0; count < 3; count++)
    await send(first.instance, [`r${count}@customer1.example`], `${messageId}-${count}`)
  await until('tried', () => first.instance.list(9).every(({ recipients }) => recipients[0]?.attempts === 1))
  await first.instance.stop()
  const file = `${state}/instances/02/journal/0000000001.segment`
  const bytes = fs.readFileSync(file)
  bytes[bytes.indexOf('hello') + 1] = 0x45
  fs.writeFileSync(file, bytes)
  const draining = layoutOf()
  const [target, source] = [await start('01', draining), await start('02', draining)]
  await until(
    'the others have moved',
    () => source.instance.drain?.moved === 2 && source.instance.drain.why !== undefined,
  )
  const { drain } = source.instance
  assert.deepEqual([drain?.phase, drain?.left, drain?.offered], ['moving', 1, 0])
  assert.match(drain?.why ?? '', new RegExp(`1 messages stay.* ${messageId}-[012]$`))
  assert.equal(target.instance.audit().takenOver, 2)
})

test('instance: the port for others is open only while a plan names it', async (t) => {
  const { layoutOf, start } = await stage(t)
  const before = layoutOf({ standing: 'active', plans: [] })
  const target = await start('01', before)
  const port = before.instances.find(({ id }) => id === '01')?.handoverPort ?? 0
  const isOpen = (): Promise<boolean> =>
    exchange(port, Buffer.from('x')).then(
      () => true,
      () => false,
    )
  assert.equal(await isOpen(), false)
  target.instance.apply(layoutOf())
  for (let round = 0; !(await isOpen()); round++) assert.ok(round < 1000)
  target.instance.apply(layoutOf({ standing: 'active', plans: [] }))
  for (let round = 0; await isOpen(); round++) assert.ok(round < 1000)
})
