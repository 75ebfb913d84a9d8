/**
 * One run's cluster, next hop, Maildir and outside ledger, and the wait until everything acknowledged has arrived.
 */

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Cluster, type ClusterPorts, clusterConf, clusterPorts } from '../support/cluster.ts'
import { MailSink } from '../support/mail-sink.ts'
import { listProcesses } from '../support/process-tree.ts'
import { Load, localRecipient } from './load.ts'
import { OutsideLedger, readArrival } from './outside-ledger.ts'
import { judge, type Verdict } from './verdict.ts'

export interface CrashOptions {
  /** Outside the file system under test. */
  readonly directory: string
  readonly state: string
  readonly seed: number
  note(text: string): void
}

export interface CrashReport {
  readonly verdict: Verdict
  readonly balanced: boolean
  readonly audit: unknown
  /** Kills and cuts. */
  readonly incidents: number
}

const clients = 8
const pauseMs = 5
const arrivalTimeoutMs = 180_000
const leaveTimeoutMs = 15_000

export class CrashWorld {
  readonly cluster: Cluster
  readonly ledger: OutsideLedger
  readonly options: CrashOptions
  readonly #sink: MailSink
  readonly #ports: ClusterPorts
  readonly #seenFiles = new Set<string>()

  private constructor(options: CrashOptions, sink: MailSink, ports: ClusterPorts, ledger: OutsideLedger) {
    this.options = options
    this.ledger = ledger
    this.#sink = sink
    this.#ports = ports
    const conf = clusterConf(ports, { deliver: `smtp:127.0.0.1:${sink.port}` })
    this.cluster = new Cluster(options.directory, conf, options.state)
  }

  static async start(options: CrashOptions): Promise<CrashWorld> {
    const ledger = new OutsideLedger(join(options.directory, 'outside-ledger'))
    const sink = await MailSink.start({
      received(mail) {
        const arrival = readArrival(mail.data)
        if (arrival === undefined) return
        for (const recipient of mail.recipients) ledger.arrived({ ...arrival, recipient, at: mail.at })
      },
    })
    const world = new CrashWorld(options, sink, await clusterPorts(), ledger)
    await world.cluster.untilReady()
    return world
  }

  load(round: number): Load {
    const load = new Load(
      { port: this.#ports.smtp, clients, pauseMs, seed: this.options.seed + round * 1000 },
      this.ledger,
    )
    load.start()
    return load
  }

  /** Waits for the rest to arrive, asks the cluster for its audit, and judges. */
  async finish(): Promise<CrashReport> {
    const deadline = Date.now() + arrivalTimeoutMs
    for (;;) {
      this.#readMaildir()
      if (judge(this.ledger).lost.length === 0 || Date.now() > deadline) break
      await sleep(250)
    }
    // What was delivered twice arrives a little later than what was delivered once.
    await sleep(1000)
    this.#readMaildir()
    const { answer } = await this.cluster.ask(['audit'])
    const balanced = typeof answer === 'object' && answer !== null && 'balanced' in answer && answer.balanced === true
    return {
      verdict: judge(this.ledger),
      balanced,
      audit: answer,
      incidents: this.ledger.incidents.filter((one) => one.kind !== 'orphan').length,
    }
  }

  /** Throws when a process of the cluster outlives it. */
  async stop(): Promise<void> {
    await this.cluster.stop()
    await this.#sink.close()
    const deadline = Date.now() + leaveTimeoutMs
    for (;;) {
      const left = listProcesses().filter((entry) => entry.command.includes(this.options.state))
      if (left.length === 0) return
      if (Date.now() > deadline) throw new Error(`left behind: ${left.map((entry) => entry.command).join('; ')}`)
      await sleep(100)
    }
  }

  #readMaildir(): void {
    const [local, domain] = localRecipient.split('@') as [string, string]
    const folder = join(this.options.state, 'mailboxes', domain, local, 'new')
    if (!existsSync(folder)) return
    for (const name of readdirSync(folder)) {
      if (this.#seenFiles.has(name)) continue
      this.#seenFiles.add(name)
      const arrival = readArrival(readFileSync(join(folder, name)))
      const at = statSync(join(folder, name)).mtimeMs
      if (arrival !== undefined) this.ledger.arrived({ ...arrival, recipient: localRecipient, at })
    }
  }
}
