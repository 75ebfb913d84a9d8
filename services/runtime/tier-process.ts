/**
 * What every tier's process does around its mail: lock of its home, layout, log, ledger, coordination, operations, signals.
 *
 * Exit codes: 0 stopped when asked, 70 a defect of ours (uncaught), 75 a disk that failed or a start that may succeed later. The
 * supervisor starts it again after each, unless it asked for the end itself. The parent's channel closing means stop: a new parent starts a new
 * process, which waits here for the lock until this one has finished. Coordination is never waited for: with all of it gone, mail is
 * carried by the last layout on disk. Layouts are taken from every link there is, and only where they are signed (`layout-intake.ts`).
 */

import { flushCompileCache } from 'node:module'
import process from 'node:process'
import {
  type Change,
  type Coordination,
  type Json,
  layoutKey,
  operationSubject,
  stateKey,
} from '../contract/coordination.ts'
import { readDrillOrder } from '../contract/drill.ts'
import type { Layout } from '../contract/layout.ts'
import { heartbeatMs, type InstanceState, type OperationName } from '../contract/operations.ts'
import { stateRecord } from '../contract/state-record.ts'
import { errorText } from '../protocol/failure.ts'
import { drilledLinks } from './drilled-coordination.ts'
import { Drills } from './drills.ts'
import { EmbeddedCoordination } from './embedded-coordination.ts'
import { hasParentChannel, parentChannel } from './embedded-ipc.ts'
import { dialHub, socketName } from './embedded-socket.ts'
import { lockHome } from './home-lock.ts'
import { claimAgainMs, HomeOwner } from './home-owner.ts'
import { hostIdentity } from './host-identity.ts'
import { keepAwake } from './keep-awake.ts'
import { LayoutIntake } from './layout-intake.ts'
import { LedgerFile } from './ledger-file.ts'
import { searchLedger } from './ledger-search.ts'
import { openLog, type ProcessLog } from './log.ts'
import { type CoordinationLinks, openCoordination } from './open-coordination.ts'
import { ownedDisk } from './owned-disk.ts'
import { keepLayoutKeys } from './signed-layout.ts'
import { systemWorld } from './system-world.ts'
import { findLayout, homeIn, keepLayoutFile, type TierKind } from './tier-layout.ts'
import type { World } from './world.ts'

export interface Tier {
  /** Rejects where it cannot carry mail; the process ends then. */
  start(): Promise<unknown>
  stop(): Promise<void>
  /** A newer layout of which this place is still part. */
  apply(layout: Layout): void
  state(): Pick<InstanceState, 'phase' | 'why' | 'listeners' | 'load' | 'pool' | 'drain' | 'control' | 'sharedState'>
  readonly operations: Readonly<Partial<Record<OperationName, Answer>>>
}

export interface TierSurroundings {
  readonly world: World
  readonly layout: Layout
  readonly ledger: LedgerFile
  readonly drills: Drills
  /** Below the state directory. */
  readonly home: string
  readonly coordination: Coordination
  /** Tells the others now what `state` says, instead of with the next heartbeat. */
  readonly announce: () => void
  /** Ends the process at once, code 75. */
  readonly onFatal: (why: string) => void
}

interface TierProcessParts {
  readonly tier: TierKind
  readonly id: string
  readonly state: string
  readonly build: (surroundings: TierSurroundings) => Promise<Tier>
  /** `process.exit`, which belongs to `main.ts`. */
  readonly exit: (code: number) => void
}

type Answer = (value: Json) => Promise<Json>

const exitDefect = 70
const exitTryLater = 75
const lockRetryMs = 50
const lockWaitMs = 30_000
/** Longer than any tier's own patience in `stop`. */
const stopMsMax = 15_000
const redialMs = 1000
/** How long a process that has stopped tries to take its state back. */
const leaveMsMax = 300
/** The last replies of a failed instance leave within this. */
const fatalGraceMs = 100

/** Runs until the process exits. */
export async function runTierProcess(parts: TierProcessParts): Promise<void> {
  const log = openLog({ descriptor: 2, level: 'info', base: { tier: parts.tier, instance: parts.id } })
  const end = (code: number) => {
    log.flush()
    parts.exit(code)
  }
  const uncaught = (error: unknown) => {
    log.error('uncaught', { error: errorText(error), stack: error instanceof Error ? error.stack : undefined })
    end(exitDefect)
  }
  process.on('uncaughtException', uncaught)
  process.on('unhandledRejection', uncaught)
  try {
    await new TierProcess(parts, log, end).run()
  } catch (error) {
    log.error('cannot run', { error: errorText(error) })
    end(exitTryLater)
  }
}

class TierProcess {
  readonly #parts: TierProcessParts
  readonly #log: ProcessLog
  readonly #end: (code: number) => void
  #world: World
  readonly #startedAt: number
  readonly #drills: Drills
  #links: CoordinationLinks | undefined
  #intake: LayoutIntake | undefined
  #tier: Tier | undefined
  #layout: Layout | undefined
  #home = ''
  #started = false
  #stopping: Promise<void> | undefined
  #applying: Promise<void> = Promise.resolve()
  #unlock = () => {}
  #owner: HomeOwner | undefined
  #ledger: LedgerFile | undefined

