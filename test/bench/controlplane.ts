/**
 * What a cluster costs that has nothing to do: processor time per second of the hub (`qmq up` itself), of control, and of everybody, with
 * 1, 10 and 50 instances in a pool beside the usual others.
 */

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Cluster, clusterConf, clusterPorts } from '../support/cluster.ts'
import { memoryOf, type ProcessEntry, processTree } from '../support/process-tree.ts'
import { makeTemporaryDirectory } from '../support/temporary-directory.ts'
import { type BenchOptions, type Measure, wanted } from './measure.ts'

const tickMs = 10
const readyTimeoutMs = 180_000
/** A start warms up for a while. */
const calmMs = 5000

export const controlplane: Measure = {
  name: 'controlplane',
  what: 'an idle cluster: processor milliseconds per second of hub, control and all',
  async run(options) {
    if (!options.subjects.includes('qmq')) return
    for (const instances of options.quick ? [1, 10] : [1, 10, 50]) {
      const name = `${instances} instances`
      if (wanted(options, name)) await runCase(options, name, instances)
    }
  },
}

async function runCase(options: BenchOptions, name: string, instances: number): Promise<void> {
  const directory = makeTemporaryDirectory('bench-controlplane', options.directory)
  const conf = { deliver: 'hold', customerIds: '01-60', customerInstances: instances, controls: 2 }
  const cluster = new Cluster(join(directory, 'qmq'), clusterConf(await clusterPorts(), conf))
  try {
    await cluster.untilReady(readyTimeoutMs)
    await sleep(calmMs)
    for (let run = 1; run <= options.runs; run++) {
      const figures = await sample(cluster.child.pid, options.quick ? 5 : 20)
      options.record({ measure: 'controlplane', case: name, subject: 'qmq', run, figures })
    }
  } finally {
    await cluster.stop()
    rmSync(directory, { recursive: true, force: true })
  }
}

async function sample(root: number, seconds: number): Promise<Record<string, number>> {
  const before = processTree(root)
  await sleep(seconds * 1000)
  const after = processTree(root)
  const used = (chosen: (entry: ProcessEntry) => boolean): number =>
    (ticksOf(after, chosen) - ticksOf(before, chosen)) * tickMs
  return {
    hubMsPerSecond: used(({ pid }) => pid === root) / seconds,
    controlMsPerSecond: used(({ command }) => / --id c\d/.test(command)) / seconds,
    allMsPerSecond: used(() => true) / seconds,
    memoryMegabytes: memoryOf(root) / 1e6,
  }
}

function ticksOf(entries: readonly ProcessEntry[], chosen: (entry: ProcessEntry) => boolean): number {
  return entries.filter(chosen).reduce((sum, { ticks }) => sum + ticks, 0)
}
