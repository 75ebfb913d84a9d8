/**
 * QMTP accept rate of one queue instance, against the floor in the same run, interleaved.
 */

import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Child, runWell } from '../support/child.ts'
import { Cluster, clusterConf, clusterPorts } from '../support/cluster.ts'
import { usageBetween, usageOf } from '../support/process-tree.ts'
import { makeTemporaryDirectory } from '../support/temporary-directory.ts'
import { type BenchOptions, type Measure, type Subject, wanted } from './measure.ts'

const client = new URL('./qmtp-load.ts', import.meta.url).pathname
const receiver = new URL('./floor-receiver.ts', import.meta.url).pathname
const windowPackages = 64

interface QmtpSubject {
  readonly name: Subject
  readonly port: number
  readonly pid: number
  stop(): Promise<unknown>
}

export interface QmtpLoad {
  readonly port: number
  readonly connections: number
  readonly window: number
  readonly messages: number
  readonly bytes: number
}

/** Milliseconds from the first byte to the last K. Throws when any reply was not K. */
export async function qmtpLoad(load: QmtpLoad): Promise<number> {
  const args = [client, ...[load.port, load.connections, load.window, load.messages, load.bytes].map(String)]
  const { stdout } = await runWell(process.execPath, args)
  const { tookMs, refused } = JSON.parse(stdout) as { tookMs: number; refused: number }
  if (refused > 0) throw new Error(`${refused} of ${load.messages} packages were refused`)
  return tookMs
}

export const qmtp: Measure = {
  name: 'qmtp',
  what: 'QMTP in, durable, 64 in flight per connection: messages per second, and share of the floor',
  async run(options) {
    for (const connections of [1, 20]) {
      const name = `10KiB c${connections} x ${windowPackages}`
      if (wanted(options, name)) await runCase(options, name, connections)
    }
  },
}

async function runCase(options: BenchOptions, name: string, connections: number): Promise<void> {
  const directory = makeTemporaryDirectory('bench-qmtp', options.directory)
  const subjects: QmtpSubject[] = []
  const load = { connections, window: windowPackages, bytes: 10 * 1024 }
  try {
    if (options.subjects.includes('floor')) subjects.push(await startFloor(directory))
    if (options.subjects.includes('qmq')) subjects.push(await startQueue(directory))
    for (const { port } of subjects) await qmtpLoad({ ...load, port, messages: 20_000 })
    for (let run = 1; run <= options.runs; run++) {
      for (const subject of subjects) {
        const messages = options.quick ? 10_000 : 40_000
        const before = usageOf(subject.pid)
        const tookMs = await qmtpLoad({ ...load, port: subject.port, messages })
        const used = usageBetween(before, usageOf(subject.pid))
        const figures = {
          messagesPerSecond: messages / (tookMs / 1000),
          cpuMsPerMessage: used.cpuMs / messages,
          writtenBytesPerMessage: used.writtenBytes / messages,
        }
        options.record({ measure: 'qmtp', case: name, subject: subject.name, run, figures })
      }
    }
  } finally {
    for (const subject of subjects) await subject.stop()
    rmSync(directory, { recursive: true, force: true })
  }
}

async function startFloor(directory: string): Promise<QmtpSubject> {
  const child = new Child(process.execPath, [receiver, join(directory, 'floor.data')])
  const port = await child.until(({ stdout }) => (stdout.endsWith('\n') ? Number(stdout) : undefined))
  return { name: 'floor', port, pid: child.pid, stop: () => child.stop() }
}

async function startQueue(directory: string): Promise<QmtpSubject> {
  const ports = await clusterPorts()
  mkdirSync(join(directory, 'qmq'))
  const conf = clusterConf(ports, { deliver: 'hold', customerInstances: 1 })
  const cluster = new Cluster(join(directory, 'qmq'), conf)
  await cluster.untilReady()
  return { name: 'qmq', port: ports.base + 1, pid: cluster.child.pid, stop: () => cluster.stop() }
}
