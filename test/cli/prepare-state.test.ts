/** A state directory made ready: epochs that never go back, whatever was lost, and a certificate that can be used. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { restartReasons } from '../../services/cli/layout-change.ts'
import { planState, writeState } from '../../services/cli/prepare-state.ts'
import { ensureSelfSigned } from '../../services/cli/self-signed.ts'
import { type Layout, takersOfPool } from '../../services/contract/layout.ts'
import { compile } from '../../services/control/layout/compile.ts'
import { scale } from '../../services/control/layout/scale.ts'
import { readLayoutFile } from '../../services/runtime/tier-layout.ts'
import { tlsPairProblem } from '../../services/runtime/tls-pair.ts'
import { clusterConf } from '../support/cluster.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { confOf, contextIn, type KeptContext } from './command-context.ts'

const text = clusterConf({ smtp: 2525, submission: 2587, smtps: 2465, base: 21_000 }, { deliver: 'hold' })
const conf = confOf(text)

async function prepare(context: KeptContext, wanted = conf): Promise<{ epoch: number; isNew: boolean }> {
  const plan = await planState(context, wanted)
  await writeState(context, plan)
  return { epoch: plan.layout.epoch, isNew: plan.isNew }
}

/** The copy a running instance keeps of the layout it took. */
function keepCopy(state: string, home: string, epoch: number): void {
  const layout = JSON.parse(fs.readFileSync(path.join(state, 'layout.json'), 'utf8'))
  fs.writeFileSync(path.join(state, home, 'layout.json'), JSON.stringify({ ...layout, epoch }))
}

test('epochs count on from the highest that any home has seen', async (t) => {
  const state = path.join(temporaryDirectory(t), 'state')
  const context = contextIn(state)
  assert.deepEqual(await prepare(context), { epoch: 1, isNew: true })
  assert.deepEqual(await prepare(context), { epoch: 1, isNew: false })
  keepCopy(state, 'instances/01', 1)
  assert.equal((await prepare(context)).epoch, 1)
  keepCopy(state, 'instances/02', 5)
  assert.equal((await prepare(context)).epoch, 6, 'an older layout.json was put back')
  assert.deepEqual(context.complaints, [])
  keepCopy(state, 'edges/e1', 9)
  fs.rmSync(path.join(state, 'layout.json'))
  assert.deepEqual(await prepare(context), { epoch: 10, isNew: false })
  assert.deepEqual(context.complaints, [])
})

test('a layout.json that is there and cannot be read is said so, and its epoch still counts', async (t) => {
  const state = path.join(temporaryDirectory(t), 'state')
  const context = contextIn(state)
  await prepare(context)
  const file = path.join(state, 'layout.json')
  fs.writeFileSync(file, '{"version":99,"epoch":41}')
  assert.deepEqual(await prepare(context), { epoch: 42, isNew: false })
  assert.equal(context.complaints.length, 1)
  assert.match(context.complaints[0] ?? '', /layout\.json cannot be used and is made again: /)
  fs.writeFileSync(file, '{"version"')
  fs.writeFileSync(path.join(state, 'instances/00/layout.json'), '{"epoch":50}')
  assert.equal((await prepare(context)).epoch, 51)
})

function countOf(layout: Layout): string {
  return takersOfPool(layout, 'CUSTOMER_1')
    .map(({ id }) => id)
    .join(' ')
}

test('what was ordered while the cluster ran is there at the next start, also where only a home has it', async (t) => {
  const state = path.join(temporaryDirectory(t), 'state')
  const context = contextIn(state)
  await prepare(context)
  const before = (await planState(context, conf)).layout
  const frame = { fence: 70, plan: 'x', at: 1, by: 'admin', reason: '', force: false, lost: new Set<string>() }
  const ordered = scale(before, 'CUSTOMER_1', 4, frame)
  assert.ok(ordered.kind === 'changed')
  fs.writeFileSync(path.join(state, 'edges/e1/layout.json'), JSON.stringify(ordered.layout))
  const next = await planState(context, conf)
  assert.deepEqual([countOf(next.layout), next.layout.fence], ['01 02 03 04', 70])
  await writeState(context, next)
  assert.ok(fs.existsSync(path.join(state, 'instances/04/control/me')))
  assert.equal((await planState(context, conf)).layout.epoch, next.layout.epoch)
  assert.deepEqual(context.complaints, [])
})

