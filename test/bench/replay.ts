/**
 * Start of a queue instance over 100 000 queued messages: after a clean stop, and after SIGKILL.
 *
 * The instance runs by itself, as a supervisor would start it. The time runs from the start of the process until its QMTP
 * port takes a connection, so it includes the start of Node; the same over an empty queue is given beside it.
 */

import { once } from 'node:events'
import { mkdirSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Child } from '../support/child.ts'
import { Cluster, clusterConf, clusterPorts } from '../support/cluster.ts'
import { makeTemporaryDirectory } from '../support/temporary-directory.ts'
import type { BenchOptions, Measure } from './measure.ts'
import { qmtpLoad } from './qmtp.ts'

const program = new URL('../../services/queue/main.ts', import.meta.url).pathname
const instance = '01'
const startTimeoutMs = 120_000

export const replay: Measure = {
  name: 'replay',
  what: 'start of an instance over its queued messages, milliseconds until it takes connections',
  async run(options) {
    if (!options.subjects.includes('qmq')) return
    const messages = options.quick ? 10_000 : 100_000
    const directory = makeTemporaryDirectory('bench-replay', options.directory)
    try {
      const { state, port } = await preparedState(directory)
      await repeat(options, state, port, 'empty')
      const child = start(state)
      await takesConnections(port)
      await qmtpLoad({ port, connections: 20, window: 64, messages, bytes: 1024 })
      await child.stop()
      await repeat(options, state, port, `${messages} x 1KiB`)
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  },
}

/** A state directory with its layout, as `qmq up` leaves it. */
async function preparedState(directory: string): Promise<{ state: string; port: number }> {
  const ports = await clusterPorts()
  mkdirSync(join(directory, 'qmq'))
  const conf = clusterConf(ports, { deliver: 'hold', customerInstances: 1 })
  const cluster = new Cluster(join(directory, 'qmq'), conf)
  await cluster.untilReady()
  await cluster.stop()
  return { state: cluster.state, port: ports.base + Number(instance) }
}

async function repeat(options: BenchOptions, state: string, port: number, what: string): Promise<void> {
  for (let run = 1; run <= options.runs; run++) {
    // The start after a clean stop, then, its process killed, the start after that.
    for (const ending of ['stopped', 'killed'] as const) {
      const begun = performance.now()
      const child = start(state)
      await takesConnections(port)
      const figures = { readyMs: performance.now() - begun }
      await child.stop(ending === 'stopped' ? 'SIGKILL' : 'SIGTERM')
      options.record({ measure: 'replay', case: `${what}, ${ending}`, subject: 'qmq', run, figures })
    }
  }
}

function start(state: string): Child {
  return new Child(process.execPath, [program, 'run', '--state', state, '--id', instance])
}

async function takesConnections(port: number): Promise<void> {
  const deadline = performance.now() + startTimeoutMs
  for (;;) {
    const socket = connect({ port, host: '127.0.0.1' })
    const open = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (open) return
    if (performance.now() > deadline) throw new Error(`nobody listens on port ${port}`)
    await sleep(5)
  }
}
