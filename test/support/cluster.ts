/**
 * A whole cluster as its users run it: `qmq up` on its own conf-qmq, state directory and ports.
 *
 * `clusterConf` writes a small layout: INTERNAL 00 to Maildirs, CUSTOMER_1 01-02 to one next hop, INTERNET 80, BOUNCES 90,
 * BACKUP 99. The processes are those of the shipped software, nothing is replaced.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Child, type Finished, run } from './child.ts'
import { freePortRange, freePorts } from './free-ports.ts'
import type { Cleanup } from './temporary-directory.ts'

const program = new URL('../../services/cli/qmq.js', import.meta.url).pathname

export interface ConfOptions {
  /** CUSTOMER_1's `deliver`. */
  readonly deliver: string
  readonly customerInstances?: number
  /** CUSTOMER_1's ids; room to grow. */
  readonly customerIds?: string
  /** Control processes; one unless given. */
  readonly controls?: number
  /** More lines for `edge: handoff:`. */
  readonly handoff?: Readonly<Record<string, string | number>>
  /** INTERNET's `deliver`; `hold` unless given, for tests reach nobody. */
  readonly internet?: string
  /** More lines for `edge: limits:`, as conf-qmq writes them. */
  readonly edgeLimits?: Readonly<Record<string, string | number>>
  /** More keys of CUSTOMER_1. */
  readonly customer?: Readonly<Record<string, string | number>>
  readonly bounces?: Readonly<Record<string, string | number>>
  /** As conf-qmq writes it. */
  readonly coordination?: string
}

export interface ClusterPorts {
  readonly smtp: number
  readonly submission: number
  readonly smtps: number
  /** Instance NN answers QMTP at `base` + NN, takes mail over at `base` + 100 + NN; control is at `base` + 200. */
  readonly base: number
}

export async function clusterPorts(): Promise<ClusterPorts> {
  const base = await freePortRange(210)
  const [smtp, submission, smtps] = (await freePorts(3)) as [number, number, number]
  return { smtp, submission, smtps, base }
}

export function clusterConf(ports: ClusterPorts, options: ConfOptions): string {
  const map = (entries: Readonly<Record<string, string | number>>): string =>
    Object.entries(entries)
      .map(([key, value]) => `, ${key}: ${value}`)
      .join('')
  const lines = (entries: Readonly<Record<string, string | number>> = {}): string[] =>
    Object.entries(entries).map(([key, value]) => `    ${key}: ${value}`)
  const limits = lines(options.edgeLimits)
  const handoff = lines(options.handoff)
  return [
    'version: 1',
    'cluster: mail.example.com',
    ...(options.coordination === undefined ? [] : [`coordination: ${options.coordination}`]),
    `base-port: ${ports.base}`,
    `control: { count: ${options.controls ?? 1}, port: ${ports.base + 200} }`,
    'edge:',
    '  count: 1',
    '  host: 127.0.0.1',
    `  listen: { smtp: ${ports.smtp}, submission: ${ports.submission}, smtps: ${ports.smtps} }`,
    '  relay-from: [127.0.0.0/8]',
    ...(limits.length > 0 ? ['  limits:', ...limits] : []),
    ...(handoff.length > 0 ? ['  handoff:', ...handoff] : []),
    'pools:',
    '  INTERNAL: { ids: 00, role: internal, domains: [example.com], deliver: maildir,',
    '    mailboxes: [postmaster@example.com, newcomer@example.com, box@example.com] }',
    `  CUSTOMER_1: { ids: ${options.customerIds ?? '01-09'}, role: customer, count: ${options.customerInstances ?? 2},`,
    `    domains: [customer1.example, .customer1.example], deliver: "${options.deliver}"${map(options.customer ?? {})} }`,
    `  INTERNET: { ids: 80, role: internet, count: 1, deliver: "${options.internet ?? 'hold'}" }`,
    `  BOUNCES: { ids: 90, role: bounce${map(options.bounces ?? {})} }`,
    '  BACKUP: { ids: 99, role: backup }',
    '',
  ].join('\n')
}

export interface ReadyLine {
  readonly ready: true
  readonly epoch: number
  readonly pid: number
  readonly listeners: readonly { tier: string; instance: string; kind: string; host: string; port: number }[]
}

export class Cluster {
  readonly confFile: string
  readonly state: string
  child: Child
  ready: ReadyLine | undefined

  constructor(directory: string, conf: string, state = join(directory, 'state')) {
    mkdirSync(directory, { recursive: true })
    this.confFile = join(directory, 'conf-qmq')
    this.state = state
    writeFileSync(this.confFile, conf)
    this.child = this.#spawn()
  }

  /** Starts the parent again after it was killed. */
  restart(): void {
    this.ready = undefined
    this.child = this.#spawn()
  }

  /** Stops what has started when it does not become ready in time. */
  async untilReady(timeoutMs = 60_000): Promise<ReadyLine> {
    try {
      this.ready = await this.child.until((child) => findReady(child.stdout), timeoutMs)
    } catch (error) {
      await this.stop()
      throw error
    }
    return this.ready
  }

  /** Another verb on the same state, its `-o json` answer parsed. */
  async ask(verb: readonly string[]): Promise<{ finished: Finished; answer: unknown }> {
    const finished = await this.qmq([...verb, '-o', 'json'])
    const last = finished.stdout.trim()
    return { finished, answer: last === '' ? undefined : parseLast(last) }
  }

  /** `state`: where the command looks, on a host of its own. */
  async qmq(verb: readonly string[], state = this.state): Promise<Finished> {
    const where = ['--conf', this.confFile, '--state', state]
    return await run(process.execPath, [program, ...verb, ...where])
  }

  async stop(): Promise<Finished> {
    return await this.child.stop('SIGTERM', 20_000)
  }

  #spawn(): Child {
    const args = [program, 'up', '--conf', this.confFile, '--state', this.state, '-o', 'json']
    return new Child(process.execPath, args)
  }
}

/** A cluster of its own that is ready, and stopped when the test ends. */
export async function startCluster(test: Cleanup, directory: string, conf: string): Promise<Cluster> {
  const cluster = new Cluster(directory, conf)
  test.after(async () => {
    await cluster.stop()
  })
  await cluster.untilReady()
  return cluster
}

function findReady(stdout: string): ReadyLine | undefined {
  for (const line of stdout.split('\n').slice(0, -1)) {
    if (!line.startsWith('{')) continue
    const value = JSON.parse(line) as Partial<ReadyLine>
    if (value.ready === true && value.listeners !== undefined) return value as ReadyLine
  }
  return undefined
}

/** A whole JSON document, or the last of several lines. */
function parseLast(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return JSON.parse(text.slice(text.lastIndexOf('\n') + 1))
  }
}
