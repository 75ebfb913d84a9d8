/** `qmq up` follows the layout: places come and go by order while the cluster runs, and are still so after its end, however it ended. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { type Coordination, layoutKey } from '../../services/contract/coordination.ts'
import type { Layout } from '../../services/contract/layout.ts'
import type { InstanceState } from '../../services/contract/operations.ts'
import type { Ordered, OrderFrame } from '../../services/control/layout/order.ts'
import { scale } from '../../services/control/layout/scale.ts'
import { checkReceipt, type ReceiptVerdict } from '../../services/control/receipt/receipt-check.ts'
import { EmbeddedCoordination } from '../../services/runtime/embedded-coordination.ts'
import { dialHub } from '../../services/runtime/embedded-socket.ts'
import { NatsCoordination } from '../../services/runtime/nats-coordination.ts'
import { openSigner, openVerifier } from '../../services/runtime/signature.ts'
import { openLayout, signLayout } from '../../services/runtime/signed-layout.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'
import { SystemDisk } from '../../services/runtime/system-disk.ts'
import { SystemRandom } from '../../services/runtime/system-random.ts'
import { gone } from '../support/child.ts'
import { Cluster, clusterConf, clusterPorts } from '../support/cluster.ts'
import { MailClient } from '../support/mail-client.ts'
import { NatsServer } from '../support/nats-server.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const pool = 'CUSTOMER_1'
const plan = '01ARZ3NDEKTSV4RRFFQ69G5FAV'

const messagesCount = 40

interface Status {
  readonly epoch: number
  readonly healthy: boolean
  readonly instances: readonly (InstanceState & { readonly standing?: string })[]
}

async function start(t: TestContext, count = 2, server?: NatsServer): Promise<Cluster> {
  const nats = server === undefined ? {} : { coordination: `nats://${server.address}` }
  const text = clusterConf(await clusterPorts(), { deliver: 'hold', customerInstances: count, ...nats })
  const conf = text.replace('pools:', '  handoff: { unclear-retry: 500ms }\npools:')
  const cluster = new Cluster(temporaryDirectory(t), conf)
  t.after(async () => {
    await cluster.stop()
  })
  await cluster.untilReady()
  return cluster
}

async function until<Value>(what: string, look: () => Promise<Value | undefined>): Promise<Value> {
  for (let attempt = 0; attempt < 600; attempt++) {
    const found = await look()
    if (found !== undefined) return found
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error(`${what} did not come about`)
}

/** Everybody is well, the pool runs with these ids, and hold at least so much. */
async function untilRunning(cluster: Cluster, ids: string, queued?: number): Promise<Status> {
  return await until(`${pool} with ${ids}`, async () => {
    const { answer } = await cluster.ask(['status'])
    const status = answer as Status | undefined
    const own = status?.instances.filter((instance) => instance.pool === pool).map(({ id }) => id)
    const isSo = status?.healthy === true && own?.join(' ') === ids
    return isSo && (queued === undefined || queuedIn(status) >= queued) ? status : undefined
  })
}

/** How many were acknowledged. The others were put off: a client sends those again. */
async function sendMessages(cluster: Cluster, count: number): Promise<number> {
  const port = cluster.ready?.listeners.find(({ kind }) => kind === 'smtp')?.port ?? 0
  const client = await MailClient.connect(port)
  let acknowledged = 0
  for (let number = 0; number < count; number++) {
    const data = Buffer.from(`Subject: ${number}\r\n\r\nletter ${number}\r\n`)
    const mail = { sender: 'a@elsewhere.example', recipients: [`box${number}@customer1.example`], data }
    const { code, text } = await client.send(mail)
    assert.ok(code === 250 || code === 451, `${code} ${text}`)
    if (code === 250) acknowledged++
  }
  await client.quit()
  return acknowledged
}

function loadOf({ instances }: Status, id: string): number {
  return instances.find((instance) => instance.id === id)?.load?.queued ?? 0
}

function queuedIn({ instances }: Status): number {
  return instances.reduce((sum, { load }) => sum + (load?.queued ?? 0), 0)
}

function pidOf({ instances }: Status, id: string): number {
  return instances.find((instance) => instance.id === id)?.pid ?? 0
}

function coordinationOf(t: TestContext, cluster: Cluster): EmbeddedCoordination {
  const dial = () => dialHub(path.join(cluster.state, 'qmq.sock'))
  const coordination = new EmbeddedCoordination({ clock: new SystemClock(), dial, redialMs: 50 })
  t.after(() => coordination.close())
  return coordination
}

