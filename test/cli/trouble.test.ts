/** The command where something is in the way: ports, processes, files, signals. Each is said at once and in words. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { Child, run } from '../support/child.ts'
import { Cluster, type ClusterPorts, clusterConf, clusterPorts, startCluster } from '../support/cluster.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const program = path.join(import.meta.dirname, '../../services/cli/qmq.js')

interface Place {
  readonly directory: string
  readonly state: string
  readonly ports: ClusterPorts
  readonly conf: string
  readonly where: readonly string[]
}

async function place(t: TestContext): Promise<Place> {
  const directory = temporaryDirectory(t)
  const [file, state] = [path.join(directory, 'conf-qmq'), path.join(directory, 'state')]
  const ports = await clusterPorts()
  const conf = clusterConf(ports, { deliver: 'hold' })
  fs.writeFileSync(file, conf)
  return { directory, state, ports, conf, where: ['--conf', file, '--state', state] }
}

function qmq(...words: string[]): ReturnType<typeof run> {
  return run(process.execPath, [program, ...words])
}

/** What it then says of itself. */
async function untilHealthy(cluster: Cluster): Promise<unknown> {
  for (let tries = 0; tries < 100; tries++) {
    const { finished, answer } = await cluster.ask(['status'])
    if (finished.code === 0) return answer
  }
  return assert.fail('the cluster does not become healthy')
}

describe('a port another program has', () => {
  it('refuses the start at once, naming port and listener, and writes no layout', async (t) => {
    const { ports, where, state } = await place(t)
    for (const [port, who] of [
      [ports.submission, 'e1 submission'],
      [ports.base + 80, '80 qmtp'],
    ] as const) {
      const server = createServer()
      await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
      const { code, stdout, stderr } = await qmq('up', '--once', '-o', 'json', ...where)
      await new Promise((resolve) => server.close(resolve))
      assert.equal(code, 1, stderr)
      const why = `port ${port} of 127.0.0.1, wanted for ${who}, is taken by another program`
      assert.equal(stderr, `${why}\n`)
      assert.deepEqual(JSON.parse(stdout), { ready: false, delivered: false, id: '', trace: [], why })
      assert.ok(!fs.existsSync(path.join(state, 'layout.json')))
    }
  })
})

describe('a directory without conf-qmq', () => {
  it('is exit code 2 in one line that names --conf; the state is beside the file', async (t) => {
    const { directory, conf } = await place(t)
    const elsewhere = temporaryDirectory(t)
    for (const words of [['up', '--once'], ['status'], ['check'], ['run', '00']]) {
      const { code, stdout, stderr } = await run(process.execPath, [program, ...words], { cwd: elsewhere })
      assert.deepEqual([code, stdout], [2, ''], words.join(' '))
      assert.match(stderr, /^[^\n]*--conf FILE\n$/)
    }
    assert.deepEqual(fs.readdirSync(elsewhere), [])
    assert.equal((await run(process.execPath, [program, 'version'], { cwd: elsewhere })).code, 0)
    fs.writeFileSync(path.join(directory, 'conf-qmq'), conf)
    const { stderr } = await qmq('--conf', path.join(directory, 'conf-qmq'), 'status')
    assert.match(stderr, new RegExp(`no cluster in ${directory}/state: layout.json is not there`))
  })

  it('options all verbs have may stand before the verb', async (t) => {
    const { where } = await place(t)
    const before = await qmq(...where, '-o', 'json', 'check')
    assert.equal(before.code, 0, before.stderr)
    assert.equal(JSON.parse(before.stdout).ok, true)
    const group = await qmq('queue', ...where, 'ls')
    assert.equal(group.code, 1)
    assert.match(group.stderr, /no cluster in/)
    assert.equal((await qmq('queue', 'show', 'nonsense', ...where)).code, 2, 'before anything is opened')
    assert.equal((await qmq('queue', 'ls', '--limit', '0', ...where)).code, 2)
  })
})

