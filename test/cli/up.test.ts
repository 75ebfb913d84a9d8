/**
 * `qmq up` and its companions on a whole cluster of real processes: the first message, kills, stops, restarts, and what the
 * other verbs say meanwhile and afterwards.
 */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import type { InstanceState } from '../../services/contract/operations.ts'
import { Child, gone, run } from '../support/child.ts'
import { Cluster, clusterConf, clusterPorts } from '../support/cluster.ts'
import { makeTemporaryDirectory } from '../support/temporary-directory.ts'

const program = path.join(import.meta.dirname, '../../services/cli/qmq.js')
const everyId = ['00', '01', '02', '80', '90', '99', 'e1', 'c1']

interface Place {
  readonly directory: string
  readonly conf: string
}

async function prepare(): Promise<Place> {
  const directory = makeTemporaryDirectory('qmq-up')
  return { directory, conf: clusterConf(await clusterPorts(), { deliver: 'hold' }) }
}

function remove({ directory }: Place): void {
  fs.rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
}

/** Stopped, and its directory gone, when the test ends, however it ends. */
async function start(t: TestContext): Promise<Cluster> {
  const place = await prepare()
  const cluster = new Cluster(place.directory, place.conf)
  t.after(async () => {
    await cluster.stop()
    remove(place)
  })
  await cluster.untilReady()
  return cluster
}

interface Status {
  readonly healthy: boolean
  readonly instances: readonly (InstanceState & { readonly pid?: number })[]
}

async function statusOf(cluster: Cluster): Promise<{ code: number | null; status: Status }> {
  const { finished, answer } = await cluster.ask(['status'])
  return { code: finished.code, status: answer as Status }
}

function pidOf(status: Status, id: string): number {
  const pid = status.instances.find((instance) => instance.id === id)?.pid
  assert.ok(pid !== undefined, `${id} has no process`)
  return pid
}

async function untilHealthy(cluster: Cluster): Promise<Status> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const { code, status } = await statusOf(cluster)
    if (code === 0) return status
    assert.equal(code, 3)
  }
  throw new Error('the cluster did not come back')
}

describe('qmq up --once', () => {
  it('sends one message through all tiers, prints its trace as the last line, and leaves nothing running', async (t) => {
    const place = await prepare()
    t.after(() => remove(place))
    const { directory, conf } = place
    const file = path.join(directory, 'conf-qmq')
    fs.writeFileSync(file, conf)
    const state = path.join(directory, 'state')
    const where = ['--conf', file, '--state', state]
    const { code, stdout, stderr } = await run(process.execPath, [program, 'up', '--once', '-o', 'json', ...where])
    assert.equal(code, 0, stderr)
    const last = JSON.parse(stdout.trim().split('\n').at(-1) ?? '')
    assert.deepEqual([last.ready, last.delivered], [true, true])
    assert.match(last.id, /^[0-9A-Z]{26}$/)
    const steps = last.trace.map((step: Record<string, unknown>) => {
      assert.deepEqual(Object.keys(step), ['tier', 'instance', 'event', 'at'])
      return `${step['tier']} ${step['instance']} ${step['event']}`
    })
    for (const step of ['edge e1 received', 'queue 00 accepted', 'queue 00 delivered', 'queue 90 accepted'])
      assert.ok(steps.includes(step), `${step} in ${steps.join(', ')}`)
    const mail = (box: string) => fs.readdirSync(path.join(state, 'mailboxes/example.com', box, 'new')).length
    assert.deepEqual([mail('postmaster'), mail('newcomer')], [1, 1])
    assert.deepEqual(fs.readdirSync(path.join(state, 'lock')), [])
    assert.ok(!fs.existsSync(path.join(state, 'qmq.sock')))
    const audit = await run(process.execPath, [program, 'audit', '-o', 'json', ...where])
    assert.equal(audit.code, 0, audit.stderr)
    const { instances, ...totals } = JSON.parse(audit.stdout)
    const sums = { accepted: 4, takenOver: 0, delivered: 3, bounced: 1, discarded: 0, handedOver: 0, queued: 0 }
    assert.deepEqual(totals, { ...sums, quarantined: 0, balanced: true, left: [] })
    assert.equal(instances.length, 6)
    const verify = await run(process.execPath, [program, 'queue', 'verify', '-o', 'json', ...where])
    assert.equal(verify.code, 0, verify.stdout)
    const trace = await run(process.execPath, [program, 'trace', last.id, '-o', 'json', ...where])
    assert.ok(JSON.parse(trace.stdout).length >= last.trace.length, 'a stopped cluster still tells')
    assert.equal(fs.statSync(path.join(state, 'tls/key.pem')).mode & 0o777, 0o600)
  })

  it('ends with 1 where the message cannot arrive', async (t) => {
    const place = await prepare()
    t.after(() => remove(place))
    const { directory, conf } = place
    const file = path.join(directory, 'conf-qmq')
    fs.writeFileSync(file, conf.replace(/,\n\s*mailboxes: \[[^\]]*\]/, ''))
    const where = ['--conf', file, '--state', path.join(directory, 'state')]
    const { code, stdout, stderr } = await run(process.execPath, [program, 'up', '--once', '-o', 'json', ...where])
    assert.equal(code, 1, stdout)
    assert.deepEqual(JSON.parse(stdout.trim()).delivered, false)
    assert.match(stderr, /no pool of this cluster has mailboxes/)
  })
})

