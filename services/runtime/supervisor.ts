/**
 * Keeps a set of processes running: starts them, starts again what ends, and stops them in order.
 *
 * What it does to a process goes through `Launcher`, time through the clock, so that its whole behaviour runs in a test.
 * It knows nothing of mail. A process that ends during `stop` or `retire` stays ended; one that ignores SIGTERM past `stopMs` is killed.
 */

import { errorText } from '../protocol/failure.ts'
import { BackOff, type BackOffLimits, defaultBackOff } from './back-off.ts'
import type { Clock, Timer } from './world.ts'

export interface Launched {
  readonly pid: number
  signal(signal: 'SIGTERM' | 'SIGKILL'): void
}

export interface Ending {
  readonly code: number | null
  readonly signal: string | null
  /** Set where the process could not be started at all. */
  readonly error?: string
}

/** Starts one process. `ended` is called exactly once, never from inside this call. */
type Launcher = (id: string, ended: (ending: Ending) => void) => Launched

interface SupervisorEvents {
  started(id: string, pid: number): void
  ended(id: string, pid: number, ending: Ending, restartInMs: number | undefined): void
}

interface Ward {
  readonly id: string
  readonly backOff: BackOff
  process: Launched | undefined
  startedAt: number
  restart: Timer | undefined
  isRetired: boolean
  whenEnded: (() => void)[]
}

export class Supervisor {
  readonly #clock: Clock
  readonly #launch: Launcher
  readonly #events: SupervisorEvents
  readonly #backOff: BackOffLimits
  readonly #wards = new Map<string, Ward>()
  #stopping = false

  constructor(clock: Clock, launch: Launcher, events: SupervisorEvents, backOff: BackOffLimits = defaultBackOff) {
    this.#clock = clock
    this.#launch = launch
    this.#events = events
    this.#backOff = backOff
  }

  start(id: string): void {
    if (this.#wards.has(id) || this.#stopping) return
    const backOff = new BackOff(this.#backOff)
    const ward: Ward = {
      id,
      backOff,
      process: undefined,
      startedAt: 0,
      restart: undefined,
      isRetired: false,
      whenEnded: [],
    }
    this.#wards.set(id, ward)
    this.#run(ward)
  }

  pidOf(id: string): number | undefined {
    return this.#wards.get(id)?.process?.pid
  }

  /** Stops one and forgets it; it may be started anew at once. Resolves when its process has ended. */
  async retire(id: string, stopMs: number): Promise<void> {
    const ward = this.#wards.get(id)
    if (ward === undefined) return
    this.#wards.delete(id)
    ward.isRetired = true
    ward.restart?.cancel()
    await this.#end(ward, stopMs)
  }

  /** Stops one group after the other. Resolves when every process has ended; starts nothing from the first moment on. */
  async stop(groups: readonly (readonly string[])[], stopMs: number): Promise<void> {
    this.#stopping = true
    for (const ward of this.#wards.values()) ward.restart?.cancel()
    for (const group of groups) await Promise.all(group.map((id) => this.#end(this.#wards.get(id), stopMs)))
  }

  #run(ward: Ward): void {
    ward.restart = undefined
    ward.startedAt = this.#clock.monotonic()
    const launched = this.#tryLaunch(ward)
    ward.process = launched
    this.#events.started(ward.id, launched.pid)
  }

  /** A launcher that throws has started nothing: that is an ending too, and the back-off's to answer. */
  #tryLaunch(ward: Ward): Launched {
    try {
      const launched = this.#launch(ward.id, (ending) => this.#ended(ward, launched, ending))
      return launched
    } catch (error) {
      const nothing: Launched = { pid: 0, signal() {} }
      this.#clock.soon(() => this.#ended(ward, nothing, { code: null, signal: null, error: errorText(error) }))
      return nothing
    }
  }

  #ended(ward: Ward, launched: Launched, ending: Ending): void {
    ward.process = undefined
    const waitMs =
      this.#stopping || ward.isRetired ? undefined : ward.backOff.next(this.#clock.monotonic() - ward.startedAt)
    this.#events.ended(ward.id, launched.pid, ending, waitMs)
    if (waitMs !== undefined) ward.restart = this.#clock.after(waitMs, () => this.#run(ward))
    for (const resolve of ward.whenEnded.splice(0)) resolve()
  }

  #end(ward: Ward | undefined, stopMs: number): Promise<void> {
    const launched = ward?.process
    if (ward === undefined || launched === undefined) return Promise.resolve()
    return new Promise((resolve) => {
      const kill = this.#clock.after(stopMs, () => launched.signal('SIGKILL'))
      ward.whenEnded.push(() => {
        kill.cancel()
        resolve()
      })
      launched.signal('SIGTERM')
    })
  }
}