function planIsKept({ state }: Cluster): boolean {
  const layout = JSON.parse(fs.readFileSync(path.join(state, 'layout.json'), 'utf8')) as Layout
  return layout.plans.length > 0
}

async function keysOf({ state }: Cluster) {
  const disk = new SystemDisk()
  return { signer: await openSigner(disk, state), verifier: await openVerifier(disk, state) }
}

async function verdictOf(cluster: Cluster, id: string): Promise<ReceiptVerdict> {
  const directory = path.join(cluster.state, `control/c1/receipts/${plan}-${id}`)
  const text = fs.readFileSync(path.join(directory, 'receipt.json'), 'utf8')
  const { verifier } = await keysOf(cluster)
  const manifest = (file: string) => {
    const full = path.join(directory, file)
    return fs.existsSync(full) ? fs.readFileSync(full, 'utf8') : undefined
  }
  return checkReceipt({ text, verify: verifier.verify, manifest })
}

/** As a leader gives it: by compare-and-set. */
async function order(
  cluster: Cluster,
  coordination: Coordination,
  give: (layout: Layout, frame: OrderFrame) => Ordered,
): Promise<Layout> {
  const { signer, verifier } = await keysOf(cluster)
  const entry = await coordination.get(layoutKey)
  const reading = openLayout(entry?.value ?? null, [verifier])
  assert.ok(entry !== undefined && reading.ok)
  const { layout } = reading
  const frame = {
    fence: layout.fence,
    plan,
    at: Date.now(),
    by: 'test',
    reason: '',
    force: false,
    lost: new Set<string>(),
  }
  const ordered = give(layout, frame)
  assert.ok(ordered.kind === 'changed', ordered.kind === 'changed' ? '' : ordered.why)
  const result = await coordination.update(layoutKey, signLayout(signer, ordered.layout), entry.revision)
  assert.equal(result.kind, 'written')
  return ordered.layout
}

