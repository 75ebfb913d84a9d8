/**
 * QMTP accept rate of one queue instance, against the floor in the same run, interleaved; and what TLS costs of it.
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
  readonly credentials?: { readonly credentials: string }
  stop(): Promise<unknown>
}

export interface QmtpLoad {
  readonly port: number
  readonly connections: number
  readonly window: number
  readonly messages: number
  readonly bytes: number
  /** Directory of a tier's certificates: TLS. */
  readonly credentials?: string
}

/** Milliseconds from the first byte to the last K. Throws when any reply was not K. */
export async function qmtpLoad(load: QmtpLoad): Promise<number> {
  const { port, connections, window, messages, bytes, credentials } = load
  const tls = credentials === undefined ? [] : ['sink@customer1.example', credentials]
  const args = [client, ...[port, connections, window, messages, bytes].map(String), ...tls]
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

export const qmtps: Measure = {
  name: 'qmtps',
  what: 'QMTP in over TLS with certificates of both sides, beside the same without',
  async run(options) {
    if (!options.subjects.includes('qmq')) return
    const directory = makeTemporaryDirectory('bench-qmtps', options.directory)
    const clusters: QmtpSubject[] = []
    try {
      for (const tierTls of ['never', 'always'] as const) clusters.push(await startQueue(directory, tierTls))
      for (const connections of [1, 20])
        await runTlsCase(options, `10KiB c${connections} x ${windowPackages}`, clusters, connections)
    } finally {
      for (const one of clusters) await one.stop()
      rmSync(directory, { recursive: true, force: true })
    }
  },
}

async function runTlsCase(
  options: BenchOptions,
  name: string,
  clusters: readonly QmtpSubject[],
  connections: number,
): Promise<void> {
  const load = { connections, window: windowPackages, bytes: 10 * 1024 }
  for (const { port, credentials } of clusters) await qmtpLoad({ ...load, port, messages: 10_000, ...credentials })
  for (let run = 1; run <= options.runs; run++) {
    for (const { port, pid, credentials } of clusters) {
      const messages = options.quick ? 10_000 : 40_000
      const before = usageOf(pid)
      const tookMs = await qmtpLoad({ ...load, port, messages, ...credentials })
      const figures = {
        messagesPerSecond: messages / (tookMs / 1000),
        cpuMsPerMessage: usageBetween(before, usageOf(pid)).cpuMs / messages,
      }
      const what = `${name}${credentials === undefined ? '' : ' TLS'}`
      options.record({ measure: 'qmtps', case: what, subject: 'qmq', run, figures })
    }
  }
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

async function startQueue(directory: string, tierTls: 'never' | 'always' = 'never'): Promise<QmtpSubject> {
  const ports = await clusterPorts()
  const place = join(directory, `qmq-${tierTls}`)
  mkdirSync(place)
  const conf = clusterConf(ports, { deliver: 'hold', customerInstances: 1 })
  const cluster = new Cluster(place, `tier-tls: ${tierTls}\n${conf}`)
  await cluster.untilReady()
  const tls = tierTls === 'never' ? {} : { credentials: { credentials: join(cluster.state, 'tls/e1') } }
  return { name: 'qmq', port: ports.base + 1, pid: cluster.child.pid, stop: () => cluster.stop(), ...tls }
}
