/**
 * The running cluster below `qmq up`: the hub with its socket, a process per place of the layout in force, their logs.
 *
 * Whoever leads writes the next layout into the hub. This process takes it only if it goes forward, makes it durable with the homes it
 * needs, and only then starts what is new and stops what is gone; the processes that are there take it by themselves. A layout that
 * cannot be kept is tried again, and nothing is started or stopped by it before.
 *
 * Children reach the hub over IPC, commands over `<state>/qmq.sock`. A log line of a child goes to `<state>/log/<id>.log`;
 * warnings and errors also to the terminal, until a process has ended several times in a row: then only to the log, until it has
 * lived for a while again.
 */

import fs from 'node:fs'
import path from 'node:path'
import { type Entry, type Json, keyLifetimes, layoutKey, stateKey, type WriteResult } from '../contract/coordination.ts'
import { instanceOf, type Layout } from '../contract/layout.ts'
import type { InstanceState } from '../contract/operations.ts'
import { readStateRecord } from '../contract/state-record.ts'
import {
  type PlatformDriver,
  placesToRun,
  platformChange,
  type RunningPlace,
} from '../control/platform/platform-driver.ts'
import { errorText } from '../protocol/failure.ts'
import { defaultBackOff } from '../runtime/back-off.ts'
import { launchChild } from '../runtime/child-launcher.ts'
import { EmbeddedHub } from '../runtime/embedded-hub.ts'
import { type HubListener, listenForClients, socketName } from '../runtime/embedded-socket.ts'
import { LogFile } from '../runtime/log-file.ts'
import { revisionBase } from '../runtime/revision-base.ts'
import { judgeLayout, type LayoutJudgement, layoutKeys } from '../runtime/signed-layout.ts'
import { type Ending, type Launched, Supervisor } from '../runtime/supervisor.ts'
import type { TierKind } from '../runtime/tier-layout.ts'
import { ensureCertificates } from './cluster-certificates.ts'
import type { LayoutSigner } from './cluster-link.ts'
import { describeState, isReady } from './instance-states.ts'
import { writeState } from './prepare-state.ts'
import { tierProgram } from './software.ts'
import type { Context } from './verb.ts'

/** Longer than an edge's own patience with clients that are sending. */
const stopMs = 12_000
/** Ends in a row that the terminal hears of. */
const endsToldMax = 3

/** A layout that could not be made durable is tried again. */
const keepAgainMs = 2000

export class ClusterTree implements PlatformDriver {
  #layout: Layout
  readonly #sign: LayoutSigner | undefined
  readonly #context: Context
  readonly #hub: EmbeddedHub
  readonly #tiers = new Map<string, TierKind>()
  readonly #logs = new Map<string, LogFile>()
  /** Ends since the last long life. */
  readonly #ends = new Map<string, number>()
  readonly #supervisor: Supervisor
  readonly #stopping = new Set<Promise<void>>()
  #following: Promise<void> = Promise.resolve()
  #listener: HubListener | undefined

  private constructor(context: Context, layout: Layout, sign: LayoutSigner | undefined) {
    const { clock } = context.world
    this.#context = context
    this.#layout = layout
    this.#sign = sign
    this.#hub = new EmbeddedHub(clock, keyLifetimes, Math.max(layout.fence, revisionBase(clock.now())))
    this.#publish(undefined)
    const events = {
      started: () => {},
      ended: (id: string, pid: number, ending: Ending, restartInMs: number | undefined) =>
        this.#ended(id, pid, ending, restartInMs),
    }
    this.#supervisor = new Supervisor(clock, (id, ended) => this.#launch(id, ended), events)
  }