describe('qmq up follows the layout', () => {
  it('grows by order, keeps the count over a restart and a kill, and grows again with conf-qmq', async (t) => {
    const cluster = await start(t)
    await order(cluster, coordinationOf(t, cluster), (layout, frame) => scale(layout, pool, 4, frame))
    const grown = await untilRunning(cluster, '01 02 03 04')
    assert.ok(fs.existsSync(path.join(cluster.state, 'instances/04/control/me')))
    const kept = JSON.parse(fs.readFileSync(path.join(cluster.state, 'layout.json'), 'utf8')) as Layout
    assert.deepEqual([kept.epoch, kept.scaled], [grown.epoch, [{ pool, count: 4, fileCount: 2 }]])
    await cluster.child.stop('SIGKILL', 20_000)
    cluster.restart()
    await cluster.untilReady()
    assert.equal((await untilRunning(cluster, '01 02 03 04')).epoch, grown.epoch)
    const conf = fs.readFileSync(cluster.confFile, 'utf8')
    fs.writeFileSync(cluster.confFile, conf.replace('count: 2', 'count: 5'))
    cluster.child.process.kill('SIGHUP')
    await untilRunning(cluster, '01 02 03 04 05')
  })

  it('shrinks by order: the mail moves, receipts prove it, the processes end, their homes stay sealed', async (t) => {
    const cluster = await start(t, 4)
    assert.equal(await sendMessages(cluster, messagesCount), messagesCount)
    const before = await untilRunning(cluster, '01 02 03 04', messagesCount)
    assert.ok(
      ['03', '04'].some((id) => loadOf(before, id) > 0),
      'something has to move',
    )
    await order(cluster, coordinationOf(t, cluster), (layout, frame) => scale(layout, pool, 2, frame))
    await untilRunning(cluster, '01 02', messagesCount)
    for (const id of ['03', '04']) {
      assert.ok(await gone(pidOf(before, id)), `${id} still runs`)
      assert.ok(fs.existsSync(path.join(cluster.state, `instances/${id}/seal.json`)))
      const verdict = await verdictOf(cluster, id)
      assert.deepEqual(verdict.problems, [])
      assert.equal(verdict.receipt?.messages, loadOf(before, id))
    }
    const { finished, answer } = await cluster.ask(['audit'])
    assert.equal(finished.code, 0, JSON.stringify(answer))
  })

  it('shrinks through kills of the leader, of who leaves, of a target and of everything, while mail comes in', async (t) => {
    const cluster = await start(t, 4)
    assert.equal(await sendMessages(cluster, messagesCount), messagesCount)
    const before = await untilRunning(cluster, '01 02 03 04', messagesCount)
    await order(cluster, coordinationOf(t, cluster), (layout, frame) => scale(layout, pool, 2, frame))
    await until('the plan is kept', async () => (planIsKept(cluster) ? true : undefined))
    for (const id of ['c1', '03', '01']) process.kill(pidOf(before, id), 'SIGKILL')
    let acknowledged = messagesCount + (await sendMessages(cluster, messagesCount))
    await cluster.child.stop('SIGKILL', 20_000)
    cluster.restart()
    await cluster.untilReady(60_000)
    acknowledged += await sendMessages(cluster, messagesCount)
    await untilRunning(cluster, '01 02', acknowledged)
    const { finished, answer } = await cluster.ask(['audit'])
    assert.equal(finished.code, 0, JSON.stringify(answer))
    for (const id of ['03', '04']) assert.deepEqual((await verdictOf(cluster, id)).problems, [])
  })

  it('does the same over NATS, also where the servers were gone in the middle', async (t) => {
    const server = await NatsServer.prepare()
    t.after(() => server.remove())
    await server.start()
    const cluster = await start(t, 4, server)
    assert.equal(await sendMessages(cluster, messagesCount), messagesCount)
    await untilRunning(cluster, '01 02 03 04', messagesCount)
    const coordination = new NatsCoordination({
      ...{ clock: new SystemClock(), random: new SystemRandom(), servers: [server.address], client: 'test' },
      ...{ authentication: async () => ({ kind: 'none' }), makesBuckets: false, reconnectMsMax: 100 },
    })
    t.after(() => coordination.close())
    await order(cluster, coordination, (layout, frame) => scale(layout, pool, 2, frame))
    await until('the plan is kept', async () => (planIsKept(cluster) ? true : undefined))
    await server.kill()
    await server.start()
    await untilRunning(cluster, '01 02', messagesCount)
    for (const id of ['03', '04']) {
      assert.ok(fs.existsSync(path.join(cluster.state, `control/c1/receipts/${plan}-${id}/receipt.json`)))
    }
  })

  it('refuses a layout that goes back or was written by who leads no more, and says so', async (t) => {
    const cluster = await start(t)
    const coordination = coordinationOf(t, cluster)
    await order(cluster, coordination, (layout, frame) =>
      scale(layout, pool, 3, { ...frame, fence: layout.fence + 50 }),
    )
    const { epoch } = await untilRunning(cluster, '01 02 03')
    const entry = await coordination.get(layoutKey)
    const { signer, verifier } = await keysOf(cluster)
    const reading = openLayout(entry?.value ?? null, [verifier])
    assert.ok(reading.ok)
    const inForce = reading.layout
    const poison: readonly [object, RegExp][] = [
      [{ ...inForce, epoch: epoch + 1, fence: inForce.fence - 1 }, /led no more/],
      [{ ...inForce, epoch: epoch - 1 }, /is older than/],
      [{ ...inForce, epoch: epoch + 1, pools: [] }, /damaged at pools/],
    ]
    for (const [value, words] of poison) {
      await coordination.put(layoutKey, signLayout(signer, value as Layout))
      await cluster.child.until(({ stderr }) => (words.test(stderr) ? true : undefined))
    }
    await until('the layout in force is put back', async () => {
      const now = await coordination.get(layoutKey)
      return JSON.stringify(now?.value) === JSON.stringify(entry?.value) ? true : undefined
    })
    assert.equal((await untilRunning(cluster, '01 02 03')).epoch, epoch)
  })

  it('a control process leads, is another after a kill, and its fence is higher also after a restart of all', async (t) => {
    const cluster = await start(t)
    const leading = (above: number) =>
      until('a leader', async () => {
        const { answer } = await cluster.ask(['status'])
        const control = (answer as Status | undefined)?.instances.find(({ id }) => id === 'c1')
        const fence = control?.control?.fence ?? 0
        return fence > above && control !== undefined ? { pid: control.pid, fence } : undefined
      })
    const first = await leading(0)
    process.kill(first.pid, 'SIGKILL')
    const second = await leading(first.fence)
    await cluster.stop()
    cluster.restart()
    await cluster.untilReady()
    await leading(second.fence)
  })
})
