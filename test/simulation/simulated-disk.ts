/**
 * Disk over a simulated volume: calls take virtual time, belong to a process, and fail where the plan says so.
 *
 * A call takes effect at the instant it completes, so calls in flight together may take effect in any order. When its
 * process dies, each call in flight has happened, or not, or in part (a write); no completion is delivered any more and
 * later calls do nothing. When power goes, `SimulatedVolume.cutPower` decides what is left.
 */

import type { Disk, DiskFile, Timer } from '../../services/runtime/world.ts'
import type { SeededRandom } from './seeded-random.ts'
import type { FileNode, SimulatedVolume } from './simulated-volume.ts'
import { systemError } from './system-error.ts'
import type { VirtualTime } from './virtual-time.ts'

/** What is wrong with a host's disk now; a plan changes it while the world runs. */
export interface DiskFaults {
  /** Nothing that needs new space succeeds. */
  full: boolean
  /** The next this many datasyncs fail with EIO, and what they should have kept is gone. */
  datasyncsToFail: number
  /** Factor on every latency. */
  slowness: number
  /** Power goes at this many further durable calls (datasync, syncDirectory); Infinity: never. */
  durableCallsUntilPowerCut: number
}

export interface DiskCounts {
  datasyncs: number
  directorySyncs: number
  bytesWritten: number
}

interface InFlight {
  readonly effect: () => unknown
  /** The part of the effect a dying process leaves behind; absent: all or nothing. */
  readonly part?: () => void
}

/** The disk of one host. Processes reach it through `attach`. */
export class SimulatedDiskDevice {
  readonly faults: DiskFaults = {
    full: false,
    datasyncsToFail: 0,
    slowness: 1,
    durableCallsUntilPowerCut: Number.POSITIVE_INFINITY,
  }
  readonly counts: DiskCounts = { datasyncs: 0, directorySyncs: 0, bytesWritten: 0 }
  readonly volume: SimulatedVolume
  readonly #time: VirtualTime
  readonly #random: SeededRandom
  readonly #onPowerCut: () => void
  #plannedCut: Timer | undefined

  constructor(time: VirtualTime, random: SeededRandom, volume: SimulatedVolume, onPowerCut: () => void) {
    this.#time = time
    this.#random = random
    this.volume = volume
    this.#onPowerCut = onPowerCut
  }

  /** A process's view; `detach` is the process's death. */
  attach(): { disk: Disk; detach(): void } {
    const calls = new DiskCalls(this, this.#time, this.#random)
    return { disk: new SimulatedDisk(this, calls), detach: () => calls.abandon() }
  }

  cutPower(): void {
    this.faults.durableCallsUntilPowerCut = Number.POSITIVE_INFINITY
    this.volume.cutPower(this.#random)
  }

  /** True where power goes during this call, or just after it. */
  durableCallCutsPower(): boolean {
    if (--this.faults.durableCallsUntilPowerCut > 0) return false
    this.faults.durableCallsUntilPowerCut = Number.POSITIVE_INFINITY
    return true
  }

  cutPowerAfter(delayMs: number): void {
    this.#plannedCut = this.#time.schedule(delayMs, () => this.#onPowerCut())
  }

  /** Nothing is wrong any more, and nothing is about to be. */
  heal(): void {
    this.#plannedCut?.cancel()
    this.faults.full = false
    this.faults.datasyncsToFail = 0
    this.faults.slowness = 1
    this.faults.durableCallsUntilPowerCut = Number.POSITIVE_INFINITY
  }

  needSpace(what: string): void {
    if (this.faults.full) throw systemError('ENOSPC', what)
  }

  datasync(file: FileNode, before: number): void {
    this.counts.datasyncs++
    if (this.faults.datasyncsToFail > 0) {
      this.faults.datasyncsToFail--
      this.volume.loseUnsynced(file, this.#random.chance(0.5))
      throw systemError('EIO', 'datasync')
    }
    this.volume.datasync(file, before)
  }
}

/** The calls of one process that are under way. */
class DiskCalls {
  readonly #device: SimulatedDiskDevice
  readonly #time: VirtualTime
  readonly #random: SeededRandom
  readonly #inFlight = new Set<InFlight>()
  #isDead = false

  constructor(device: SimulatedDiskDevice, time: VirtualTime, random: SeededRandom) {
    this.#device = device
    this.#time = time
    this.#random = random
  }

  run<Value>(meanMs: number, effect: () => Value, isDurable = false, part?: () => void): Promise<Value> {
    return new Promise((resolve, reject) => {
      if (this.#isDead) return
      const call: InFlight = { effect, ...(part === undefined ? {} : { part }) }
      this.#inFlight.add(call)
      const latencyMs = meanMs * this.#device.faults.slowness * this.#random.between(0.3, 1.7)
      if (isDurable && this.#device.durableCallCutsPower()) {
        this.#device.cutPowerAfter(latencyMs * this.#random.between(0, 1.3))
      }
      this.#time.schedule(latencyMs, () => {
        if (!this.#inFlight.delete(call)) return
        try {
          resolve(effect())
        } catch (error) {
          reject(error)
        }
      })
    })
  }

  abandon(): void {
    this.#isDead = true
    const calls = [...this.#inFlight]
    this.#inFlight.clear()
    for (const call of calls) {
      const fate = this.#random.below(3)
      if (fate === 0) attempt(call.effect)
      if (fate === 1 && call.part !== undefined) attempt(call.part)
    }
  }

  /** A length from 0 to `length`, for the part of a write that happened. */
  some(length: number): number {
    return this.#random.below(length + 1)
  }
}

function attempt(effect: () => unknown): void {
  try {
    effect()
  } catch {
    // Nobody is left to hear of it.
  }
}

const readMs = 0.05
const writeMs = 0.05
const nameMs = 0.1
const syncMs = 0.8

class SimulatedDisk implements Disk {
  readonly #device: SimulatedDiskDevice
  readonly #calls: DiskCalls

  constructor(device: SimulatedDiskDevice, calls: DiskCalls) {
    this.#device = device
    this.#calls = calls
  }

  open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile> {
    return this.#calls.run(nameMs, () => {
      if (mode === 'create') this.#device.needSpace(path)
      const volume = this.#device.volume
      const file = mode === 'create' ? volume.create(path) : volume.file(path)
      return new SimulatedFile(this.#device, this.#calls, file, mode !== 'read')
    })
  }

  readFile(path: string): Promise<Buffer> {
    return this.#calls.run(readMs, () => {
      const { cached } = this.#device.volume.file(path)
      const bytes = Buffer.alloc(cached.size)
      cached.read(bytes, 0)
      return bytes
    })
  }

  list(directory: string): Promise<string[]> {
    return this.#calls.run(readMs, () => [...this.#device.volume.directory(directory).names.keys()].sort())
  }

  makeDirectory(path: string): Promise<void> {
    return this.#calls.run(nameMs, () => {
      if (this.#exists(path)) return
      this.#device.needSpace(path)
      this.#device.volume.makeDirectory(path)
    })
  }

