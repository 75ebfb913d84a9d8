/**
 * One queue instance hands all it has to another, both durable, over gRPC: alone, and with new mail coming in meanwhile.
 *
 * The two run by themselves; their layouts come from here, as a leader would write them. The same mail goes to and fro, so that it is
 * loaded once. The time runs from the order to drain until nothing is left, or, while mail comes in, until only what has just come.
 */

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { layoutKey, operationSubject } from '../../services/contract/coordination.ts'
import type { DrainPlan, Layout } from '../../services/contract/layout.ts'
import type { InstanceState } from '../../services/contract/operations.ts'
import { makeTransactionId } from '../../services/contract/transaction-id.ts'
import { encodeQmtpHead, encodeQmtpTail } from '../../services/protocol/qmtp.ts'
import { EmbeddedCoordination } from '../../services/runtime/embedded-coordination.ts'
import { EmbeddedHub } from '../../services/runtime/embedded-hub.ts'
import { dialHub, listenForClients, socketName } from '../../services/runtime/embedded-socket.ts'
import { ensureClusterKey, openSigner, type Signer } from '../../services/runtime/signature.ts'
import { signLayout } from '../../services/runtime/signed-layout.ts'
import { silentLog } from '../../services/runtime/silent-log.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import { Child } from '../support/child.ts'
import { clusterConf, clusterPorts } from '../support/cluster.ts'
import { memoryOf, usageBetween, usageOf } from '../support/process-tree.ts'
import { layoutOf } from '../support/shipped-layout.ts'
import { makeTemporaryDirectory } from '../support/temporary-directory.ts'
import { type BenchOptions, type Measure, wanted } from './measure.ts'
import { qmtpLoad } from './qmtp.ts'

const program = new URL('../../services/queue/main.ts', import.meta.url).pathname
const pair = ['01', '02'] as const
const pollMs = 50
const bytesPerMessage = 10 * 1024
const arrivalsPerSecond = 500
/** Of mail that came in while it was asked. */
const freshMax = 100

export const handover: Measure = {
  name: 'handover',
  what: 'all mail of one instance to another, durable on both sides: messages per second',
  async run(options) {
    if (!options.subjects.includes('qmq')) return
    const messages = options.quick ? 10_000 : 100_000
    const directory = makeTemporaryDirectory('bench-handover', options.directory)
    const stage = await Stage.open(directory)
    try {
      await qmtpLoad({ port: stage.portOf('01'), connections: 20, window: 64, messages, bytes: bytesPerMessage })
      await drains(options, stage, messages)
    } finally {
      await stage.close()
      rmSync(directory, { recursive: true, force: true })
    }
  },
}

async function drains(options: BenchOptions, stage: Stage, messages: number): Promise<void> {
  let from = 0
  for (let run = 1; run <= options.runs; run++) {
    for (const arrivals of [0, arrivalsPerSecond]) {
      const what = arrivals === 0 ? 'alone' : `${arrivals} arriving/s`
      const name = `${messages} x 10KiB, ${what}`
      if (!wanted(options, name)) continue
      const [source, target] = from === 0 ? pair : ([pair[1], pair[0]] as const)
      const figures = await stage.drain(source, target, arrivals)
      options.record({ measure: 'handover', case: name, subject: 'qmq', run, figures })
      from = 1 - from
    }
  }
}

class Stage {
  readonly #children: Child[]
  readonly #coordination: EmbeddedCoordination
  readonly #closeHub: () => Promise<void>
  readonly #signer: Signer
  #layout: Layout
  #plans = 0

  private constructor(
    state: string,
    layout: Layout,
    coordination: EmbeddedCoordination,
    closeHub: () => Promise<void>,
    signer: Signer,
  ) {
    this.#signer = signer
    this.#layout = layout
    this.#coordination = coordination
    this.#closeHub = closeHub
    this.#children = pair.map((id) => new Child(process.execPath, [program, 'run', '--state', state, '--id', id]))
  }