describe('qmq up', () => {
  it('says where it listens, starts again what is killed, and stops cleanly', async (t) => {
    const cluster = await start(t)
    const listeners = cluster.ready?.listeners.map(({ instance, kind }) => `${instance} ${kind}`).sort()
    const queues = everyId.slice(0, 6).map((id) => `${id} qmtp`)
    assert.deepEqual(listeners, [...queues, 'e1 smtp', 'e1 smtps', 'e1 submission'])
    const before = (await statusOf(cluster)).status
    assert.equal(before.healthy, true)
    assert.equal(pidOf(before, '00') === cluster.child.pid, false)
    const victims = ['00', 'e1'].map((id) => pidOf(before, id))
    for (const pid of victims) process.kill(pid, 'SIGKILL')
    await Promise.all(victims.map((pid) => gone(pid)))
    const after = await untilHealthy(cluster)
    for (const id of ['00', 'e1']) assert.notEqual(pidOf(after, id), pidOf(before, id))
    for (const id of ['01', '90']) assert.equal(pidOf(after, id), pidOf(before, id))
    assert.match(cluster.child.stderr, /00: process \d+ ended \(signal SIGKILL\), starting again in 100 ms/)
    const sent = await cluster.qmq(['send', '--count', '2'])
    assert.equal(sent.code, 0, sent.stderr)
    const finished = await cluster.stop()
    assert.equal(finished.code, 0, finished.stderr)
    for (const id of everyId) assert.ok(await gone(pidOf(after, id)), id)
    const down = await statusOf(cluster)
    assert.equal(down.code, 3)
    assert.ok(down.status.instances.every((instance) => (instance.phase as string) === 'down'))
  })

  it('a killed parent takes its children along cleanly, and the next one carries on by itself', async (t) => {
    const cluster = await start(t)
    const before = (await statusOf(cluster)).status
    const sent = await cluster.ask(['send', '--to', 'someone@customer1.example'])
    const { id } = sent.answer as { id: string }
    assert.match(id, /^[0-9A-Z]{26}$/)
    cluster.child.process.kill('SIGKILL')
    await cluster.child.finished
    cluster.restart()
    await cluster.untilReady()
    for (const instance of everyId) assert.ok(await gone(pidOf(before, instance)), instance)
    const { answer } = await cluster.ask(['queue', 'ls'])
    assert.deepEqual(
      (answer as { id: string }[]).map((message) => message.id),
      [id],
    )
    const shown = await cluster.qmq(['queue', 'show', id])
    assert.match(shown.stdout, /^To: <someone@customer1.example>$/m)
    const audit = await cluster.ask(['audit'])
    assert.equal(audit.finished.code, 0, audit.finished.stdout)
  })

  it('a second one on the same state is refused, and verify leaves running journals alone', async (t) => {
    const cluster = await start(t)
    const second = await cluster.qmq(['up'])
    assert.equal(second.code, 1)
    assert.match(second.stderr, new RegExp(`already running on .* process ${cluster.child.pid}`))
    const verify = await cluster.qmq(['queue', 'verify', '00'])
    assert.equal(verify.code, 1)
    assert.match(verify.stderr, /00: instance 00 is running as process \d+: stop it first/)
    assert.equal((await cluster.qmq(['queue', 'ls', '77'])).code, 2)
    assert.equal((await cluster.qmq(['trace', 'nonsense'])).code, 2)
    assert.equal((await cluster.qmq(['trace', '01M83RR83BV0FRYXJK5GXCM4KZ'])).code, 1)
    assert.equal((await statusOf(cluster)).code, 0)
  })

  it('the same file keeps the epoch, another one raises it, and what leaves is named and stays until its mail has gone', async (t) => {
    const cluster = await start(t)
    assert.equal(cluster.ready?.epoch, 1)
    assert.equal((await cluster.qmq(['send', '--to', 'a@customer1.example', '--count', '2'])).code, 0)
    await cluster.stop()
    cluster.restart()
    assert.equal((await cluster.untilReady()).epoch, 1)
    await cluster.stop()
    const conf = fs.readFileSync(cluster.confFile, 'utf8')
    fs.writeFileSync(cluster.confFile, conf.replace('count: 2', 'count: 1'))
    cluster.restart()
    assert.ok((await cluster.untilReady()).epoch >= 2)
    assert.match(cluster.child.stderr, /CUSTOMER_1 goes from 2 to 1 by plan \w+: 02 first hand over their mail/)
    const { answer } = await cluster.ask(['status'])
    const { instances } = answer as { instances: readonly { id: string; standing?: string }[] }
    const standing = instances.find(({ id }) => id === '02')?.standing
    assert.ok(standing !== undefined && standing !== 'active', `02 is ${standing}`)
  })
})

describe('qmq run', () => {
  it('carries one instance without any other, and stops when told', async (t) => {
    const place = await prepare()
    const { directory, conf } = place
    const file = path.join(directory, 'conf-qmq')
    fs.writeFileSync(file, conf)
    const words = ['run', '00', '--prepare', '--conf', file, '--state', path.join(directory, 'state')]
    const child = new Child(process.execPath, [program, ...words])
    t.after(async () => {
      await child.stop()
      remove(place)
    })
    await child.until(({ stderr }) => (/"msg":"ready"/.test(stderr) ? true : undefined))
    if (process.execve !== undefined) {
      assert.match(child.stderr, new RegExp(`"pid":${child.pid},[^\n]*"msg":"ready"`), 'nobody stands between')
    }
    const finished = await child.stop('SIGTERM')
    assert.equal(finished.code, 0, finished.stderr)
    assert.match(finished.stderr, /"msg":"stopped"/)
    const unknown = await run(process.execPath, [program, 'run', '77', '--state', path.join(directory, 'state')])
    assert.equal(unknown.code, 2)
    assert.match(unknown.stderr, /no instance 77; it has e1 00/)
  })
})
