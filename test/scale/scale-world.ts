/**
 * One cluster for one or more scaling runs, with its next hop, mailbox of bounces, outside ledger and witnesses; and the evidence for the
 * verdict, gathered while the cluster runs and nobody sends, or after it has stopped.
 */

import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Coordination, Json } from '../../services/contract/coordination.ts'
import type { QueuedMessage } from '../../services/contract/operations.ts'
import type { Receipt } from '../../services/contract/receipt.ts'
import { checkReceipt } from '../../services/control/receipt/receipt-check.ts'
import { listJournal } from '../../services/queue/offline.ts'
import { openVerifier } from '../../services/runtime/signature.ts'
import { silentLog } from '../../services/runtime/silent-log.ts'
import { SystemDisk } from '../../services/runtime/system-disk.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import { OutsideLedger, readArrival } from '../crash/outside-ledger.ts'
import { deliveryKey } from '../crash/verdict.ts'
import type { Finished } from '../support/child.ts'
import { Cluster, type ClusterPorts, clusterConf, clusterPorts } from '../support/cluster.ts'
import { MailClient } from '../support/mail-client.ts'
import { MailSink } from '../support/mail-sink.ts'
import { listProcesses, processTree } from '../support/process-tree.ts'
import { AnswerCutter } from './answer-cutter.ts'
import { handoverAnswers, qmtpAnswers } from './answers.ts'
import { type CutTallies, type Fuses, newFuses } from './fuse.ts'
import { instanceIn, type Victims } from './killer.ts'
import { addressOf, kindOf, refusalOf, sender } from './letters.ts'
import { hubOf, PlanWatch } from './plan-watch.ts'
import type { Deferral, ReceiptCheck, ScaleEvidence } from './scale-verdict.ts'
import { Sending } from './sending.ts'
import { SplitHosts } from './split-hosts.ts'

export interface ScaleOptions {
  readonly directory: string
  readonly seed: number
  /** Instances of CUSTOMER_1 at rest. */
  readonly instances: number
  readonly unclearRetry: string
  /** Wires are prepared on which answers can be lost. */
  readonly cuts: boolean
  /** Control and NATS are on hosts of their own, which can be cut off. */
  readonly netsplit: boolean
  note(text: string): void
}

const stallMsMax = 1500
/** Two looks this far apart: what both saw is durable. */
const snapshotPauseMs = 500
const listedMax = 50_000
const settleMsMax = 120_000
/** No arrival for this long, and no more are expected. */
const quietMs = 10_000
const leaveTimeoutMs = 20_000
const customerIdMax = 19
const startTimeoutMs = 60_000
const lookAgainMs = 100

/** What a world is made of, beside the cluster. */
interface Surroundings {
  readonly options: ScaleOptions
  readonly ledger: OutsideLedger
  readonly fuses: Fuses
  readonly sink: MailSink
  readonly ports: ClusterPorts
  readonly hosts: SplitHosts | undefined
  readonly cutter: AnswerCutter | undefined
}

export class ScaleWorld implements Victims {
  readonly cluster: Cluster
  readonly ledger: OutsideLedger
  readonly sending: Sending
  readonly watch: PlanWatch
  readonly options: ScaleOptions
  readonly fuses: Fuses
  readonly hosts: SplitHosts | undefined
  readonly #ports: ClusterPorts
  readonly #sink: MailSink
  readonly #cutter: AnswerCutter | undefined
  readonly #deferrals = new Map<string, Deferral>()
  readonly #left = new Set<string>()
  readonly #seenFiles = new Set<string>()
  #stopping: Promise<void> | undefined

  private constructor(parts: Surroundings, cluster: Cluster, coordination: Coordination) {
    const { options, ledger, fuses, sink, ports, hosts, cutter } = parts
    this.options = options
    this.ledger = ledger
    this.fuses = fuses
    this.hosts = hosts
    this.#ports = ports
    this.#sink = sink
    this.#cutter = cutter
    this.cluster = cluster
    this.sending = new Sending(ports.smtp, ledger, options.seed, fuses.client)
    this.watch = new PlanWatch(cluster.state, coordination)
  }

  static async start(options: ScaleOptions): Promise<ScaleWorld> {
    const ledger = new OutsideLedger(join(options.directory, 'outside-ledger'))
    const [fuses, ports] = [newFuses(), await clusterPorts()]
    const sink = await startSink(ledger, fuses)
    const hosts = options.netsplit ? await SplitHosts.start(options.directory) : undefined
    const cutter = options.cuts ? await AnswerCutter.start(wiresOf(ports, fuses)) : undefined
    const conf = clusterConf(ports, {
      deliver: `smtp:127.0.0.1:${sink.port}`,
      customerInstances: options.instances,
      customerIds: `01-${customerIdMax}`,
      controls: 2,
      handoff: { 'unclear-retry': options.unclearRetry },
      ...(hosts === undefined ? {} : { coordination: hosts.coordination }),
    })
    const cluster = new Cluster(options.directory, conf)
    await hosts?.join(cluster.state)
    const coordination = (await hosts?.observe()) ?? hubOf(cluster.state)
    const world = new ScaleWorld({ options, ledger, fuses, sink, ports, hosts, cutter }, cluster, coordination)
    try {
      await world.untilBack(startTimeoutMs)
    } catch (error) {
      await world.stop()
      throw error
    }
    return world
  }

