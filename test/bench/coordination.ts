/**
 * Coordination at scale, on one nats-server, without mail: the clients of many instances and edges in this one process, each with its
 * heartbeat, all of them watching the layout.
 *
 * Told are: how long it takes until every edge has heard of a change of the layout; what the idle control plane costs the server,
 * in messages and processor time, and this process; and by the same figures with more instances, whether it grows in line.
 */

import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { layoutKey, stateKey } from '../../services/contract/coordination.ts'
import { heartbeatMs, type InstanceState } from '../../services/contract/operations.ts'
import { stateRecord } from '../../services/contract/state-record.ts'
import { NatsCoordination } from '../../services/runtime/nats-coordination.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'
import { SystemRandom } from '../../services/runtime/system-random.ts'
import { freePorts } from '../support/free-ports.ts'
import { NatsServer, natsPrograms } from '../support/nats-server.ts'
import { shippedLayout } from '../support/shipped-layout.ts'
import { type BenchOptions, type Measure, wanted } from './measure.ts'

const [clock, random] = [new SystemClock(), new SystemRandom()]
const edges = 20
const changes = 20
const idleMs = 10_000
const ticksPerSecond = 100
const changeWaitMs = 5_000

export const coordination: Measure = {
  name: 'coordination',
  what: 'many instances and 20 edges on one nats-server: delay of a new layout, cost of heartbeats',
  async run(options) {
    if (!options.subjects.includes('qmq')) return
    for (const instances of options.quick ? [10, 100] : [10, 100, 300, 1000]) {
      for (let run = 1; run <= options.runs; run++) await sample(options, instances, run)
    }
  },
}

interface Place {
  readonly server: NatsServer
  /** Port by which the server tells its counters. */
  readonly monitor: number
}

async function sample(options: BenchOptions, instances: number, run: number): Promise<void> {
  const name = `${instances} instances, ${edges} edges`
  if (!wanted(options, name)) return
  const { path: program = '' } = natsPrograms().at(-1) ?? {}
  const [monitor] = (await freePorts(1)) as [number]
  const server = await NatsServer.start({ program, configuration: `http: "127.0.0.1:${monitor}"` })
  const clients: NatsCoordination[] = []
  try {
    const writer = client(server, 'up', true)
    clients.push(writer)
    await writer.put(layoutKey, { epoch: 0 })
    const heard = Array.from({ length: edges }, () => 0)
    for (let index = 0; index < edges + instances; index++) {
      const id = index < edges ? `e${index + 1}` : String(index - edges).padStart(3, '0')
      const one = client(server, id, false)
      clients.push(one)
      one.watch(layoutKey, ({ entry }) => {
        if (index < edges) heard[index] = (entry?.value as { readonly epoch: number } | undefined)?.epoch ?? 0
      })
      await one.put(stateKey(id), stateOf(id))
    }
    const delays = await changeLayout(writer, heard)
    const idle = await beatFor({ server, monitor }, clients.slice(1))
    const figures = {
      changeMsMedian: delays[Math.floor(delays.length / 2)] ?? 0,
      changeMsMax: delays.at(-1) ?? 0,
      ...idle,
    }
    options.record({ measure: 'coordination', case: name, subject: 'qmq', run, figures })
  } finally {
    for (const one of clients) one.close()
    await server.remove()
  }
}

function client(server: NatsServer, name: string, makesBuckets: boolean): NatsCoordination {
  const authentication = async () => ({ kind: 'none' }) as const
  return new NatsCoordination({ clock, random, servers: [server.address], authentication, client: name, makesBuckets })
}

function stateOf(id: string): ReturnType<typeof stateRecord> {
  const tier: InstanceState['tier'] = id.startsWith('e') ? 'edge' : 'queue'
  const load = { queued: 12_345, inFlight: 20, acceptedPerSecond: 100, oldestAgeMs: 60_000 }
  const listeners = [{ kind: 'qmtp', host: '127.0.0.1', port: 20_900 }]
  const at = clock.now()
  return stateRecord({
    id,
    tier,
    pool: 'CUSTOMER_1',
    pid: 4711,
    epoch: 7,
    phase: 'ready',
    listeners,
    startedAt: at,
    at,
    load,
  })
}

/** From the write until the last edge has heard, milliseconds, in order. The record has the size of a real one. */
async function changeLayout(writer: NatsCoordination, heard: readonly number[]): Promise<readonly number[]> {
  const delays: number[] = []
  for (let epoch = 1; epoch <= changes; epoch++) {
    const begunMs = performance.now()
    await writer.put(layoutKey, { ...shippedLayout(1), epoch } as never)
    while (!heard.every((one) => one === epoch)) {
      if (performance.now() - begunMs > changeWaitMs) throw new Error(`an edge did not hear of epoch ${epoch}`)
      await sleep(1)
    }
    delays.push(performance.now() - begunMs)
  }
  return delays.toSorted((one, other) => one - other)
}

/** Every client renews its state once a heartbeat. Figures of the server, and of all clients together, per second. */
async function beatFor(place: Place, clients: readonly NatsCoordination[]): Promise<Readonly<Record<string, number>>> {
  const [before, ownBefore] = [await countersOf(place), process.cpuUsage()]
  const begunMs = performance.now()
  let written = 0
  const beats = clients.map(async (one, index) => {
    const id = index < edges ? `e${index + 1}` : String(index - edges).padStart(3, '0')
    await sleep((index / clients.length) * heartbeatMs)
    while (performance.now() - begunMs < idleMs) {
      const dueMs = performance.now() + heartbeatMs
      if ((await one.put(stateKey(id), stateOf(id))).kind === 'written') written++
      await sleep(Math.max(0, dueMs - performance.now()))
    }
  })
  await Promise.all(beats)
  const seconds = (performance.now() - begunMs) / 1000
  const [after, own] = [await countersOf(place), process.cpuUsage(ownBefore)]
  const serverMs = ((after.ticks - before.ticks) / ticksPerSecond) * 1000
  return {
    messagesPerSecond: (after.messages - before.messages) / seconds,
    heartbeatsPerSecond: written / seconds,
    serverCpuMsPerSecond: serverMs / seconds,
    serverCpuMicrosecondsPerHeartbeat: (serverMs * 1000) / written,
    clientCpuMicrosecondsPerHeartbeat: (own.user + own.system) / written,
    serverMemoryMiB: after.memoryMiB,
  }
}

interface Counters {
  readonly ticks: number
  readonly memoryMiB: number
  readonly messages: number
}

async function countersOf({ server, monitor }: Place): Promise<Counters> {
  const fields = readFileSync(`/proc/${server.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  const pages = Number(readFileSync(`/proc/${server.pid}/statm`, 'utf8').split(' ')[1])
  const said = (await (await fetch(`http://127.0.0.1:${monitor}/varz`)).json()) as { in_msgs: number; out_msgs: number }
  const messages = said.in_msgs + said.out_msgs
  return { ticks: Number(fields[11]) + Number(fields[12]), memoryMiB: (pages * 4096) / 2 ** 20, messages }
}
