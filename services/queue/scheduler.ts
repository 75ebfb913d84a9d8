/**
 * Which delivery starts next. Pure: jobs and times in, jobs out; the owner runs them and says when they end.
 *
 * A job is one message to one destination. Jobs wait by due time; once due they stand at their destination, nearest deadline
 * first. Destinations take turns, one start each, so that a slow or dead one holds up nobody else; each may have so many
 * jobs running, and all together so many. A destination that fails to connect again and again rests for a while, longer
 * each time, and its jobs with it. A destination that the cluster limits waits at its gate, whatever its own limits.
 */

import type { CeilingGate, Gate } from './ceiling-gate.ts'
import { Heap } from './heap.ts'

export interface Job {
  readonly destination: string
  /** Unix milliseconds: not before. */
  readonly dueAt: number
  /** Unix milliseconds: wanted delivered by. Orders the due jobs of one destination. */
  readonly deadlineAt: number
}

export interface SchedulerLimits {
  readonly concurrency: number
  readonly concurrencyPerDestination: number
  /** Consecutive failures to connect before a destination rests. */
  readonly failuresBeforeRest: number
  readonly restMinMs: number
  readonly restMaxMs: number
}

export const defaultRest = { failuresBeforeRest: 3, restMinMs: 5_000, restMaxMs: 300_000 } as const

interface Lane<J extends Job> {
  readonly key: string
  readonly due: Heap<J>
  running: number
  failures: number
  restsUntil: number
  /** Stands in the ring of those that can start something. */
  inRing: boolean
  /** The cluster's limit on it. */
  gate: Gate | undefined
}

export class Scheduler<J extends Job> {
  #limits: SchedulerLimits
  readonly #later = new Heap<J>()
  readonly #resting = new Heap<Lane<J>>()
  readonly #lanes = new Map<string, Lane<J>>()
  #ring: Lane<J>[] = []
  readonly #gate: CeilingGate | undefined
  /** Turned back at their gates: looked at again at each start. */
  #gated: Lane<J>[] = []
  #running = 0
  #waiting = 0
  /** When `start` was asked last. */
  #startedAt = 0

  constructor(limits: SchedulerLimits, gate?: CeilingGate) {
    this.#limits = limits
    this.#gate = gate
  }

  set limits(limits: SchedulerLimits) {
    this.#limits = limits
  }

  get running(): number {
    return this.#running
  }

  /** Jobs added and not yet started. */
  get waiting(): number {
    return this.#waiting
  }

  /** Destinations remembered: with jobs, or with failures not yet forgotten. */
  get destinations(): number {
    return this.#lanes.size
  }

  add(job: J, now: number): void {
    this.#waiting++
    if (job.dueAt > now) this.#later.push(job.dueAt, job)
    else this.#makeDue(job, now)
  }

