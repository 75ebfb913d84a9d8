/**
 * A machine: one disk, one network address, a wall clock that may be wrong, and processes that can be killed.
 *
 * `kill` is SIGKILL: the page cache stays. `cutPower` takes every process and all that was not durable. Nothing of a dead
 * process ever runs again: its timers, completions and connections are cut off at the world's edge.
 */

import { handlerFailed } from '../../services/runtime/handler-failure.ts'
import type { Clock, Log, LogFields, World } from '../../services/runtime/world.ts'
import type { SeededRandom } from './seeded-random.ts'
import { SimulatedDiskDevice } from './simulated-disk.ts'
import type { SimulatedNetworkFabric } from './simulated-network.ts'
import type { SimulatedDns } from './simulated-resolver.ts'
import { SimulatedVolume } from './simulated-volume.ts'
import type { VirtualTime } from './virtual-time.ts'

/** What all hosts of one simulated world share. */
export interface Surroundings {
  readonly time: VirtualTime
  readonly random: SeededRandom
  readonly fabric: SimulatedNetworkFabric
  readonly dns: SimulatedDns
  readonly log: LogRing
}

/** Unix milliseconds at which simulated worlds begin. */
const beginningMs = Date.UTC(2026, 0, 1)

export class SimulatedHost {
  readonly name: string
  readonly device: SimulatedDiskDevice
  /** Error of the wall clock. */
  clockErrorMs = 0
  isUp = true
  readonly #around: Surroundings
  readonly #processes = new Set<SimulatedProcess>()
  readonly #onPowerCut: (host: SimulatedHost) => void

  constructor(around: Surroundings, name: string, names: readonly string[], onPowerCut: (host: SimulatedHost) => void) {
    this.#around = around
    this.name = name
    this.#onPowerCut = onPowerCut
    around.fabric.addHost(name, names)
    const volume = new SimulatedVolume()
    this.device = new SimulatedDiskDevice(around.time, around.random.fork(`disk ${name}`), volume, () =>
      this.cutPower(),
    )
  }

  start(name: string): SimulatedProcess {
    if (!this.isUp) throw new Error(`${this.name} has no power`)
    const process = new SimulatedProcess(this.#around, this, name, () => this.#processes.delete(process))
    this.#processes.add(process)
    return process
  }

  cutPower(): void {
    if (!this.isUp) return
    this.#around.log.add(this.name, 'power cut')
    this.isUp = false
    this.#around.fabric.hostDown(this.name)
    for (const process of [...this.#processes]) process.kill()
    this.device.cutPower()
    this.#onPowerCut(this)
  }

  powerOn(): void {
    if (this.isUp) return
    this.#around.log.add(this.name, 'power on')
    this.isUp = true
    this.#around.fabric.hostUp(this.name)
  }
}

export class SimulatedProcess {
  readonly name: string
  readonly host: string
  readonly world: World
  #isAlive = true
  readonly #around: Surroundings
  readonly #detachDisk: () => void
  readonly #onDeath: () => void

  constructor(around: Surroundings, host: SimulatedHost, name: string, onDeath: () => void) {
    this.name = name
    this.host = host.name
    this.#around = around
    this.#onDeath = onDeath
    const { disk, detach } = host.device.attach()
    this.#detachDisk = detach
    this.world = {
      clock: this.#clock(host),
      random: around.random.fork(`process ${host.name} ${name}`),
      disk,
      network: around.fabric.attach(this),
      resolver: around.dns.attach(() => this.#isAlive),
      log: around.log.of(name),
    }
  }

  isAlive(): boolean {
    return this.#isAlive
  }

  /** SIGKILL. */
  kill(): void {
    if (!this.#isAlive) return
    this.#around.log.add(this.name, 'dies')
    this.#isAlive = false
    this.#detachDisk()
    this.#around.fabric.processDied(this)
    this.#onDeath()
  }

  #clock(host: SimulatedHost): Clock {
    const { time } = this.#around
    return {
      now: () => Math.floor(beginningMs + host.clockErrorMs + time.elapsedMs),
      monotonic: () => time.elapsedMs,
      after: (delayMs, task) =>
        time.schedule(delayMs, () => {
          if (this.#isAlive) task()
        }),
      soon: (task) => {
        time.schedule(0, () => {
          if (this.#isAlive) task()
        })
      },
    }
  }
}

/**
 * The last lines of everybody's log, for the moment a run fails. An error that a tier has contained is a defect all the same,
 * so it fails the run here.
 */
export class LogRing {
  readonly #lines: string[] = []
  readonly #time: VirtualTime
  readonly #linesMax: number
  readonly #print: ((line: string) => void) | undefined

  constructor(time: VirtualTime, linesMax: number, print?: (line: string) => void) {
    this.#time = time
    this.#linesMax = linesMax
    this.#print = print
  }

  of(name: string): Log {
    const write =
      (level: string) =>
      (event: string, fields?: LogFields): void =>
        this.add(name, event, fields, level)
    const writeError = write('error')
    const error = (event: string, fields?: LogFields): void => {
      writeError(event, fields)
      if (event === handlerFailed) throw new Error(`${name}: ${String(fields?.['stack'])}`)
    }
    return { debug: write('debug'), info: write('info'), warn: write('warn'), error }
  }

  add(name: string, event: string, fields?: LogFields, level = 'world'): void {
    if (this.#linesMax === 0) return
    const line = `${this.#time.elapsedMs.toFixed(2).padStart(10)} ${name.padEnd(8)} ${level.padEnd(5)} ${event} ${
      fields === undefined ? '' : JSON.stringify(fields)
    }`
    this.#print?.(line)
    this.#lines.push(line)
    if (this.#lines.length > 2 * this.#linesMax) this.#lines.splice(0, this.#linesMax)
  }

  lines(): readonly string[] {
    return this.#lines.slice(-this.#linesMax)
  }
}
