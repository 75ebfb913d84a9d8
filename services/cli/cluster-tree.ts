/**
 * The running cluster below `qmq up`: the hub with its socket, a process per place of the layout, their logs.
 *
 * Children reach the hub over IPC, commands over `<state>/qmq.sock`. A log line of a child goes to `<state>/log/<id>.log`;
 * warnings and errors also to the terminal, until a process has ended several times in a row: then only to the log, until it has
 * lived for a while again.
 */

import fs from 'node:fs'
import path from 'node:path'
import { layoutKey, stateKey } from '../contract/coordination.ts'
import type { Layout } from '../contract/layout.ts'
import type { InstanceState } from '../contract/operations.ts'
import { readStateRecord } from '../contract/state-record.ts'
import { defaultBackOff } from '../runtime/back-off.ts'
import { launchChild } from '../runtime/child-launcher.ts'
import { EmbeddedHub } from '../runtime/embedded-hub.ts'
import { type HubListener, listenForClients } from '../runtime/embedded-socket.ts'
import { LogFile } from '../runtime/log-file.ts'
import { type Ending, type Launched, Supervisor } from '../runtime/supervisor.ts'
import type { TierKind } from '../runtime/tier-layout.ts'
import { socketName } from '../runtime/tier-process.ts'
import type { LayoutSigner } from './cluster-link.ts'
import { describeState, isReady } from './instance-states.ts'
import { tierProgram } from './software.ts'
import type { Context } from './verb.ts'

/** Longer than an edge's own patience with clients that are sending. */
const stopMs = 12_000
/** Ends in a row that the terminal hears of. */
const endsToldMax = 3

export class ClusterTree {
  readonly ids: readonly string[]
  #layout: Layout
  readonly #sign: LayoutSigner | undefined
  readonly #context: Context
  readonly #hub: EmbeddedHub
  readonly #tiers: ReadonlyMap<string, TierKind>
  readonly #logs = new Map<string, LogFile>()
  /** Ends since the last long life. */
  readonly #ends = new Map<string, number>()
  readonly #supervisor: Supervisor
  #listener: HubListener | undefined

  private constructor(context: Context, layout: Layout, sign: LayoutSigner | undefined) {
    this.#context = context
    this.#layout = layout
    this.#sign = sign
    const edges = layout.edges.map(({ id }) => [id, 'edge'] as const)
    const queues = layout.instances.map(({ id }) => [id, 'queue'] as const)
    this.#tiers = new Map<string, TierKind>([...queues, ...edges])
    this.ids = [...this.#tiers.keys()]
    this.#hub = new EmbeddedHub(context.world.clock)
    this.#publish()
    const events = {
      started: () => {},
      ended: (id: string, pid: number, ending: Ending, restartInMs: number | undefined) =>
        this.#ended(id, pid, ending, restartInMs),
    }
    this.#supervisor = new Supervisor(context.world.clock, (id, ended) => this.#launch(id, ended), events)
  }

  /** Rejects where the socket cannot be made. Once they `run`, the instances come up by themselves; `readyStates` tells. */
  static async start(context: Context, layout: Layout, sign: LayoutSigner | undefined): Promise<ClusterTree> {
    const tree = new ClusterTree(context, layout, sign)
    fs.mkdirSync(path.join(context.state, 'log'), { recursive: true, mode: 0o700 })
    tree.#listener = await listenForClients(path.join(context.state, socketName), (channel) =>
      tree.#hub.attach(channel),
    )
    return tree
  }

  /** The processes. */
  run(): void {
    for (const id of this.ids) this.#supervisor.start(id)
  }

  get layout(): Layout {
    return this.#layout
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
    const all = states.length === this.ids.length && states.every((state) => isReady(state, this.#layout.epoch))
    return all ? states : undefined
  }

  /** Who is not ready, and how it is. */
  describeUnready(): readonly string[] {
    const { epoch } = this.#layout
    return this.ids.flatMap((id) => {
      const state = this.stateOf(id)
      return state !== undefined && isReady(state, epoch) ? [] : [`${id} (${describeState(state, epoch)})`]
    })
  }

  /** Tells every process; each takes what it can without being started again. The same places as before. */
  apply(layout: Layout): void {
    this.#layout = layout
    this.#publish()
  }

  /** To this host's processes. Without a key to sign with they go by the file on disk, and by what they hear elsewhere. */
  #publish(): void {
    if (this.#sign !== undefined) this.#hub.store.put(layoutKey, this.#sign(this.#layout))
  }

  /** Edges, then queues. Resolves when every process has ended. */
  async stop(): Promise<void> {
    const ofTier = (tier: TierKind) => this.ids.filter((id) => this.#tiers.get(id) === tier)
    await this.#supervisor.stop([ofTier('edge'), ofTier('queue')], stopMs)
    this.#hub.close()
    await this.#listener?.close()
    for (const log of this.#logs.values()) log.close()
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