  /** The next job to run, or undefined where nothing is due or everything is at its limit. */
  start(now: number): J | undefined {
    this.#startedAt = now
    this.#wake(now)
    if (this.#running >= this.#limits.concurrency) return undefined
    for (;;) {
      const lane = this.#ring.shift()
      if (lane === undefined) return undefined
      lane.inRing = false
      if (!this.#canStart(lane, now)) continue
      if (lane.gate !== undefined && this.#gate?.mayStart(lane.gate, now) === false) {
        this.#gated.push(lane)
        lane.inRing = true
        continue
      }
      const job = lane.due.pop()
      if (job === undefined) continue
      lane.running++
      this.#running++
      this.#waiting--
      if (lane.gate !== undefined) this.#gate?.started(lane.gate, now)
      this.#enter(lane, now)
      return job
    }
  }

  /** A started job ended. `connected` false: the destination itself could not be reached. */
  end(job: J, connected: boolean, now: number): void {
    const lane = this.#lane(job.destination)
    lane.running--
    this.#running--
    if (lane.gate !== undefined) this.#gate?.ended(lane.gate)
    if (connected) lane.failures = 0
    else this.#failed(lane, now)
    if (lane.running === 0 && lane.due.size === 0 && lane.failures === 0) this.#forget(lane)
    else this.#enter(lane, now)
  }

  /** When `start` should be asked again though nothing ends; Infinity: never. */
  nextAt(): number {
    let at = Math.min(this.#later.leastKey(), this.#resting.leastKey())
    for (const { gate } of this.#gated) {
      const gateAt = gate === undefined ? 0 : (this.#gate?.nextAt(gate) ?? 0)
      // One that waits for a share or an end rather than its turn is looked at when that comes.
      if (gateAt > this.#startedAt) at = Math.min(at, gateAt)
    }
    return at
  }

  /** Everything waits again as if just due: the operator's "try now" (qmail-send's ALRM). */
  dueNow(now: number): void {
    for (const lane of this.#resting.drain()) {
      lane.restsUntil = now
      lane.failures = 0
      this.#enter(lane, now)
    }
    for (const job of this.#later.drain()) this.#makeDue(job, now)
  }

  /** Takes out all that waits, for a new layout to route it anew. */
  drain(): J[] {
    const jobs = this.#later.drain()
    for (const lane of this.#lanes.values()) jobs.push(...lane.due.drain())
    this.#waiting = 0
    this.#ring = []
    this.#gated = []
    for (const lane of this.#lanes.values()) lane.inRing = false
    return jobs
  }

  /** The cluster's limits have changed: what runs counts under the new ones. */
  regate(): void {
    for (const lane of this.#lanes.values()) {
      lane.gate = this.#gate?.gateOf(lane.key)
      if (lane.gate !== undefined) lane.gate.running += lane.running
    }
  }

  /** Due jobs by the destination of their limit. */
  dueAtGates(): ReadonlyMap<string, number> {
    const due = new Map<string, number>()
    if (this.#gate?.isOpen !== false) return due
    for (const { gate, due: jobs } of this.#lanes.values()) {
      if (gate === undefined) continue
      due.set(gate.limit.destination, (due.get(gate.limit.destination) ?? 0) + jobs.size)
    }
    return due
  }

  #wake(now: number): void {
    if (this.#gated.length > 0) this.#passGates(now)
    while (this.#later.leastKey() <= now) this.#makeDue(this.#later.pop()!, now)
    while (this.#resting.leastKey() <= now) {
      const lane = this.#resting.pop()!
      if (lane.running === 0 && lane.due.size === 0) this.#forget(lane)
      else this.#enter(lane, now)
    }
  }

  #passGates(now: number): void {
    const gated = this.#gated
    this.#gated = []
    for (const lane of gated) {
      if (lane.gate !== undefined && this.#gate?.mayStart(lane.gate, now) === false) this.#gated.push(lane)
      else this.#ring.push(lane)
    }
  }

  #makeDue(job: J, now: number): void {
    const lane = this.#lane(job.destination)
    lane.due.push(job.deadlineAt, job)
    this.#enter(lane, now)
  }

  #lane(key: string): Lane<J> {
    let lane = this.#lanes.get(key)
    if (lane === undefined) {
      lane = {
        key,
        due: new Heap<J>(),
        running: 0,
        failures: 0,
        restsUntil: 0,
        inRing: false,
        gate: this.#gate?.gateOf(key),
      }
      this.#lanes.set(key, lane)
    }
    return lane
  }

  #forget(lane: Lane<J>): void {
    if (this.#lanes.get(lane.key) === lane) this.#lanes.delete(lane.key)
  }

  #canStart(lane: Lane<J>, now: number): boolean {
    return lane.due.size > 0 && lane.restsUntil <= now && lane.running < this.#limits.concurrencyPerDestination
  }

  #enter(lane: Lane<J>, now: number): void {
    if (lane.inRing || !this.#canStart(lane, now)) return
    lane.inRing = true
    this.#ring.push(lane)
  }

  #failed(lane: Lane<J>, now: number): void {
    lane.failures++
    const over = lane.failures - this.#limits.failuresBeforeRest
    if (lane.restsUntil > now) return
    if (over >= 0) {
      lane.restsUntil = now + Math.min(this.#limits.restMaxMs, this.#limits.restMinMs * 2 ** Math.min(over, 20))
    }
    // Also the way out for a lane that is never used again: its few failures are forgotten in time.
    this.#resting.push(over >= 0 ? lane.restsUntil : now + this.#limits.restMaxMs, lane)
  }
}
