/**
 * Start of a queue instance over 100 000 queued messages: after a clean stop, and after SIGKILL.
 *
 * The time runs from the start of `qmq up` until its QMTP port answers a connection and the instance says it is ready,
 * less nothing: it includes the start of the processes. The same start over an empty queue is given beside it.
 */

import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { gone } from '../support/child.ts'
import { Cluster, clusterConf, clusterPorts } from '../support/cluster.ts'
import { processTree } from '../support/process-tree.ts'
import { makeTemporaryDirectory } from '../support/temporary-directory.ts'
import type { BenchOptions, Measure } from './measure.ts'
import { qmtpLoad } from './qmtp.ts'

export const replay: Measure = {
  name: 'replay',
  what: 'start of an instance over its queued messages, milliseconds',
  async run(options) {
    if (!options.subjects.includes('qmq')) return
    const messages = options.quick ? 10_000 : 100_000
    const directory = makeTemporaryDirectory('bench-replay', options.directory)
    mkdirSync(join(directory, 'qmq'))
    const ports = await clusterPorts()
    const conf = clusterConf(ports, { deliver: 'hold', customerInstances: 1 })
    const cluster = new Cluster(join(directory, 'qmq'), conf)
    try {
      await cluster.untilReady()
      await repeat(options, cluster, 'empty')
      await qmtpLoad({ port: ports.base + 1, connections: 20, window: 64, messages, bytes: 1024 })
      await repeat(options, cluster, `${messages} x 1KiB`)
    } finally {
      await cluster.stop()
      rmSync(directory, { recursive: true, force: true })
    }
  },
}

async function repeat(options: BenchOptions, cluster: Cluster, what: string): Promise<void> {
  for (let run = 1; run <= options.runs; run++) {
    for (const ending of ['stopped', 'killed'] as const) {
      if (ending === 'stopped') await cluster.stop()
      else await killAll(cluster)
      const begun = performance.now()
      cluster.restart()
      await cluster.untilReady(120_000)
      const figures = { readyMs: performance.now() - begun }
      options.record({ measure: 'replay', case: `${what}, ${ending}`, subject: 'qmq', run, figures })
    }
  }
}

async function killAll(cluster: Cluster): Promise<void> {
  const pids = processTree(cluster.child.pid).map((entry) => entry.pid)
  for (const pid of pids) process.kill(pid, 'SIGKILL')
  await cluster.child.finished
  for (const pid of pids) await gone(pid)
}
