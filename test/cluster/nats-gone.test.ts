/** `qmq up` over a real nats-server that is not there, comes, dies, forgets and comes back; and one instance alone on "another host". */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { NatsCoordination } from '../../services/runtime/nats-coordination.ts'
import { openVerifier } from '../../services/runtime/signature.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'
import { SystemDisk } from '../../services/runtime/system-disk.ts'
import { SystemRandom } from '../../services/runtime/system-random.ts'
import { Child } from '../support/child.ts'
import { Cluster, clusterConf, clusterPorts } from '../support/cluster.ts'
import { MailClient } from '../support/mail-client.ts'
import { NatsServer } from '../support/nats-server.ts'
import { RedisServer } from '../support/redis-server.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { type Heard, isWell, restartTiers, statusOf, untilStatus } from './status.ts'

const program = path.join(import.meta.dirname, '../../services/cli/qmq.js')

async function sendOne(cluster: Cluster): Promise<number> {
  const port = cluster.ready?.listeners.find(({ kind }) => kind === 'smtp')?.port ?? 0
  const client = await MailClient.connect(port)
  const data = Buffer.from('From: a@example.net\r\nSubject: x\r\n\r\nbody\r\n')
  const { code } = await client.send({ sender: 'a@example.net', recipients: ['box@example.com'], data })
  await client.quit()
  return code
}

/** Its conf-qmq names the server, which may not run, and has `more` lines. */
async function start(t: TestContext, server: NatsServer, more = ''): Promise<Cluster> {
  t.after(() => server.remove())
  const conf = clusterConf(await clusterPorts(), { deliver: 'hold', coordination: `nats://${server.address}` })
  const cluster = new Cluster(temporaryDirectory(t), `${conf}${more}`)
  t.after(async () => {
    await cluster.stop()
  })
  await cluster.untilReady(120_000)
  return cluster
}

function watcher(t: TestContext, server: NatsServer, name = 'watcher'): NatsCoordination {
  const coordination = new NatsCoordination({
    ...{ clock: new SystemClock(), random: new SystemRandom(), servers: [server.address], client: name },
    ...{ authentication: async () => ({ kind: 'none' }), makesBuckets: false, reconnectMsMax: 100 },
  })
  t.after(() => coordination.close())
  return coordination
}

async function layoutIn(cluster: Cluster, coordination: NatsCoordination): Promise<number | undefined> {
  const entry = await coordination.get('layout').catch(() => undefined)
  if (entry === undefined) return undefined
  const verified = (await openVerifier(new SystemDisk(), cluster.state)).verify(JSON.stringify(entry.value))
  return !verified.ok ? undefined : (JSON.parse(verified.document) as { epoch: number }).epoch
}

