/**
 * Which delivery starts next. Pure: jobs and times in, jobs out; the owner runs them and says when they end.
 *
 * A job is one message to one destination. Jobs wait by due time; once due they stand at their destination, nearest deadline
 * first. Destinations take turns, one start each, so that a slow or dead one holds up nobody else; each may have so many
 * jobs running, and all together so many. A destination that fails to connect again and again rests for a while, longer
 * each time, and its jobs with it.
 */

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
}

export class Scheduler<J extends Job> {
  #limits: SchedulerLimits
  readonly #later = new Heap<J>()
  readonly #resting = new Heap<Lane<J>>()
  readonly #lanes = new Map<string, Lane<J>>()
  #ring: Lane<J>[] = []
  #running = 0
  #waiting = 0

  constructor(limits: SchedulerLimits) {
    this.#limits = limits
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
    this.#wake(now)
    if (this.#running >= this.#limits.concurrency) return undefined
    for (;;) {
      const lane = this.#ring.shift()
      if (lane === undefined) return undefined
      lane.inRing = false
      if (!this.#canStart(lane, now)) continue
      const job = lane.due.pop()
      if (job === undefined) continue
      lane.running++
      this.#running++
      this.#waiting--
      this.#enter(lane, now)
      return job
    }
  }

  /** A started job ended. `connected` false: the destination itself could not be reached. */
  end(job: J, connected: boolean, now: number): void {
    const lane = this.#lane(job.destination)
    lane.running--
    this.#running--
    if (connected) lane.failures = 0
    else this.#failed(lane, now)
    if (lane.running === 0 && lane.due.size === 0 && lane.failures === 0) this.#forget(lane)
    else this.#enter(lane, now)
  }

  /** When `start` should be asked again though nothing ends; Infinity: never. */
  nextAt(): number {
    return Math.min(this.#later.leastKey(), this.#resting.leastKey())
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
    for (const lane of this.#lanes.values()) lane.inRing = false
    return jobs
  }

  #wake(now: number): void {
    while (this.#later.leastKey() <= now) this.#makeDue(this.#later.pop()!, now)
    while (this.#resting.leastKey() <= now) {
      const lane = this.#resting.pop()!
      if (lane.running === 0 && lane.due.size === 0) this.#forget(lane)
      else this.#enter(lane, now)
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
      lane = { key, due: new Heap<J>(), running: 0, failures: 0, restsUntil: 0, inRing: false }
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
