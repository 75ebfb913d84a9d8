/**
 * One scaling run's cluster, next hop, mailbox of bounces, outside ledger and witnesses; and the evidence for the verdict, gathered after
 * the cluster has stopped.
 */

import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { QueuedMessage } from '../../services/contract/operations.ts'
import type { Receipt } from '../../services/contract/receipt.ts'
import { listJournal } from '../../services/queue/offline.ts'
import { silentLog } from '../../services/runtime/log.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import { OutsideLedger, readArrival } from '../crash/outside-ledger.ts'
import { deliveryKey } from '../crash/verdict.ts'
import { Cluster, clusterConf, clusterPorts } from '../support/cluster.ts'
import { MailSink } from '../support/mail-sink.ts'
import { listProcesses } from '../support/process-tree.ts'
import { addressOf, kindOf, refusalOf, sender } from './letters.ts'
import { PlanWatch } from './plan-watch.ts'
import type { Deferral, ReceiptCheck, ScaleEvidence } from './scale-verdict.ts'
import { Sending } from './sending.ts'

export interface ScaleOptions {
  readonly directory: string
  readonly seed: number
  /** Instances of CUSTOMER_1 at rest. */
  readonly instances: number
  readonly unclearRetry: string
  note(text: string): void
}

const stallMsMax = 1500
/** Two looks this far apart: what both saw is durable. */
const snapshotPauseMs = 2000
const listedMax = 10_000
const settleMsMax = 120_000
/** No arrival for this long, and no more are expected. */
const quietMs = 10_000
const leaveTimeoutMs = 20_000

export class ScaleWorld {
  readonly cluster: Cluster
  readonly ledger: OutsideLedger
  readonly sending: Sending
  readonly watch: PlanWatch
  readonly options: ScaleOptions
  readonly #sink: MailSink
  readonly #deferrals = new Map<string, Deferral>()
  readonly #left = new Set<string>()
  readonly #seenFiles = new Set<string>()

  private constructor(options: ScaleOptions, ledger: OutsideLedger, sink: MailSink, started: [Cluster, number]) {
    const [cluster, smtp] = started
    this.options = options
    this.ledger = ledger
    this.#sink = sink
    this.cluster = cluster
    this.sending = new Sending(smtp, ledger, options.seed)
    this.watch = new PlanWatch(cluster.state)
  }

  static async start(options: ScaleOptions): Promise<ScaleWorld> {
    const ledger = new OutsideLedger(join(options.directory, 'outside-ledger'))
    let pauses = 0
    const sink = await MailSink.start({
      received({ data, recipients, at }) {
        const arrival = readArrival(data)
        if (arrival === undefined) return
        for (const recipient of recipients) ledger.arrived({ ...arrival, recipient, at })
      },
      refuse: refusalOf,
      pauseMs: (recipients) => (recipients.some((one) => kindOf(one) === 'stall') ? (++pauses * 97) % stallMsMax : 0),
    })
    const ports = await clusterPorts()
    const conf = clusterConf(ports, {
      deliver: `smtp:127.0.0.1:${sink.port}`,
      customerInstances: options.instances,
      customerIds: '01-19',
      controls: 2,
      handoff: { 'unclear-retry': options.unclearRetry },
    })
    const cluster = new Cluster(options.directory, conf)
    await cluster.untilReady()
    return new ScaleWorld(options, ledger, sink, [cluster, ports.smtp])
  }

  /** How deferred recipients of the pool stand, as far as the command lists them; what two looks agree on. */
  async noteDeferrals(instances: readonly string[]): Promise<number> {
    const first = await this.#deferredNow(instances)
    await sleep(snapshotPauseMs)
    const second = await this.#deferredNow(instances)
    for (const [key, deferral] of second) {
      const before = first.get(key)
      if (before?.dueAt === deferral.dueAt && before.attempts === deferral.attempts) this.#deferrals.set(key, deferral)
    }
    return this.#deferrals.size
  }