  /** A state directory with its layout, a hub, and the two instances. */
  static async open(directory: string): Promise<Stage> {
    const layout = layoutOf(clusterConf(await clusterPorts(), { deliver: 'hold', customerInstances: 2 }))
    const state = join(directory, 'state')
    for (const { home } of layout.instances) mkdirSync(join(state, home), { recursive: true })
    writeFileSync(join(state, 'layout.json'), JSON.stringify(layout))
    const clock = new SystemClock()
    const hub = new EmbeddedHub(clock)
    const socket = join(state, socketName)
    const listener = await listenForClients(socket, (channel) => hub.attach(channel))
    const coordination = new EmbeddedCoordination({ clock, dial: () => dialHub(socket) })
    const { disk } = systemWorld(silentLog)
    await ensureClusterKey(disk, state)
    const signer = await openSigner(disk, state)
    const stage = new Stage(state, layout, coordination, () => listener.close(), signer)
    for (const id of pair) await stage.#until(id, ({ phase }) => phase === 'ready')
    return stage
  }

  portOf(id: string): number {
    return this.#layout.instances.find((one) => one.id === id)?.port ?? 0
  }

  async drain(source: string, target: string, arrivals: number): Promise<Readonly<Record<string, number>>> {
    const epoch = this.#layout.epoch + 1
    const plan: DrainPlan = {
      ...{ id: makeTransactionId(Date.now(), Buffer.alloc(10, ++this.#plans)), pool: 'CUSTOMER_1', from: 2, to: 1 },
      ...{ leaving: [source], targets: [target], state: 'running', force: false, keep: true, by: 'bench', reason: '' },
      ...{ startedAt: Date.now(), cordonEpoch: epoch },
    }
    const before = usageOf(process.pid)
    const begun = performance.now()
    await this.#write({ ...this.#layout, plans: [plan] }, source)
    const stop = arrivals > 0 ? arrive(this.portOf(source), arrivals) : () => {}
    const freshLeft = arrivals > 0 ? freshMax : 0
    const { drain } = await this.#until(source, (state) => {
      const { drain: progress } = state
      return progress?.plan === plan.id && progress.moved > 0 && progress.left <= freshLeft
    })
    const tookMs = performance.now() - begun
    stop()
    await this.#until(source, (state) => state.drain?.phase === 'empty')
    const used = usageBetween(before, usageOf(process.pid))
    const moved = drain?.moved ?? 0
    const memoryBytes = this.#children.reduce((sum, { pid }) => sum + memoryOf(pid), 0)
    await this.#write({ ...this.#layout, plans: [] }, undefined)
    const rates = { messagesPerSecond: moved / (tookMs / 1000), cpuMsPerMessage: used.cpuMs / moved }
    return { ...rates, tookMs, moved, memoryBytes }
  }

  async close(): Promise<void> {
    for (const child of this.#children) await child.stop()
    this.#coordination.close()
    await this.#closeHub()
  }

  /** The next layout, known to both. */
  async #write(layout: Layout, leaving: string | undefined): Promise<void> {
    const instances = layout.instances.map((one) => ({
      ...one,
      standing: one.id === leaving ? ('draining' as const) : ('active' as const),
    }))
    this.#layout = { ...layout, epoch: this.#layout.epoch + 1, instances }
    const { kind } = await this.#coordination.put(layoutKey, signLayout(this.#signer, this.#layout))
    if (kind !== 'written') throw new Error(`the layout was not written: ${kind}`)
    for (const id of pair) await this.#until(id, ({ epoch }) => epoch === this.#layout.epoch)
  }

  async #until(id: string, holds: (state: InstanceState) => boolean): Promise<InstanceState> {
    for (;;) {
      const result = await this.#coordination.request(operationSubject(id, 'status'), {}, 5000)
      if (result.kind === 'reply') {
        const state = result.value as unknown as InstanceState
        if (holds(state)) return state
      }
      await sleep(pollMs)
    }
  }
}

/** New mail at a steady rate; answers how to stop it. */
function arrive(port: number, perSecond: number): () => void {
  const text = `Subject: bench\r\n\r\n${'x'.repeat(69)}\r\n`.repeat(Math.ceil(bytesPerMessage / 90))
  const tail = encodeQmtpTail('bench@example.net', ['sink@customer1.example'])
  const bytes = Buffer.from(encodeQmtpHead('crlf', text.length) + text + tail, 'latin1')
  const socket = connect({ port, host: '127.0.0.1' })
  socket.resume()
  const begun = performance.now()
  let sent = 0
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - begun) / 1000) * perSecond)
    for (; sent < due; sent++) socket.write(bytes)
  }, 10)
  return () => {
    clearInterval(timer)
    socket.end()
  }
}
