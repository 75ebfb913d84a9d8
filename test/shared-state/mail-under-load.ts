/**
 * A real edge and a real queue instance in this process, and clients that never stop: every message is remembered with its reply, so that
 * it can be looked for afterwards.
 *
 * Whole messages go to one pool, which takes them. Split messages also have a recipient of a pool that nobody serves: they get
 * 451 again and again, though their first recipient was committed at the first try.
 */

import { mkdirSync } from 'node:fs'
import { bounceOptionsOf, QmailBouncePolicy } from '../../services/bounce/bounce-policy.ts'
import type { Layout, SharedStateSpec } from '../../services/contract/layout.ts'
import { Edge } from '../../services/edge/edge.ts'
import { QueueInstance } from '../../services/queue/instance.ts'
import { LayoutSharedState } from '../../services/runtime/layout-shared-state.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import { Client } from '../edge/edge-support.ts'
import { smallLayout } from '../edge/small-layout.ts'
import { freePortRange } from '../support/free-ports.ts'
import { type Cleanup, temporaryDirectory } from '../support/temporary-directory.ts'

const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const ledger = { record: () => {} }
const transport = { attempt: () => {}, close: () => {} }

/** So many that nobody meets them: each connection and each message asks the shared state. */
const limits = {
  connectionsMax: 1000,
  connectionsPerClientMax: 1000,
  connectionsPerClientClusterMax: 1000,
  messagesPerNetworkClusterMax: 1_000_000,
}

export class MailUnderLoad {
  readonly directory: string
  readonly #test: Cleanup
  readonly #layout: Layout
  readonly #queue: QueueInstance
  edge: Edge
  /** Transaction ids that got 250. */
  readonly acknowledged: string[] = []
  /** Every reply that was none of those there must be. */
  readonly wrong: string[] = []
  replies = 0
  slowestMs = 0
  #stopping = false
  readonly #clients: Promise<void>[] = []

  private constructor(test: Cleanup, directory: string, layout: Layout, queue: QueueInstance) {
    this.#test = test
    this.directory = directory
    this.#layout = layout
    this.#queue = queue
    this.edge = this.#makeEdge()
  }

  static async start(test: Cleanup, sharedState: SharedStateSpec): Promise<MailUnderLoad> {
    const directory = temporaryDirectory(test)
    const port = await freePortRange(1)
    const small = smallLayout({ limits, sharedState, ports: { '00': port }, instances: ['00', '01'] })
    const layout = { ...small, instances: small.instances.map((one) => ({ ...one, acceptFrom: ['127.0.0.0/8'] })) }
    mkdirSync(`${directory}/queues/00`, { recursive: true })
    const queue = new QueueInstance(systemWorld(quiet), {
      ...{ layout, id: '00', state: directory, ledger },
      transports: { smtp: transport, qmtp: transport, maildir: transport },
      handoverDoors: () => Promise.reject(new Error('nothing is handed over here')),
      bouncePolicyOf: (cluster, pool) => new QmailBouncePolicy(bounceOptionsOf(cluster, pool)),
      onFatal: (why) => {
        throw new Error(why)
      },
    })
    await queue.start()
    test.after(() => queue.stop())
    const mail = new MailUnderLoad(test, directory, layout, queue)
    await mail.edge.start()
    test.after(() => mail.edge.stop())
    return mail
  }

  /** A new life of the edge, as after a crash of its process. */
  async restartEdge(): Promise<void> {
    await this.edge.stop()
    this.edge = this.#makeEdge()
    await this.edge.start()
  }

  /** `clients` of each kind, one connection for every few messages. */
  load(clients: number): void {
    for (let number = 0; number < clients; number++) {
      this.#clients.push(this.#client(`whole ${number}`, ['b@example.com'], 250))
      this.#clients.push(this.#client(`split ${number}`, ['b@example.com', 'c@customer.example'], 451))
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true
    await Promise.all(this.#clients)
  }

  /** Copies in the queue, by id. */
  copies(): ReadonlyMap<string, number> {
    const copies = new Map<string, number>()
    for (const { id } of this.#queue.list(1_000_000)) copies.set(id, (copies.get(id) ?? 0) + 1)
    return copies
  }

  get queued(): number {
    return this.#queue.audit().queued
  }

  #makeEdge(): Edge {
    const world = systemWorld(quiet)
    const sharedState = new LayoutSharedState(world, this.#layout, this.directory)
    return new Edge(world, this.#layout, 'e1', { ledger, sharedState })
  }

  async #client(name: string, recipients: readonly string[], wanted: number): Promise<void> {
    for (let connection = 0; !this.#stopping; connection++) {
      const { port } = this.edge.state().listeners[0] as { port: number }
      const client = await Client.open(this.#test, port)
      this.#expect((await client.reply())?.code, 220, name)
      this.#expect((await client.ask('EHLO client.example'))?.code, 250, name)
      for (let message = 0; message < 5 && !this.#stopping; message++) {
        const startedAt = performance.now()
        const text = wanted === 250 ? `Subject: ${name} ${connection} ${message}` : `Subject: ${name}`
        const { codes, last } = await client.mail('a@x', recipients, `${text}\r\n\r\nhello`)
        this.slowestMs = Math.max(this.slowestMs, performance.now() - startedAt)
        this.#expect(codes.at(-1), 354, name)
        this.#expect(last?.code, wanted, name)
        if (last?.code === 250) this.acknowledged.push(last.lines[0]?.split(' ').at(-1) ?? '')
        this.replies++
      }
      client.destroy()
    }
  }

  #expect(code: number | undefined, wanted: number, who: string): void {
    if (code !== wanted) this.wrong.push(`${who}: ${code} instead of ${wanted}`)
  }
}