async function untilLayout(cluster: Cluster, coordination: NatsCoordination, epoch: number): Promise<void> {
  for (let tries = 0; (await layoutIn(cluster, coordination)) !== epoch; tries++) {
    assert.ok(tries < 300, `no layout of epoch ${epoch}: ${cluster.child.stderr}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

function logOf(cluster: Cluster, id: string): string {
  return fs.readFileSync(path.join(cluster.state, 'log', `${id}.log`), 'utf8')
}

function count(text: string, part: string): number {
  return text.split(part).length - 1
}

describe('qmq up over NATS', () => {
  it('starts without it, says so, uses it when it comes, and carries mail through its death and its loss', async (t) => {
    const server = await NatsServer.prepare()
    const cluster = await start(t, server)
    assert.equal(await sendOne(cluster), 250)
    const alone = await untilStatus(cluster, 'gone', ({ finished }) => finished.code === 3)
    assert.match(alone.finished.stderr, /NATS cannot be reached, this is what this host knows: .*REFUSED/)
    assert.match(alone.finished.stderr, /e1: NATS gone since /)
    assert.ok(alone.status.instances.every(({ phase }) => phase === 'ready'))

    await server.start()
    const well = await untilStatus(cluster, 'there', isWell)
    const shared = watcher(t, server)
    await untilLayout(cluster, shared, 1)
    assert.equal((await shared.list('state/')).length, well.status.instances.length)
    for (const id of ['e1', '00']) assert.equal(count(logOf(cluster, id), 'coordination is gone'), 1, 'said once')

    await server.kill()
    const again = await restartTiers(cluster)
    assert.equal(again.finished.code, 3)
    assert.equal(await sendOne(cluster), 250)

    server.wipe()
    await server.start()
    await untilStatus(cluster, 'there again, empty', isWell)
    await untilLayout(cluster, shared, 1)
  })

  it('every tier, and `qmq up` itself, starts anew with NATS and Redis gone, and carries mail', async (t) => {
    const [server, redis] = [await NatsServer.start(), await RedisServer.start(t)]
    const cluster = await start(t, server, `shared-state: redis://127.0.0.1:${redis.port}\n`)
    const isReached = ({ status }: Heard) => status.instances.find(({ id }) => id === 'e1')?.sharedState?.reached
    const isWhole = (heard: Heard) => isWell(heard) && isReached(heard) === true
    await untilStatus(cluster, 'well', isWhole)
    await Promise.all([server.kill(), redis.kill()])
    assert.equal(isReached(await restartTiers(cluster)), false)
    assert.equal(await sendOne(cluster), 250)
    await cluster.stop()
    cluster.restart()
    await cluster.untilReady(120_000)
    assert.equal(await sendOne(cluster), 250)
    const box = path.join(cluster.state, 'mailboxes/example.com/box/new')
    await untilStatus(cluster, 'both delivered', () => fs.existsSync(box) && fs.readdirSync(box).length === 2)
    await Promise.all([server.start(), redis.restart()])
    await untilStatus(cluster, 'well again', isWhole)
  })

  it('puts a changed conf-qmq in force only by NATS, and starts on the last layout without it', async (t) => {
    const server = await NatsServer.prepare()
    await server.start()
    const cluster = await start(t, server)
    const shared = watcher(t, server)
    await untilLayout(cluster, shared, 1)
    const conf = fs.readFileSync(cluster.confFile, 'utf8')
    fs.writeFileSync(cluster.confFile, conf.replace('role: internet,', 'role: internet, lifetime: 3d,'))
    cluster.child.process.kill('SIGHUP')
    await untilLayout(cluster, shared, 2)
    await untilStatus(cluster, 'epoch 2', (heard) => isWell(heard) && heard.status.epoch === 2)

    await server.kill()
    fs.writeFileSync(cluster.confFile, conf.replace('role: internet,', 'role: internet, lifetime: 4d,'))
    cluster.child.process.kill('SIGHUP')
    await cluster.child.until(({ stderr }) =>
      /goes on with epoch 2: coordination cannot/.test(stderr) ? true : undefined,
    )
    await cluster.stop()
    cluster.restart()
    assert.equal((await cluster.untilReady(120_000)).epoch, 2)
    assert.match(cluster.child.stderr, /has changed since epoch 2, which is started/)
    assert.equal(await sendOne(cluster), 250)
    await server.start()
    await untilStatus(cluster, 'back', isWell)
    cluster.child.process.kill('SIGHUP')
    await untilLayout(cluster, shared, 3)
  })

  it('believes no record that it should not, reports each once, and mends what nobody of ours wrote', async (t) => {
    const server = await NatsServer.prepare()
    await server.start()
    const cluster = await start(t, server)
    const attacker = watcher(t, server, 'attacker')
    await untilLayout(cluster, attacker, 1)
    const good = (await attacker.get('layout'))?.value as { readonly document: string }
    const layout = JSON.parse(good.document) as object
    const poisons: [unknown, RegExp][] = [
      [{ ...layout, epoch: 99 }, /it is not signed/],
      [{ ...good, document: good.document.replace('"epoch":1', '"epoch":2') }, /changed after it was signed/],
      ['x'.repeat(200_000), /it is not signed/],
      [{ ...good, signer: 'f'.repeat(32) }, /none of ours/],
    ]
    for (const [value, why] of poisons) {
      assert.equal((await attacker.put('layout', value as never)).kind, 'written')
      await cluster.child.until(({ stderr }) => (why.test(stderr) ? true : undefined))
    }
    const degraded = await untilStatus(cluster, 'refused', ({ finished }) => /layout refused/.test(finished.stderr))
    assert.equal(degraded.finished.code, 3)
    assert.ok(degraded.status.instances.every(({ epoch, phase }) => epoch === 1 && phase === 'ready'))
    assert.equal(count(logOf(cluster, '00'), 'none of ours'), 1, 'reported once')
    assert.equal(await sendOne(cluster), 250)
    assert.equal((await attacker.put('layout', { mended: true })).kind, 'written')
    await untilLayout(cluster, attacker, 1)
    await attacker.put('state/77', { schema: 'qmq-state', version: 9 })
    await attacker.put('state/00', null)
    await untilStatus(cluster, 'mended', ({ finished }) => !/layout refused/.test(finished.stderr))
    const { finished } = await statusOf(cluster)
    assert.match(finished.stderr, /the record state\/77 is passed over: it is of version 9/)
    assert.equal(finished.code, 3)
  })

  it('an instance alone with its home, its keys and the last layout is seen from elsewhere', async (t) => {
    const server = await NatsServer.prepare()
    await server.start()
    const cluster = await start(t, server)
    await untilLayout(cluster, watcher(t, server), 1)
    await cluster.stop()
    const elsewhere = temporaryDirectory(t)
    for (const name of ['layout.json', 'keys/cluster.pub']) {
      fs.mkdirSync(path.join(elsewhere, path.dirname(name)), { recursive: true })
      fs.copyFileSync(path.join(cluster.state, name), path.join(elsewhere, name))
    }
    const alone = new Child(process.execPath, [program, 'run', '80', '--state', elsewhere])
    t.after(async () => {
      await alone.stop()
    })
    const heard = await untilStatus(cluster, 'seen', ({ status }) => {
      return status.instances.some(({ id, phase }) => id === '80' && phase === 'ready')
    })
    assert.equal(heard.finished.code, 3)
    assert.equal(fs.existsSync(path.join(elsewhere, 'instances/80/keys/cluster.pub')), true)
    await alone.stop()
    await untilStatus(cluster, 'it took its leave', ({ status }) => {
      return status.instances.find(({ id }) => id === '80')?.pid === undefined
    })
  })
})
