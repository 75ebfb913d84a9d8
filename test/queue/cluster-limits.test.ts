/** A whole instance under the cluster's limits: what it begins is what it was granted, and bounces are not limited. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import net from 'node:net'
import { it } from 'node:test'
import { bounceOptionsOf, QmailBouncePolicy } from '../../services/bounce/bounce-policy.ts'
import type { Coordination, Json } from '../../services/contract/coordination.ts'
import { type Attempt, type Outcome, sameForAll, type Transport } from '../../services/contract/delivery.ts'
import { readShareAsk, type ShareWant } from '../../services/contract/share.ts'
import { encodeQmtpHead, encodeQmtpTail } from '../../services/protocol/qmtp.ts'
import { QueueInstance } from '../../services/queue/instance.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import { until } from '../shared-state/clients.ts'
import { layoutOf, shippedConf } from '../support/shipped-layout.ts'
import { type Cleanup, temporaryDirectory } from '../support/temporary-directory.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }
const delivered: Outcome = { kind: 'delivered', to: 'here', text: 'ok' }
const compiled = layoutOf(`${shippedConf}\ncluster-limits:\n  slow.example: { concurrency: 24 }\n`)

/** Deliveries wait until the test ends them. */
class Waiting implements Transport {
  readonly running: { readonly to: string; readonly end: () => void }[] = []

  attempt(attempt: Attempt, done: (outcomes: readonly Outcome[]) => void): void {
    const delivery = {
      to: attempt.destination.key,
      end: () => {
        this.running.splice(this.running.indexOf(delivery), 1)
        done(sameForAll(attempt, delivered))
      },
    }
    this.running.push(delivery)
  }

  close(): void {}

  to(key: string): number {
    return this.running.filter(({ to }) => to === key).length
  }
}

/** A keeper that grants the same to everybody. */
function keeper(amount: number): { asked: ShareWant[]; coordination: Coordination } {
  const asked: ShareWant[] = []
  const parts: Partial<Coordination> = {
    request: async (_subject, value) => {
      asked.push(...(readShareAsk(value)?.wants ?? []))
      const reply: Json = { grant: `1-${asked.length}`, shares: { 'concurrency slow.example': amount } }
      return { kind: 'reply', value: reply }
    },
  }
  return { asked, coordination: parts as Coordination }
}

async function start(test: Cleanup, id: string, coordination: Coordination) {
  const state = temporaryDirectory(test)
  fs.mkdirSync(`${state}/instances/${id}`, { recursive: true })
  const instances = compiled.instances.map((one) => (one.id === id ? { ...one, port: 0 } : one))
  const transport = new Waiting()
  const instance = new QueueInstance(systemWorld(silent), {
    ...{ layout: { ...compiled, instances }, id, state, ledger: { record: () => {} }, coordination },
    transports: { smtp: transport, qmtp: transport, maildir: transport },
    handoverDoors: () => Promise.reject(new Error('nothing is handed over here')),
    bouncePolicyOf: (cluster, pool) => new QmailBouncePolicy(bounceOptionsOf(cluster, pool)),
    onFatal: (why) => assert.fail(why),
    limits: { stopWaitMs: 50 },
  })
  await instance.start()
  test.after(() => instance.stop())
  return { instance, transport, port: instance.address?.port ?? 0 }
}

async function submit(port: number, recipient: string): Promise<void> {
  const body = 'Subject: x\r\n\r\nhello\r\n'
  const socket = net.connect(port, '127.0.0.1')
  socket.end(encodeQmtpHead('crlf', body.length) + body + encodeQmtpTail('a@x.example', [recipient]), 'latin1')
  const reply: Buffer[] = []
  for await (const piece of socket) reply.push(piece as Buffer)
  assert.match(Buffer.concat(reply).toString('latin1'), /^[0-9]+:K/)
}

it('an instance begins as many deliveries as it was granted, and says how many more it could', async (test) => {
  const { asked, coordination } = keeper(2)
  const { transport, port, instance } = await start(test, '80', coordination)
  await until(() => asked.length > 0)
  for (let count = 0; count < 5; count++) await submit(port, `b${count}@slow.example`)
  for (let count = 0; count < 3; count++) await submit(port, `b${count}@other.example`)
  await until(() => transport.to('mx:other.example') === 3)
  assert.equal(transport.to('mx:slow.example'), 2)
  await until(() => asked.some(({ wanted, held }) => wanted === 5 && held === 2))
  for (let left = 5; left > 0; left--) {
    assert.equal(transport.to('mx:slow.example'), Math.min(2, left))
    transport.running.find(({ to }) => to === 'mx:slow.example')?.end()
    await until(() => transport.to('mx:slow.example') === Math.min(2, left - 1))
  }
  await until(() => instance.audit().delivered === 5)
})

it('an instance for bounces asks for nothing and is not limited', async (test) => {
  const { asked, coordination } = keeper(0)
  const { transport, port } = await start(test, '90', coordination)
  for (let count = 0; count < 3; count++) await submit(port, `b${count}@slow.example`)
  await until(() => transport.to('mx:slow.example') === 3)
  assert.deepEqual(asked, [])
})
