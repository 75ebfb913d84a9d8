/**
 * Scaling down by the command, from the order to the receipt: a pool of two instances with queued mail becomes one, on a quiet cluster and
 * while mail keeps coming. The time is that of the whole command, waits and process starts included.
 */

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { Cluster, clusterConf, clusterPorts } from '../support/cluster.ts'
import { makeTemporaryDirectory } from '../support/temporary-directory.ts'
import { type BenchOptions, type Measure, wanted } from './measure.ts'
import { PacedLoad } from './paced-load.ts'
import { qmtpLoad } from './qmtp.ts'

const kibibyte = 1024
const arrivingPerSecond = 500
const arrivingBytes = 2 * kibibyte
/** The pause before an instance is removed is a setting; at its shortest it is not what is measured. */
const unclearRetry = '1s'

interface ScaleAnswer {
  readonly messages: number
  readonly seconds: number
  readonly verified: boolean
  readonly balanced: boolean
}

export const scale: Measure = {
  name: 'scale',
  what: 'scale-down by `qmq scale`, from order to receipt: seconds, messages per second',
  async run(options) {
    if (!options.subjects.includes('qmq')) return
    const messages = options.quick ? 2000 : 100_000
    for (const arriving of [0, arrivingPerSecond]) {
      const name = `${messages} x 10KiB, ${arriving === 0 ? 'quiet' : `${arriving}/s arriving`}`
      if (!wanted(options, name)) continue
      for (let run = 1; run <= options.runs; run++) {
        const figures = await sample(options, messages, arriving)
        options.record({ measure: 'scale', case: name, subject: 'qmq', run, figures })
      }
    }
  },
}

async function sample(options: BenchOptions, messages: number, arriving: number): Promise<Record<string, number>> {
  const directory = makeTemporaryDirectory('bench-scale', options.directory)
  const ports = await clusterPorts()
  const handoff = { 'unclear-retry': unclearRetry }
  const cluster = new Cluster(join(directory, 'qmq'), clusterConf(ports, { deliver: 'hold', handoff }))
  try {
    await cluster.untilReady()
    // The second is the one that leaves.
    await qmtpLoad({ port: ports.base + 2, connections: 20, window: 64, messages, bytes: 10 * kibibyte })
    const load = arriving === 0 ? undefined : new PacedLoad(ports.smtp, arriving, arrivingBytes)
    const begun = performance.now()
    const { finished, answer } = await cluster.ask(['scale', 'CUSTOMER_1=1', '--yes', '--reason', 'bench'])
    const seconds = (performance.now() - begun) / 1000
    await load?.stop()
    const said = answer as ScaleAnswer
    if (finished.code !== 0 || !said.verified || !said.balanced) throw new Error(finished.stdout + finished.stderr)
    const moved = { seconds, messagesPerSecond: said.messages / seconds }
    if (load === undefined) return moved
    return { ...moved, arrivedPerSecond: load.accepted / seconds, refused: load.refused }
  } finally {
    await cluster.stop()
    rmSync(directory, { recursive: true, force: true })
  }
}