  /** Rejects where the socket cannot be made. Once they `run`, the instances come up by themselves; `readyStates` tells. */
  static async start(context: Context, layout: Layout, sign: LayoutSigner | undefined): Promise<ClusterTree> {
    const tree = new ClusterTree(context, layout, sign)
    fs.mkdirSync(path.join(context.state, 'log'), { recursive: true, mode: 0o700 })
    tree.#listener = await listenForClients(path.join(context.state, socketName), (channel) =>
      tree.#hub.attach(channel),
    )
    tree.#hub.store.watch(layoutKey, () => tree.#follow())
    return tree
  }

  /** The processes. */
  run(): void {
    for (const place of placesToRun(this.#layout)) this.start(place)
  }

  /** The last layout that is durable here and that the processes run by. */
  get layout(): Layout {
    return this.#layout
  }

  get ids(): readonly string[] {
    return placesToRun(this.#layout).map(({ id }) => id)
  }

  start({ id, tier }: RunningPlace): void {
    this.#tiers.set(id, tier)
    this.#supervisor.start(id)
  }

  async stop({ id }: RunningPlace): Promise<void> {
    const ended = this.#supervisor.retire(id, stopMs)
    this.#tiers.delete(id)
    this.#stopping.add(ended)
    await ended
    this.#stopping.delete(ended)
  }

  observe(): readonly RunningPlace[] {
    return [...this.#tiers].map(([id, tier]) => ({ id, tier }))
  }

  /** What the process that runs now says of itself. */
  stateOf(id: string): InstanceState | undefined {
    const entry = this.#hub.store.get(stateKey(id))
    const reading = entry === undefined ? undefined : readStateRecord(entry)
    return reading?.ok === true && reading.state.pid === this.#supervisor.pidOf(id) ? reading.state : undefined
  }

  /** Every state, where every process is ready on the layout in force. */
  readyStates(): readonly InstanceState[] | undefined {
    const states = this.ids.flatMap((id) => this.stateOf(id) ?? [])
    const all = states.length === this.ids.length && states.every((state) => this.#isAtWork(state))
    return all ? states : undefined
  }

  /** Who is not ready, and how it is. */
  describeUnready(): readonly string[] {
    const { epoch } = this.#layout
    return this.ids.flatMap((id) => {
      const state = this.stateOf(id)
      return state !== undefined && this.#isAtWork(state) ? [] : [`${id} (${describeState(state, epoch)})`]
    })
  }

  /** By compare-and-set on what `layout` was when `next` was made of it. Resolves when it is followed. */
  async propose(next: Layout): Promise<WriteResult['kind']> {
    await this.#following
    const entry = this.#hub.store.get(layoutKey)
    if (entry === undefined || this.#sign === undefined) return 'unreachable'
    if ((await this.#judge(entry.value)).kind !== 'same') return 'conflict'
    const { kind } = this.#hub.store.update(layoutKey, this.#sign(next), entry.revision)
    await this.#following
    return kind === 'written' && this.#layout.epoch < next.epoch ? 'conflict' : kind
  }

  /** A layout that is in force elsewhere, verified and newer: durable here, then told to this host's processes. */
  async take(layout: Layout): Promise<void> {
    this.#following = this.#following.then(async () => {
      if (layout.epoch > this.#layout.epoch) await this.#keep(layout)
    })
    await this.#following
  }

  /**
   * To this host's processes, in place of the record that was looked at and of no later one. Without a key to sign with they go by the file
   * on disk, and by what they hear elsewhere.
   */
  #publish(instead: Entry | undefined): void {
    if (this.#sign === undefined) return
    const record = this.#sign(this.#layout)
    if (instead === undefined) this.#hub.store.create(layoutKey, record)
    else this.#hub.store.update(layoutKey, record, instead.revision)
  }

  /** Control, edges, then queues. Resolves when every process has ended. */
  async shutDown(): Promise<void> {
    const ofTier = (tier: TierKind) => this.observe().flatMap((place) => (place.tier === tier ? [place.id] : []))
    await this.#supervisor.stop([ofTier('control'), ofTier('edge'), ofTier('queue')], stopMs)
    await Promise.all(this.#stopping)
    await this.#following
    this.#hub.close()
    await this.#listener?.close()
    for (const log of this.#logs.values()) log.close()
  }

  #follow(): void {
    this.#following = this.#following.then(() => this.#look())
  }

  /** What stands in the hub: a leader's next layout, or what must not stand there. Never rejects. */
  async #look(): Promise<void> {
    const entry = this.#hub.store.get(layoutKey)
    const judgement = entry === undefined ? undefined : await this.#judge(entry.value)
    if (judgement?.kind === 'newer') await this.#keep(judgement.layout)
    if (judgement?.kind !== 'refused') return
    this.#context.complain(`a layout is refused: ${judgement.why}; epoch ${this.#layout.epoch} stays in force`)
    this.#publish(entry)
  }

  /** A layout that came from elsewhere reaches this host's processes by the hub; one that a leader wrote there is there. */
  async #pass(): Promise<void> {
    const entry = this.#hub.store.get(layoutKey)
    const judgement = entry === undefined ? undefined : await this.#judge(entry.value)
    if (judgement?.kind !== 'same' && judgement?.kind !== 'newer') this.#publish(entry)
  }

  async #judge(value: Json): Promise<LayoutJudgement> {
    const { world, state, complain } = this.#context
    return judgeLayout(value, this.#layout, await layoutKeys(world.disk, state, state, complain))
  }

  async #keep(layout: Layout): Promise<void> {
    try {
      await writeState(this.#context, { layout, before: this.#layout, isNew: false })
      await ensureCertificates(this.#context, layout)
    } catch (error) {
      this.#context.complain(`epoch ${layout.epoch} cannot be kept and is tried again: ${errorText(error)}`)
      this.#context.world.clock.after(keepAgainMs, () => {
        this.take(layout).catch(() => {})
      })
      return
    }
    this.#layout = layout
    await this.#pass()
    const { start, stop } = platformChange(layout, this.observe())
    for (const place of stop) {
      this.#context.complain(`${place.id} leaves with epoch ${layout.epoch}; its home is kept`)
      this.stop(place).catch(() => {})
    }
    for (const place of start) {
      this.#context.complain(`${place.id} comes with epoch ${layout.epoch}`)
      this.start(place)
    }
  }

  /** A sealed instance refuses everything, and should. */
  #isAtWork(state: InstanceState): boolean {
    const { epoch } = this.#layout
    const isSealed = instanceOf(this.#layout, state.id)?.standing === 'sealed'
    return isReady(state, epoch) || (isSealed && state.epoch === epoch)
  }

  #launch(id: string, ended: (ending: Ending) => void): Launched {
    const spec = {
      command: tierProgram({ tier: this.#tiers.get(id) ?? 'queue', id, state: this.#context.state }, 'run'),
      log: this.#logOf(id),
      line: (line: string) => this.#tell(id, line),
      attach: this.#hub.attach.bind(this.#hub),
    }
    return launchChild(spec, ended)
  }

  #logOf(id: string): LogFile {
    const known = this.#logs.get(id)
    if (known !== undefined) return known
    const log = new LogFile(this.#logPath(id))
    this.#logs.set(id, log)
    return log
  }

  #logPath(id: string): string {
    return path.join(this.#context.state, 'log', `${id}.log`)
  }

  #ended(id: string, pid: number, ending: Ending, restartInMs: number | undefined): void {
    this.#hub.store.delete(stateKey(id))
    if (restartInMs === undefined) return
    const ends = restartInMs === defaultBackOff.firstMs ? 1 : (this.#ends.get(id) ?? 0) + 1
    this.#ends.set(id, ends)
    if (ends > endsToldMax) return
    const how = ending.error ?? (ending.signal === null ? `exit code ${ending.code}` : `signal ${ending.signal}`)
    const what = ending.error === undefined ? `process ${pid} ended (${how})` : `cannot be started (${how})`
    const last = ends === endsToldMax ? `; it keeps ending, ${this.#logPath(id)} says more` : ''
    this.#context.complain(`${id}: ${what}, starting again in ${restartInMs} ms${last}`)
  }

  #tell(id: string, line: string): void {
    if ((this.#ends.get(id) ?? 0) >= endsToldMax) return
    const text = warningOf(line)
    if (text !== undefined) this.#context.complain(`${id}: ${text}`)
  }
}

/** A line for the terminal: warnings and errors of the log in short, whatever is no log line as it is. */
function warningOf(line: string): string | undefined {
  try {
    const entry: unknown = JSON.parse(line)
    if (typeof entry !== 'object' || entry === null) return line
    const { level, msg, time: _time, tier: _tier, instance: _instance, ...fields } = entry as Record<string, unknown>
    if (level !== 'warn' && level !== 'error') return undefined
    const details = Object.entries(fields).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`)
    return `${level}: ${String(msg)}${details.join('')}`
  } catch {
    return line
  }
}