  async #deferredNow(instances: readonly string[]): Promise<ReadonlyMap<string, Deferral>> {
    const { answer } = await this.cluster.ask(['queue', 'ls', ...instances, '--limit', String(listedMax)])
    const messages = answer as readonly QueuedMessage[]
    return new Map(
      messages.flatMap(({ id, recipients }) =>
        recipients
          .filter(({ status, attempts }) => status === 'pending' && attempts > 0)
          .map(({ address, attempts, dueAt }) => [`${id} ${address}`, { id, address, attempts, dueAt }]),
      ),
    )
  }

  /** Remembers by which plan who leaves, while `isOver` says no. */
  async followPlans(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const { plan } = await this.watch.look()
      for (const id of plan?.leaving ?? []) this.#left.add(`${plan?.id} ${id}`)
      await sleep(20)
    }
  }

  /** Until everything that was acknowledged and can arrive has arrived, or nothing comes any more. */
  async settle(): Promise<void> {
    const begun = performance.now()
    let lastArrival = begun
    for (let arrivals = -1; performance.now() - begun < settleMsMax; await sleep(250)) {
      this.#readBounces()
      if (this.ledger.arrivals.length !== arrivals) {
        arrivals = this.ledger.arrivals.length
        lastArrival = performance.now()
      }
      if (this.#awaited() === 0 || performance.now() - lastArrival > quietMs) break
    }
    // What was delivered twice arrives a little later than what was delivered once.
    await sleep(1000)
    this.#readBounces()
  }

  #awaited(): number {
    const there = new Set(this.ledger.arrivals.map(({ token, recipient }) => deliveryKey(token, recipient)))
    const acked = [...this.ledger.messages.values()].filter(({ ackedAt }) => ackedAt !== undefined)
    return acked.flatMap(({ token, recipients }) =>
      recipients.filter((one) => kindOf(one) !== 'defer' && !there.has(deliveryKey(token, one))),
    ).length
  }

  /** A bounce in the sender's mailbox is the arrival of what was refused. Its text is the bounce's own. */
  #readBounces(): void {
    const [local = '', domain = ''] = sender.split('@')
    const folder = join(this.cluster.state, 'mailboxes', domain, local, 'new')
    for (const name of existsSync(folder) ? readdirSync(folder) : []) {
      if (this.#seenFiles.has(name)) continue
      this.#seenFiles.add(name)
      const text = readFileSync(join(folder, name), 'latin1')
      const token = /^X-Token: (\S+)\r?$/m.exec(text)?.[1]
      const hash = token === undefined ? undefined : this.ledger.messages.get(token)?.hash
      if (token === undefined) continue
      const at = statSync(join(folder, name)).mtimeMs
      this.ledger.arrived({ token, recipient: addressOf('reject'), hash: hash ?? '', at })
    }
  }

  /** Receipts and audit from the running cluster, journals after its stop. Throws when a process outlives it. */
  async evidence(): Promise<ScaleEvidence & { readonly audit: unknown }> {
    const receipts = await this.#receipts()
    const { answer: audit } = await this.cluster.ask(['audit'])
    const balanced = typeof audit === 'object' && audit !== null && 'balanced' in audit && audit.balanced === true
    await this.stop()
    const world = systemWorld(silentLog)
    const homes = join(this.cluster.state, 'instances')
    const lists = await Promise.all(readdirSync(homes).map((id) => listJournal(world, join(homes, id), id)))
    return {
      ledger: this.ledger,
      tokens: this.sending.tokens,
      queued: lists.flat(),
      deferrals: [...this.#deferrals.values()],
      endedAt: Date.now(),
      receipts,
      left: [...this.#left],
      balanced,
      audit,
    }
  }

  async #receipts(): Promise<readonly ReceiptCheck[]> {
    const files = receiptFiles(this.cluster.state)
    const checks: ReceiptCheck[] = []
    for (const file of files) {
      const { plan, instance, messages, left, arrived } = receiptOf(file)
      const digest = createHash('sha256')
        .update(JSON.stringify([left, arrived]))
        .digest('hex')
      const { code } = await this.cluster.qmq(['audit', 'verify', file])
      checks.push({ plan, instance, messages, digest, verified: code === 0 })
    }
    return checks
  }

  async stop(): Promise<void> {
    this.watch.close()
    await this.cluster.stop()
    await this.#sink.close()
    const deadline = performance.now() + leaveTimeoutMs
    for (;;) {
      const left = listProcesses().filter(({ command }) => command.includes(this.cluster.state))
      if (left.length === 0) return
      if (performance.now() > deadline) throw new Error(`left behind: ${left.map(({ command }) => command).join('; ')}`)
      await sleep(100)
    }
  }
}

/** Of every control process: each keeps those it made as leader. */
export function receiptFiles(state: string): readonly string[] {
  const control = join(state, 'control')
  if (!existsSync(control)) return []
  return readdirSync(control).flatMap((id) => {
    const folder = join(control, id, 'receipts')
    if (!existsSync(folder)) return []
    return readdirSync(folder)
      .map((name) => join(folder, name, 'receipt.json'))
      .filter((file) => existsSync(file))
  })
}

/** The receipt in its signed document. */
function receiptOf(file: string): Receipt {
  const signed = JSON.parse(readFileSync(file, 'utf8')) as { readonly document?: unknown }
  return (typeof signed.document === 'string' ? JSON.parse(signed.document) : signed.document) as Receipt
}
