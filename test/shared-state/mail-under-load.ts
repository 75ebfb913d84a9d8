/**
 * Real edges and a real queue instance in this process, and clients that never stop: every message is remembered with its reply, so that
 * it can be looked for afterwards. Each edge has its own way to the server they share through, so that one can be cut off alone.
 *
 * Whole messages go to one pool, which takes them. Split messages also have a recipient of a pool that nobody serves: they get
 * 451 again and again, though their first recipient was committed at the first try.
 */

import { mkdirSync } from 'node:fs'
import { bounceOptionsOf, QmailBouncePolicy } from '../../services/bounce/bounce-policy.ts'
import type { Layout, SharedStateSpec } from '../../services/contract/layout.ts'
import type { Audit } from '../../services/contract/operations.ts'
import { Edge } from '../../services/edge/edge.ts'
import { QueueInstance } from '../../services/queue/instance.ts'
import { LayoutSharedState } from '../../services/runtime/layout-shared-state.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import { Client } from '../edge/edge-support.ts'
import { smallLayout } from '../edge/small-layout.ts'
import { freePortRange } from '../support/free-ports.ts'
import { type Cleanup, temporaryDirectory } from '../support/temporary-directory.ts'
import { until } from './clients.ts'

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

function edgeId(index: number): string {
  return `e${index + 1}`
}

export class MailUnderLoad {
  readonly directory: string
  readonly #test: Cleanup
  /** One per edge. */
  readonly #layouts: readonly Layout[]
  readonly #queue: QueueInstance
  edges: readonly Edge[]
  /** Transaction ids that got 250. */
  readonly acknowledged: string[] = []
  /** Every reply that was none of those there must be. */
  readonly wrong: string[] = []
  replies = 0
  slowestMs = 0
  #stopping = false
  readonly #clients: Promise<void>[] = []

  private constructor(test: Cleanup, directory: string, layouts: readonly Layout[], queue: QueueInstance) {
    this.#test = test
    this.directory = directory
    this.#layouts = layouts
    this.#queue = queue
    this.edges = this.#makeEdges()
  }

  /** An edge for each of `ways`. */
  static async start(test: Cleanup, ways: readonly SharedStateSpec[]): Promise<MailUnderLoad> {
    const directory = temporaryDirectory(test)
    const port = await freePortRange(1)
    const small = smallLayout({ limits, ports: { '00': port }, instances: ['00', '01'] })
    const edges = small.edges.flatMap((edge) => ways.map((_, index) => ({ ...edge, id: edgeId(index) })))
    const instances = small.instances.map((one) => ({ ...one, acceptFrom: ['127.0.0.0/8'] }))
    const layout = { ...small, edges, instances }
    const layouts = ways.map((sharedState) => ({ ...layout, sharedState }))
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
    const mail = new MailUnderLoad(test, directory, layouts, queue)
    test.after(() => mail.#stopEdges())
    for (const edge of mail.edges) await edge.start()
    return mail
  }

  /** New lives of the edges, as after crashes of their processes. */
  async restartEdges(): Promise<void> {
    await this.#stopEdges()
    this.edges = this.#makeEdges()
    for (const edge of this.edges) await edge.start()
  }

  /** `clients` of each kind, which keep to an edge, one connection for every few messages. */
  load(clients: number): void {
    for (let number = 0; number < clients; number++) {
      const edge = number % this.edges.length
      this.#clients.push(this.#client(edge, `whole ${number}`, ['b@example.com'], 250))
      this.#clients.push(this.#client(edge, `split ${number}`, ['b@example.com', 'c@customer.example'], 451))
    }
  }

  /** Resolves when so many replies more have come. */
  async more(replies: number): Promise<void> {
    const wanted = this.replies + replies
    await until(() => this.replies >= wanted, 60_000)
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

  get audit(): Audit {
    return this.#queue.audit()
  }

  #makeEdges(): readonly Edge[] {
    return this.#layouts.map((layout, index) => {
      const world = systemWorld(quiet)
      const sharedState = new LayoutSharedState(world, layout, this.directory)
      return new Edge(world, layout, edgeId(index), { ledger, sharedState })
    })
  }

  async #stopEdges(): Promise<void> {
    for (const edge of this.edges) await edge.stop()
  }

  async #client(edge: number, name: string, recipients: readonly string[], wanted: number): Promise<void> {
    for (let connection = 0; !this.#stopping; connection++) {
      const port = this.edges[edge]?.state().listeners[0]?.port ?? 0
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