test('a smaller count in conf-qmq begins a plan; without a control process that is said', async (t) => {
  const context = contextIn(path.join(temporaryDirectory(t), 'state'))
  await prepare(context)
  const { layout } = await planState(context, confOf(text.replace('count: 2', 'count: 1')))
  assert.deepEqual(
    layout.plans.map(({ leaving, by }) => [leaving, by]),
    [[['02'], 'conf-qmq']],
  )
  assert.equal(layout.instances.find(({ id }) => id === '02')?.standing, 'cordoned')
  const without = text.replace(/^control: .*$/m, 'control: { count: 0 }').replace('count: 2', 'count: 1')
  await planState(context, confOf(without))
  assert.match(context.complaints.join(), /no control process runs, so nobody carries the plan out/)
})

test('the layout is in the form in which every tier reads it, so that it compares with what is in force', async (t) => {
  const context = contextIn(path.join(temporaryDirectory(t), 'state'))
  const plan = await planState(context, conf)
  assert.ok(plan.layout.edges[0]?.tls !== undefined)
  await writeState(context, plan)
  const read = await readLayoutFile(context.world.disk, path.join(context.state, 'layout.json'))
  assert.equal(JSON.stringify(read), JSON.stringify(plan.layout))
})

test('a plan writes no layout', async (t) => {
  const context = contextIn(path.join(temporaryDirectory(t), 'state'))
  await planState(context, conf)
  assert.ok(!fs.existsSync(path.join(context.state, 'layout.json')))
  assert.ok(!fs.existsSync(path.join(context.state, 'instances')))
})

test('a certificate is made once, and again when it is of no use', async (t) => {
  const context = contextIn(path.join(temporaryDirectory(t), 'state'))
  const [certificate, key] = ['cert', 'key'].map((name) => path.join(context.state, `tls/${name}.pem`)) as [
    string,
    string,
  ]
  const pair = () => ({ certificate: fs.readFileSync(certificate), key: fs.readFileSync(key) })
  assert.equal((await ensureSelfSigned(context, 'mail.example.com')).kind, 'ready')
  assert.equal(tlsPairProblem(pair()), undefined)
  assert.deepEqual(fs.readdirSync(path.dirname(key)).sort(), ['cert.pem', 'key.pem'])
  const first = pair()
  await ensureSelfSigned(context, 'mail.example.com')
  assert.deepEqual(pair(), first)
  assert.deepEqual(context.complaints, [])
  const spoil: readonly (() => void)[] = [
    () => fs.writeFileSync(certificate, ''),
    () => fs.rmSync(key),
    () => fs.writeFileSync(key, first.key),
  ]
  for (const [index, damage] of spoil.entries()) {
    damage()
    await ensureSelfSigned(context, 'mail.example.com')
    assert.equal(tlsPairProblem(pair()), undefined)
    assert.equal(context.complaints.length, index + 1)
    assert.equal(fs.statSync(key).mode & 0o777, 0o600)
  }
})

test('what a running cluster cannot take is named, and nothing else is', () => {
  const now = compile(conf, 1)
  const reasons = (from: string | RegExp, to: string) => {
    const changed = text.replace(from, to)
    assert.notEqual(changed, text)
    return restartReasons(now, compile(confOf(changed), 2))
  }
  assert.deepEqual(restartReasons(now, compile(conf, 2)), [])
  assert.deepEqual(reasons('127.0.0.0/8', '127.0.0.0/8, 192.0.2.0/24'), [])
  assert.deepEqual(reasons('deliver: "hold" }', 'deliver: "smtp:127.0.0.1:2626", lifetime: 1d }'), [])
  assert.deepEqual(reasons('smtp: 2525', 'smtp: 2526'), ['edge e1: listeners'])
  assert.deepEqual(reasons('count: 2', 'count: 3'), [])
  assert.deepEqual(reasons('count: 2', 'count: 1'), [])
  assert.deepEqual(reasons('port: 21200', 'port: 21201'), ['control c1: port'])
  assert.deepEqual(reasons('box@example.com', 'letters@example.com'), ['pool INTERNAL: mailboxes'])
  assert.match(reasons('cluster: mail.', 'cluster: post.').join(), /^the cluster's name, mail.example.com to post/)
})