  pidOf(id: string): number | undefined {
    if (this.hosts?.controls.includes(id) === true) return this.hosts.pidOf(id)
    return processTree(this.cluster.child.pid).find(({ command }) => instanceIn(command) === id)?.pid
  }

  /** With control elsewhere `qmq up` never finds its own whole: then it is back when the edge greets and somebody leads. */
  async untilBack(timeoutMs: number): Promise<void> {
    if (this.hosts === undefined) return void (await this.cluster.untilReady(timeoutMs))
    for (const deadline = performance.now() + timeoutMs; ; await sleep(lookAgainMs)) {
      const greeted = this.watch.leader() !== undefined && (await isGreeted(this.#ports.smtp))
      if (greeted) return
      if (performance.now() > deadline) throw new Error(`not back after ${timeoutMs} ms: ${this.cluster.child.stderr}`)
    }
  }

  /** Given where the leader is, or to each in turn where nobody knows. */
  async order(verb: readonly string[], tries: number): Promise<Finished> {
    const { hosts } = this
    if (hosts === undefined) return await this.cluster.qmq(verb)
    const leader = tries % 3 === 0 ? undefined : this.watch.leader()
    return await this.cluster.qmq(verb, hosts.stateOf(leader ?? hosts.controls[tries % 2] ?? ''))
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
    const messages = await this.#queuesOf(instances)
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

  /** Until everything that was acknowledged and can arrive has arrived, or waits for its next attempt, or nothing comes any more. */
  async settle(): Promise<void> {
    const begun = performance.now()
    let lastArrival = begun
    for (let arrivals = -1; performance.now() - begun < settleMsMax; await sleep(250)) {
      this.#readBounces()
      if (this.ledger.arrivals.length !== arrivals) {
        arrivals = this.ledger.arrivals.length
        lastArrival = performance.now()
      }
      const quietForMs = performance.now() - lastArrival
      const awaited = this.#awaited()
      if (awaited.size === 0 || quietForMs > quietMs) break
      if (quietForMs > stallMsMax && (await this.#areDeferred(awaited))) break
    }
    // What was delivered twice arrives a little later than what was delivered once.
    await sleep(1000)
    this.#readBounces()
  }

  #awaited(): ReadonlySet<string> {
    const there = new Set(this.ledger.arrivals.map(({ token, recipient }) => deliveryKey(token, recipient)))
    const acked = [...this.ledger.messages.values()].filter(({ ackedAt }) => ackedAt !== undefined)
    const owed = acked.flatMap(({ token, recipients }) =>
      recipients.filter((one) => kindOf(one) !== 'defer').map((one) => deliveryKey(token, one)),
    )
    return new Set(owed.filter((delivery) => !there.has(delivery)))
  }

  /** All of them have been tried, in messages that are to be tried again: their bounces come with the last recipient. */
  async #areDeferred(awaited: ReadonlySet<string>): Promise<boolean> {
    const { layout } = await this.watch.look()
    const messages = await this.#queuesOf(layout.instances.map(({ id }) => id))
    const isDeferred = ({ status, attempts }: QueuedMessage['recipients'][number]) =>
      status === 'pending' && attempts > 0
    const waiting = messages.flatMap(({ id, recipients }) => {
      const token = this.sending.tokens.get(id) ?? ''
      const tried = recipients.some(isDeferred) ? recipients.filter(({ attempts }) => attempts > 0) : []
      return tried.map(({ address }) => deliveryKey(token, address))
    })
    const there = new Set(waiting)
    return [...awaited].every((delivery) => there.has(delivery))
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

  async #queuesOf(instances: readonly string[]): Promise<readonly QueuedMessage[]> {
    const request: Json = { limit: listedMax }
    const lists = await Promise.all(instances.map((id) => this.watch.ask(id, 'list', request)))
    const queues = lists as unknown as readonly (readonly QueuedMessage[])[]
    if (queues.some(({ length }) => length === listedMax)) throw new Error(`more than ${listedMax} messages in a queue`)
    return queues.flat()
  }

  /** From the cluster as it runs, while nobody sends and nothing moves. `cuts` are those to be judged. */
  async evidence(cuts: CutTallies): Promise<ScaleEvidence & { readonly audit: unknown }> {
    const { layout } = await this.watch.look()
    const ids = layout.instances.map(({ id }) => id)
    const gone = readdirSync(join(this.cluster.state, 'instances')).filter((id) => !ids.includes(id))
    const { answer: audit } = await this.cluster.ask(['audit'])
    const queued = [...(await this.#queuesOf(ids)), ...(await this.#journalsOf(gone))]
    return { ...(await this.#evidenceWith(queued, audit)), cuts, audit }
  }

  /** The same from what is on the disks after the end. Throws when a process outlives the cluster. */
  async lastEvidence(cuts: CutTallies): Promise<ScaleEvidence & { readonly audit: unknown }> {
    const { answer: audit } = await this.cluster.ask(['audit'])
    await this.stop()
    const queued = await this.#journalsOf(readdirSync(join(this.cluster.state, 'instances')))
    return { ...(await this.#evidenceWith(queued, audit)), cuts, audit }
  }

  async #evidenceWith(queued: readonly QueuedMessage[], audit: unknown): Promise<Omit<ScaleEvidence, 'cuts'>> {
    const balanced = typeof audit === 'object' && audit !== null && 'balanced' in audit && audit.balanced === true
    return {
      ledger: this.ledger,
      tokens: this.sending.tokens,
      queued,
      deferrals: [...this.#deferrals.values()],
      endedAt: Date.now(),
      receipts: await this.#receipts(),
      left: [...this.#left],
      balanced,
    }
  }

  async #journalsOf(ids: readonly string[]): Promise<readonly QueuedMessage[]> {
    const world = systemWorld(silentLog)
    const homes = join(this.cluster.state, 'instances')
    const lists = await Promise.all(ids.map((id) => listJournal(world, join(homes, id), id)))
    return lists.flat()
  }

  /** By the check that `qmq audit verify` is. */
  async #receipts(): Promise<readonly ReceiptCheck[]> {
    const { hosts, cluster } = this
    const states = hosts === undefined ? [cluster.state] : hosts.controls.map((id) => hosts.stateOf(id))
    const verifier = await openVerifier(new SystemDisk(), cluster.state)
    return states.flatMap(receiptFiles).map((file) => {
      const manifest = (name: string) => readIfThere(join(dirname(file), name))
      const text = readFileSync(file, 'utf8')
      const { ok } = checkReceipt({ text, verify: (signed) => verifier.verify(signed), manifest })
      const { plan, instance, messages, left, arrived } = receiptIn(text)
      const digest = createHash('sha256')
        .update(JSON.stringify([left, arrived]))
        .digest('hex')
      return { plan, instance, messages, digest, verified: ok }
    })
  }

  /** Again, it does nothing. Throws when a process outlives it. */
  async stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    await this.#stopping
  }

  async #stop(): Promise<void> {
    this.watch.close()
    await Promise.all([this.cluster.stop(), this.hosts?.stop()])
    await this.#cutter?.close()
    await this.#sink.close()
    const deadline = performance.now() + leaveTimeoutMs
    for (;;) {
      const left = listProcesses().filter(({ command }) => command.includes(this.options.directory))
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
function receiptIn(text: string): Receipt {
  const signed = JSON.parse(text) as { readonly document?: unknown }
  return (typeof signed.document === 'string' ? JSON.parse(signed.document) : signed.document) as Receipt
}

function readIfThere(file: string): string | undefined {
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined
}

async function isGreeted(port: number): Promise<boolean> {
  try {
    const client = await MailClient.connect(port)
    client.destroy()
    return true
  } catch {
    return false
  }
}

async function startSink(ledger: OutsideLedger, fuses: Fuses): Promise<MailSink> {
  let pauses = 0
  return await MailSink.start({
    received({ data, recipients, at }) {
      const arrival = readArrival(data)
      if (arrival === undefined) return
      for (const recipient of recipients) ledger.arrived({ ...arrival, recipient, at })
    },
    unanswered({ data, at }) {
      const target = readArrival(data)?.token
      if (target === undefined || !fuses.delivery.blows(1)) return false
      ledger.incident({ kind: 'unanswered', target, at })
      return true
    },
    refuse: refusalOf,
    pauseMs: (recipients) => (recipients.some((one) => kindOf(one) === 'stall') ? (++pauses * 97) % stallMsMax : 0),
  })
}

/** To every instance that the pool may ever have. */
function wiresOf({ base }: ClusterPorts, { intake, handover }: Fuses) {
  return Array.from({ length: customerIdMax }, (_, index) => index + 1).flatMap((number) => [
    { port: base + number, fuse: intake, counter: qmtpAnswers },
    { port: base + 100 + number, fuse: handover, counter: handoverAnswers },
  ])
}