describe('a running cluster', () => {
  it('refuses a second process of an instance, and a second hand on its state', async (t) => {
    const { directory, conf } = await place(t)
    const cluster = await startCluster(t, directory, conf)
    const twice = await cluster.qmq(['run', '00'])
    assert.equal(twice.code, 1)
    assert.match(twice.stderr, /^00 is already running, as process \d+\n$/)
    const prepared = await cluster.qmq(['run', '00', '--prepare'])
    assert.equal(prepared.code, 1)
    assert.match(prepared.stderr, new RegExp(`^not prepared: process ${cluster.child.pid} `))
    const { finished, answer } = await cluster.ask(['check'])
    assert.equal(finished.code, 0, finished.stdout)
    const ports = (answer as { findings: { what: string; detail: string }[] }).findings.filter(
      ({ what }) => what === 'port',
    )
    assert.ok(ports.length > 8 && ports.every(({ detail }) => / is in use, by us$/.test(detail)))
  })

  it('is degraded where an instance is not on the layout in force', async (t) => {
    const { directory, conf, state } = await place(t)
    const cluster = await startCluster(t, directory, conf)
    const file = path.join(state, 'layout.json')
    const layout = JSON.parse(fs.readFileSync(file, 'utf8'))
    fs.writeFileSync(file, JSON.stringify({ ...layout, epoch: 7 }))
    const { finished, answer } = await cluster.ask(['status'])
    assert.equal(finished.code, 3)
    assert.equal((answer as { healthy: boolean }).healthy, false)
    assert.match(finished.stderr, /^00: ready, but on epoch 1 instead of 7$/m)
  })

  it('takes what it can of a changed conf-qmq at SIGHUP, and names what it cannot', async (t) => {
    const { directory, conf } = await place(t)
    const cluster = await startCluster(t, directory, conf)
    const pids = new Map(cluster.ready?.listeners.map(({ instance }) => [instance, 0]))
    const said = async (pattern: RegExp) => {
      cluster.child.process.kill('SIGHUP')
      await cluster.child.until(({ stderr }) => (pattern.test(stderr) ? true : undefined))
    }
    fs.writeFileSync(cluster.confFile, conf.replace('127.0.0.0/8', '127.0.0.0/8, 192.0.2.0/24'))
    await said(/is read again: epoch 2 is in force/)
    const { instances } = (await untilHealthy(cluster)) as { instances: { id: string; epoch: number }[] }
    assert.equal(instances.filter(({ id }) => pids.has(id)).length, pids.size)
    assert.ok(instances.every(({ epoch }) => epoch === 2))
    fs.writeFileSync(cluster.confFile, conf.replace('count: 2', 'count: 3'))
    await said(/is read again: epoch 3 is in force/)
    fs.writeFileSync(
      cluster.confFile,
      conf.replace('count: 2', 'count: 3').replace('role: bounce', 'role: bounce, bounce-format: dsn'),
    )
    await said(/nothing is changed before `qmq up` is started again: pool BOUNCES: bounceFormat/)
    fs.writeFileSync(cluster.confFile, 'version: 1\n')
    await said(/conf-qmq is wrong: the cluster goes on with epoch 3/)
    // The instance that came with epoch 3 may still be starting.
    await untilHealthy(cluster)
    assert.equal((await cluster.stop()).code, 0)
  })
})

describe('a message that does not arrive', () => {
  it('is given up at SIGTERM; mailboxes that cannot be made stop no instance', async (t) => {
    const { state, where } = await place(t)
    fs.mkdirSync(state, { recursive: true })
    fs.writeFileSync(path.join(state, 'mailboxes'), 'in the way')
    const child = new Child(process.execPath, [program, 'up', '--once', '-o', 'json', ...where])
    t.after(() => child.stop())
    await child.until(({ stderr }) => (/mailbox not made/.test(stderr) ? true : undefined))
    const ledger = path.join(state, 'edges/e1/ledger/current')
    const taken = () => fs.existsSync(ledger) && fs.readFileSync(ledger, 'utf8').includes('"received"')
    for (let tries = 0; !taken() && tries < 400; tries++) await new Promise((resolve) => setTimeout(resolve, 50))
    assert.ok(taken(), child.stderr)
    const begin = performance.now()
    const { code, stdout } = await child.stop('SIGTERM', 25_000)
    assert.ok(performance.now() - begin < 15_000)
    assert.equal(code, 1)
    const last = JSON.parse(stdout.trim())
    assert.deepEqual([last.ready, last.delivered, last.why], [true, false, 'stopped before it arrived'])
  })
})

describe('audit', () => {
  it('ends with 3 where damaged records wait for a person', async (t) => {
    const { directory, conf, state } = await place(t)
    const cluster = new Cluster(directory, conf)
    t.after(() => cluster.stop())
    await cluster.untilReady()
    await cluster.stop()
    assert.equal((await cluster.ask(['audit'])).finished.code, 0)
    fs.mkdirSync(path.join(state, 'instances/00/quarantine'), { recursive: true })
    fs.writeFileSync(path.join(state, 'instances/00/quarantine/1-64.record'), 'what was left')
    const { finished, answer } = await cluster.ask(['audit'])
    assert.equal(finished.code, 3)
    const { quarantined, balanced } = answer as { quarantined: number; balanced: boolean }
    assert.deepEqual([quarantined, balanced], [1, true])
    assert.match(finished.stderr, /1 damaged records are set aside/)
  })
})
