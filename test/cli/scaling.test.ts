/** `qmq up` follows the layout: places come and go by order while the cluster runs, and are still so after its end, however it ended. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { type Json, layoutKey } from '../../services/contract/coordination.ts'
import type { Layout } from '../../services/contract/layout.ts'
import type { InstanceState } from '../../services/contract/operations.ts'
import type { Ordered, OrderFrame } from '../../services/control/layout/order.ts'
import { scale } from '../../services/control/layout/scale.ts'
import { checkReceipt } from '../../services/control/receipt/receipt-check.ts'
import { EmbeddedCoordination } from '../../services/runtime/embedded-coordination.ts'
import { dialHub } from '../../services/runtime/embedded-socket.ts'
import { openVerifier } from '../../services/runtime/signature.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'
import { SystemDisk } from '../../services/runtime/system-disk.ts'
import { readLayout } from '../../services/settings/layout-record.ts'
import { gone } from '../support/child.ts'
import { Cluster, clusterConf, clusterPorts } from '../support/cluster.ts'
import { MailClient } from '../support/mail-client.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const pool = 'CUSTOMER_1'
const plan = '01ARZ3NDEKTSV4RRFFQ69G5FAV'

const messagesCount = 40

interface Status {
  readonly epoch: number
  readonly healthy: boolean
  readonly instances: readonly (InstanceState & { readonly standing?: string })[]
}

async function start(t: TestContext, count = 2): Promise<Cluster> {
  const text = clusterConf(await clusterPorts(), { deliver: 'hold', customerInstances: count })
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

/** Everybody is well, and the pool runs with these ids. */
async function untilRunning(cluster: Cluster, ids: string): Promise<Status> {
  return await until(`${pool} with ${ids}`, async () => {
    const { answer } = await cluster.ask(['status'])
    const status = answer as Status | undefined
    const own = status?.instances.filter((instance) => instance.pool === pool).map(({ id }) => id)
    return status?.healthy === true && own?.join(' ') === ids ? status : undefined
  })
}

async function sendMessages(cluster: Cluster, count: number): Promise<void> {
  const port = cluster.ready?.listeners.find(({ kind }) => kind === 'smtp')?.port ?? 0
  const client = await MailClient.connect(port)
  for (let number = 0; number < count; number++) {
    const data = Buffer.from(`Subject: ${number}\r\n\r\nletter ${number}\r\n`)
    const mail = { sender: 'a@elsewhere.example', recipients: [`box${number}@customer1.example`], data }
    assert.equal((await client.send(mail)).code, 250)
  }
  await client.quit()
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

/** As a leader gives it: by compare-and-set. */
async function order(
  coordination: EmbeddedCoordination,
  give: (layout: Layout, frame: OrderFrame) => Ordered,
): Promise<Layout> {
  const entry = await coordination.get(layoutKey)
  const reading = readLayout(entry?.value)
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
  const result = await coordination.update(layoutKey, ordered.layout as unknown as Json, entry.revision)
  assert.equal(result.kind, 'written')
  return ordered.layout
}

describe('qmq up follows the layout', () => {
  it('grows by order, keeps the count over a restart and a kill, and grows again with conf-qmq', async (t) => {
    const cluster = await start(t)
    await order(coordinationOf(t, cluster), (layout, frame) => scale(layout, pool, 4, frame))
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
    await sendMessages(cluster, messagesCount)
    const before = await untilRunning(cluster, '01 02 03 04')
    assert.equal(queuedIn(before), messagesCount)
    assert.ok(
      ['03', '04'].some((id) => loadOf(before, id) > 0),
      'something has to move',
    )
    await order(coordinationOf(t, cluster), (layout, frame) => scale(layout, pool, 2, frame))
    const after = await untilRunning(cluster, '01 02')
    assert.equal(queuedIn(after), messagesCount)
    for (const id of ['03', '04']) {
      assert.ok(await gone(pidOf(before, id)), `${id} still runs`)
      assert.ok(fs.existsSync(path.join(cluster.state, `instances/${id}/seal.json`)))
      const directory = path.join(cluster.state, `control/c1/receipts/${plan}-${id}`)
      const text = fs.readFileSync(path.join(directory, 'receipt.json'), 'utf8')
      const verifier = await openVerifier(new SystemDisk(), cluster.state)
      const manifest = (file: string) => {
        const full = path.join(directory, file)
        return fs.existsSync(full) ? fs.readFileSync(full, 'utf8') : undefined
      }
      const verdict = checkReceipt({ text, verify: verifier.verify, manifest })
      assert.deepEqual(verdict.problems, [])
      assert.equal(verdict.receipt?.messages, loadOf(before, id))
    }
    const { finished, answer } = await cluster.ask(['audit'])
    assert.equal(finished.code, 0, JSON.stringify(answer))
  })

  it('refuses a layout that goes back or was written by who leads no more, and says so', async (t) => {
    const cluster = await start(t)
    const coordination = coordinationOf(t, cluster)
    await order(coordination, (layout, frame) => scale(layout, pool, 3, { ...frame, fence: layout.fence + 50 }))
    const { epoch } = await untilRunning(cluster, '01 02 03')
    const entry = await coordination.get(layoutKey)
    const inForce = entry?.value as unknown as Layout
    const poison: readonly [object, RegExp][] = [
      [{ ...inForce, epoch: epoch + 1, fence: inForce.fence - 1 }, /leads no more/],
      [{ ...inForce, epoch: epoch - 1 }, /does not come after/],
      [{ ...inForce, epoch: epoch + 1, pools: [] }, /damaged at pools/],
    ]
    for (const [value, words] of poison) {
      await coordination.put(layoutKey, value as Json)
      await cluster.child.until(({ stderr }) => (words.test(stderr) ? true : undefined))
    }
    await until('the layout in force is put back', async () => {
      const now = await coordination.get(layoutKey)
      return JSON.stringify(now?.value) === JSON.stringify(inForce) ? true : undefined
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