  constructor(parts: TierProcessParts, log: ProcessLog, end: (code: number) => void) {
    this.#parts = parts
    this.#log = log
    this.#end = end
    this.#world = systemWorld(log)
    this.#startedAt = this.#world.clock.now()
    this.#drills = new Drills(this.#world.clock, (what, { dependency }) => {
      log.warn(`drill ${what}`, { dependency })
      this.#announce()
    })
  }

  async run(): Promise<void> {
    const { tier, id, state } = this.#parts
    this.#listenToSignals()
    const found = await findLayout(this.#world.disk, state, tier, id)
    for (const note of found.notes) this.#log.debug('layout passed over', { note })
    if (found.kind === 'none') throw new Error(`no layout for ${tier} ${id}: ${found.notes.join('; ')}`)
    this.#layout = found.layout
    this.#home = found.home
    await this.#world.disk.makeDirectory(found.home)
    this.#intake = new LayoutIntake({ world: this.#world, state, home: found.home })
    const coordination = await this.#coordinate(found.layout)
    await this.#lock(found.home)
    if (tier === 'queue') await this.#own(found.home)
    await this.#keep(found.layout)
    const ledger = new LedgerFile(this.#world, `${found.home}/ledger`)
    this.#ledger = ledger
    this.#tier = await this.#parts.build({
      ...{ world: this.#world, layout: found.layout, ledger, home: found.home, coordination, drills: this.#drills },
      announce: () => this.#announce(),
      onFatal: (why) => this.#fatal(why),
    })
    this.#serve(this.#tier, ledger)
    this.#announce()
    await this.#tier.start()
    this.#started = true
    this.#log.info('ready', { epoch: this.#layout.epoch, pid: process.pid })
    this.#announce()
    // Written at exit otherwise, and a process that is killed never exits.
    flushCompileCache()
  }

  #listenToSignals(): void {
    // Listeners may be few and timers hold nothing: this process stays until it ends itself.
    keepAwake()
    process.on('SIGTERM', () => this.#stop('SIGTERM'))
    // A terminal's Ctrl-C reaches the whole group; with a parent, the parent says in which order to stop.
    process.on('SIGINT', () => {
      if (!hasParentChannel()) this.#stop('SIGINT')
    })
    process.on('SIGHUP', () => {})
  }

  async #lock(home: string): Promise<void> {
    for (let waitedMs = 0; ; waitedMs += lockRetryMs) {
      const lock = lockHome(home)
      if (lock.kind === 'held') {
        this.#unlock = lock.release
        return
      }
      if (waitedMs === 0) this.#log.warn('home is locked, waiting', { home, pid: lock.pid })
      if (waitedMs >= lockWaitMs) throw new Error(`home ${home} is still locked by process ${lock.pid}`)
      // Two that look at the same moment both give way; chance parts them.
      await this.#sleep(lockRetryMs + this.#world.random.below(lockRetryMs))
    }
  }

  /** Other hosts may have mounted the volume that the home is on. Waits for as long as one of them may be its owner. */
  async #own(home: string): Promise<void> {
    const { disk, clock, log } = this.#world
    const onLost = (why: string) => this.#fatal(why)
    const owner = new HomeOwner({ disk, clock, log, home, host: hostIdentity(), onLost })
    for (let tries = 0; ; tries++) {
      const step = await owner.claim()
      if (step.kind === 'owned') break
      if (tries === 0) this.#log.warn('home is owned elsewhere, waiting', { home, why: step.why })
      await this.#sleep(claimAgainMs)
    }
    this.#owner = owner
    this.#world = { ...this.#world, disk: ownedDisk(disk, () => owner.mayAct()) }
  }

  async #coordinate({ coordination: spec }: Layout): Promise<Coordination> {
    const { clock } = this.#world
    const { state, id } = this.#parts
    const near = hasParentChannel()
      ? new EmbeddedCoordination({ clock, dial: parentChannel, onLost: (why) => this.#stop(`parent lost: ${why}`) })
      : new EmbeddedCoordination({ clock, dial: () => dialHub(`${state}/${socketName}`), redialMs })
    const opened = await openCoordination({ world: this.#world, state, spec, client: id, makesBuckets: false, near })
    this.#links = drilledLinks(opened, this.#drills)
    for (const link of this.#links.all) {
      link.watch(layoutKey, (change) => {
        this.#applying = this.#applying
          .then(() => this.#take(change, link))
          .catch((error: unknown) => this.#log.error('layout not taken', { error: errorText(error) }))
      })
    }
    const beat = () => {
      if (this.#tier !== undefined) this.#announce()
      clock.after(heartbeatMs, beat)
    }
    clock.after(heartbeatMs, beat)
    return this.#links.shared
  }

  /** Keeps what it takes before it acts on it. */
  async #take(change: Change, link: Coordination): Promise<void> {
    const { tier, id } = this.#parts
    const current = this.#layout
    if (change.key !== layoutKey || change.entry === undefined || current === undefined) return
    const layout = await this.#intake?.judge(change.entry.value, current, link)
    if (layout === undefined) return
    if (homeIn(layout, tier, id) === undefined) {
      return this.#log.info('this place is no longer in the layout', { epoch: layout.epoch })
    }
    await this.#keep(layout)
    this.#tier?.apply(layout)
    this.#layout = layout
    this.#log.info('layout applied', { epoch: layout.epoch })
    this.#announce()
  }

  /** The copy in the home is for the day the one in the state directory is lost: without it, mail is carried all the same. */
  async #keep(layout: Layout): Promise<void> {
    try {
      await keepLayoutFile(this.#world.disk, this.#home, layout)
      await keepLayoutKeys(this.#world.disk, this.#parts.state, this.#home)
    } catch (error) {
      this.#log.warn('layout not kept', { error: errorText(error) })
    }
  }

  #serve(tier: Tier, ledger: LedgerFile): void {
    const { id } = this.#parts
    const started = Object.entries(tier.operations).map(([name, answer]) => [name, this.#onceStarted(answer)] as const)
    const operations: Record<string, Answer> = {
      ...Object.fromEntries(started),
      status: async () => asJson(this.#state(tier)),
      trace: (value: Json) => this.#trace(ledger, value),
      drill: async (value: Json) => this.#drill(value),
    }
    for (const [name, answer] of Object.entries(operations)) {
      for (const link of this.#links?.all ?? []) link.serve(operationSubject(id, name), answer)
    }
  }

  /** What the tier would answer out of half a journal is no answer. */
  #onceStarted(answer: Answer): Answer {
    return async (value) => {
      if (!this.#started) throw new Error('it is still replaying its journal')
      return await answer(value)
    }
  }

  async #trace(ledger: LedgerFile, value: Json): Promise<Json> {
    const id = typeof value === 'object' && value !== null && 'id' in value ? value['id'] : undefined
    if (typeof id !== 'string') throw new Error('trace needs an id')
    await ledger.flush()
    return asJson(await searchLedger(this.#world.disk, `${this.#home}/ledger`, id))
  }

  #drill(value: Json): Json {
    const order = readDrillOrder(value)
    const begun = typeof order === 'string' ? order : this.#drills.begin(order)
    if (typeof begun === 'string') throw new Error(begun)
    this.#announce()
    return asJson(begun)
  }

  #announce(): void {
    if (this.#tier === undefined) return
    const record = stateRecord(this.#state(this.#tier))
    for (const link of this.#links?.all ?? []) link.put(stateKey(this.#parts.id), record).catch(() => {})
  }

  #state(tier: Tier): InstanceState {
    const { refused } = this.#intake ?? {}
    const { trouble } = this.#links ?? {}
    return {
      id: this.#parts.id,
      tier: this.#parts.tier,
      pid: process.pid,
      epoch: this.#layout?.epoch ?? 0,
      startedAt: this.#startedAt,
      at: this.#world.clock.now(),
      ...tier.state(),
      ...(refused === undefined ? {} : { layoutRefused: refused }),
      ...(trouble === undefined ? {} : { coordinationLost: trouble }),
      ...(this.#stopping === undefined ? {} : { phase: 'stopping' }),
      ...(this.#drills.state === undefined ? {} : { drill: this.#drills.state }),
    }
  }

  #stop(why: string): void {
    if (this.#stopping !== undefined) return
    this.#log.info('stopping', { why })
    this.#world.clock.after(stopMsMax, () => this.#end(exitTryLater))
    this.#stopping = this.#finish().then(
      () => this.#end(0),
      (error: unknown) => {
        this.#log.error('stop failed', { error: errorText(error) })
        this.#end(exitTryLater)
      },
    )
    this.#announce()
  }

  async #finish(): Promise<void> {
    await this.#tier?.stop()
    await this.#ledger?.close()
    await this.#leave()
    await this.#owner?.release()
    this.#unlock()
    this.#log.info('stopped')
  }

  /** A hub forgets who has left; NATS would show the state for as long as it lives. */
  async #leave(): Promise<void> {
    const { shared, all } = this.#links ?? {}
    if (shared === undefined || all?.length === 1) return
    await Promise.race([shared.delete(stateKey(this.#parts.id)), this.#sleep(leaveMsMax)])
    shared.close()
  }

  /** What the disk did with the last bytes is known only after a restart: nothing is tidied up. */
  #fatal(why: string): void {
    this.#log.error('fatal', { why })
    this.#world.clock.after(fatalGraceMs, () => this.#end(exitTryLater))
  }

  #sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#world.clock.after(delayMs, resolve)
    })
  }
}

/** A record of the contract as JSON; undefined keys vanish on the way. */
export function asJson(value: object): Json {
  return value as Json
}