  rename(from: string, to: string): Promise<void> {
    return this.#calls.run(nameMs, () => this.#device.volume.rename(from, to))
  }

  link(from: string, to: string): Promise<void> {
    return this.#calls.run(nameMs, () => {
      this.#device.needSpace(to)
      this.#device.volume.link(from, to)
    })
  }

  unlink(path: string): Promise<void> {
    return this.#calls.run(nameMs, () => this.#device.volume.unlink(path))
  }

  syncDirectory(directory: string): Promise<void> {
    const sync = (): void => {
      this.#device.counts.directorySyncs++
      this.#device.volume.syncDirectory(directory)
    }
    return this.#calls.run(syncMs, sync, true)
  }

  freeBytes(directory: string): Promise<number> {
    return this.#calls.run(readMs, () => {
      this.#device.volume.directory(directory)
      return this.#device.faults.full ? 0 : 2 ** 40
    })
  }

  #exists(path: string): boolean {
    try {
      this.#device.volume.directory(path)
      return true
    } catch {
      return false
    }
  }
}

class SimulatedFile implements DiskFile {
  readonly #device: SimulatedDiskDevice
  readonly #calls: DiskCalls
  readonly #file: FileNode
  readonly #mayWrite: boolean
  #isClosed = false

  constructor(device: SimulatedDiskDevice, calls: DiskCalls, file: FileNode, mayWrite: boolean) {
    this.#device = device
    this.#calls = calls
    this.#file = file
    this.#mayWrite = mayWrite
  }

  write(chunks: readonly Buffer[], position: number): Promise<void> {
    return this.#calls.run(
      writeMs,
      () => this.#write(Buffer.concat(chunks), position),
      false,
      () => {
        const bytes = Buffer.concat(chunks)
        this.#write(bytes.subarray(0, this.#calls.some(bytes.length)), position)
      },
    )
  }

  async writeDurably(chunks: readonly Buffer[], position: number): Promise<void> {
    await this.write(chunks, position)
    await this.datasync()
  }

  read(buffer: Buffer, position: number): Promise<number> {
    return this.#calls.run(readMs, () => {
      this.#checkOpen()
      return this.#file.cached.read(buffer, position)
    })
  }

  datasync(): Promise<void> {
    const before = this.#file.changes
    return this.#calls.run(
      syncMs,
      () => {
        this.#checkOpen()
        this.#device.datasync(this.#file, before)
      },
      true,
    )
  }

  truncate(bytes: number): Promise<void> {
    return this.#calls.run(writeMs, () => {
      this.#checkWrite()
      this.#device.volume.truncate(this.#file, bytes)
    })
  }

  size(): Promise<number> {
    return this.#calls.run(readMs, () => this.#file.cached.size)
  }

  close(): Promise<void> {
    return this.#calls.run(0, () => {
      this.#checkOpen()
      this.#isClosed = true
    })
  }

  /** On a full disk a part may have been written before the failure, as far as pages are there already. */
  #write(bytes: Buffer, position: number): void {
    this.#checkWrite()
    if (bytes.length === 0) return
    if (this.#device.faults.full && !this.#file.cached.isAllocated(position, bytes.length)) {
      const inPage = Math.min(bytes.length, 4096 - (position % 4096))
      if (this.#file.cached.isAllocated(position, 1))
        this.#device.volume.write(this.#file, bytes.subarray(0, inPage), position)
      throw systemError('ENOSPC', 'write')
    }
    this.#device.counts.bytesWritten += bytes.length
    this.#device.volume.write(this.#file, bytes, position)
  }

  #checkOpen(): void {
    if (this.#isClosed) throw systemError('EBADF', 'closed file')
  }

  #checkWrite(): void {
    this.#checkOpen()
    if (!this.#mayWrite) throw systemError('EBADF', 'file opened for reading')
  }
}
