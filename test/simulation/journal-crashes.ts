/**
 * The journal alone under crashes: appends, results and ends at random; the process killed, the power cut, the disk full or
 * failing; and after each restart the live messages compared with what the journal had promised.
 *
 * A record whose `done` came without an error must stand; one that was never answered, or answered with an error, may.
 */

import { IdIndex, idKey } from '../../services/queue/id-index.ts'
import type { JournalRecord } from '../../services/queue/journal/record.ts'
import { defaultStoreLimits, JournalStore } from '../../services/queue/journal/store.ts'
import { isConserved, LiveMessages } from '../../services/queue/live-messages.ts'
import type { World } from '../../services/runtime/world.ts'
import type { SeededRandom } from './seeded-random.ts'
import { SimulatedHost, type SimulatedProcess, type Surroundings } from './simulated-host.ts'
import { surroundings } from './surroundings.ts'

type Fate = 'absent' | 'perhaps' | 'stands'

interface Expected {
  readonly id: string
  readonly body: Buffer
  accepted: Fate
  /** Of its one recipient. */
  delivered: Fate
}

const limits = {
  ...defaultStoreLimits,
  segmentBytes: 12_000,
  batchBytesMax: 6_000,
  segmentsPerSnapshot: 2,
  segmentsKept: 2,
  sparesMax: 2,
}
const directory = '/state/queues/01/journal'

/** One process's life with the journal. */
class Life {
  readonly live = new LiveMessages()
  readonly ids = new IdIndex()
  readonly store: JournalStore
  isOpen = false
  isFatal = false

  constructor(world: World) {
    const onFatal = (): void => {
      this.isFatal = true
    }
    this.store = new JournalStore(world, directory, { live: this.live, ids: this.ids, onFatal }, limits)
  }
}

export interface JournalRun {
  readonly violations: string[]
  readonly restarts: number
  readonly trace: number
}

export interface JournalRunOptions {
  readonly seed: number
  readonly lives?: number
  readonly world?: (world: World) => World
  /** Also fill the disk and let datasync fail. */
  readonly diskFaults?: boolean
}

export async function crashJournal(options: JournalRunOptions): Promise<JournalRun> {
  const run = new JournalCrasher(options)
  await run.all(options.lives ?? 4)
  return { violations: run.violations, restarts: run.restarts, trace: run.around.time.trace }
}

class JournalCrasher {
  readonly around: Surroundings
  readonly violations: string[] = []
  restarts = 0
  readonly #random: SeededRandom
  readonly #host: SimulatedHost
  readonly #expected = new Map<string, Expected>()
  readonly #options: JournalRunOptions

  constructor(options: JournalRunOptions) {
    this.#options = options
    this.around = surroundings(options.seed)
    this.#random = this.around.random.fork('journal')
    this.#host = new SimulatedHost(this.around, 'q', [], () => {})
    this.#host.device.volume.makeDirectory('/state/queues/01')
    this.#host.device.volume.syncAll()
  }

  async all(lives: number): Promise<void> {
    for (let life = 0; life < lives && this.violations.length === 0; life++) {
      await this.#live(life === lives - 1)
      this.restarts++
    }
  }

  get #nowMs(): number {
    return 1_767_225_600_000 + this.around.time.elapsedMs
  }

  async #live(isLast: boolean): Promise<void> {
    const process = this.#host.start('queue')
    const world = this.#options.world?.(process.world) ?? process.world
    const life = new Life(world)
    life.store.open().then(
      (recovered) => {
        life.isOpen = true
        if (recovered.damage.length > 0) this.violations.push(`damage: ${JSON.stringify(recovered.damage)}`)
        this.#compare(life)
      },
      (error: unknown) => this.violations.push(`open: ${error instanceof Error ? error.stack : String(error)}`),
    )
    const { time } = this.around
    const mayDieInReplay = !isLast && this.#random.chance(0.2)
    const patienceMs = mayDieInReplay ? this.#random.between(0, 10) : 60_000
    await time.run(time.elapsedMs + patienceMs, () => life.isOpen || this.violations.length > 0)
    if (life.isOpen && !isLast) await this.#work(life)
    if (isLast) {
      if (!life.isOpen && this.violations.length === 0) this.violations.push('open: never came to an end')
      await this.#readBodies(life)
      return
    }
    this.#end(process)
  }

  #end(process: SimulatedProcess): void {
    if (this.#random.chance(0.5)) this.#host.cutPower()
    else process.kill()
    this.#host.powerOn()
    this.#host.device.heal()
  }

  async #work(life: Life): Promise<void> {
    const { time } = this.around
    const { faults } = this.#host.device
    if (this.#random.chance(0.5)) faults.durableCallsUntilPowerCut = 1 + this.#random.below(60)
    const steps = this.#random.below(80)
    for (let step = 0; step < steps && this.#host.isUp && !life.isFatal; step++) {
      if (this.#options.diskFaults === true && this.#random.chance(0.02)) faults.full = !faults.full
      if (this.#options.diskFaults === true && this.#random.chance(0.01)) faults.datasyncsToFail = 1
      if (this.#random.chance(0.55)) this.#accept(life)
      else this.#deliver(life)
      if (this.#random.chance(0.5)) await time.run(time.elapsedMs + this.#random.between(0, 4))
    }
  }

  #accept(life: Life): void {
    const id = `M${this.#expected.size}`
    const body = this.#random.bytes(this.#random.pick([0, 30, 700, 5000]))
    const expected: Expected = { id, body, accepted: 'perhaps', delivered: 'absent' }
    this.#expected.set(id, expected)
    const record: JournalRecord = {
      type: 'message',
      number: life.store.journal.takeNumber(),
      id,
      birthAt: this.#nowMs,
      form: 'crlf',
      sender: 's',
      recipients: ['r'],
    }
    life.store.append(record, [body], body.length, (error) => {
      if (error !== undefined) return
      expected.accepted = 'stands'
      life.ids.add(idKey(id, 's', ['r']), this.#nowMs)
    })
  }

  #deliver(life: Life): void {
    const messages = [...life.live.all()].filter(({ appending }) => appending === 0)
    if (messages.length === 0) return
    const message = this.#random.pick(messages)
    const expected = this.#expected.get(message.id)
    if (expected === undefined) return
    expected.delivered = 'perhaps'
    message.appending++
    const record: JournalRecord = {
      type: 'result',
      number: message.number,
      at: this.around.time.elapsedMs,
      results: [{ index: 0, status: 'delivered', failure: undefined, remote: 'r' }],
    }
    life.store.append(record, [], 0, (error) => {
      message.appending--
      if (error === undefined) expected.delivered = 'stands'
    })
  }

  /** After a replay: whatever was promised is there, and the totals say the same as the messages. */
  #compare(life: Life): void {
    const live = new Set([...life.live.all()].map(({ id }) => id))
    for (const expected of this.#expected.values()) {
      const isLive = live.delete(expected.id)
      if (expected.accepted === 'stands' && expected.delivered === 'absent' && !isLive)
        this.violations.push(`lost: ${expected.id}`)
      if (expected.delivered === 'stands' && isLive) this.violations.push(`again: ${expected.id} was marked delivered`)
      if (expected.accepted === 'stands' && !life.ids.has(idKey(expected.id, 's', ['r'])))
        this.violations.push(`forgotten: the id of ${expected.id}`)
      // What is there now has been made durable by the replay, and may be relied on.
      if (isLive) expected.accepted = 'stands'
      if (isLive && expected.delivered === 'perhaps') expected.delivered = 'absent'
      if (!isLive && expected.delivered === 'perhaps') expected.delivered = 'stands'
      if (!isLive && expected.accepted === 'perhaps') expected.accepted = 'absent'
    }
    for (const id of live) this.violations.push(`invented: ${id}`)
    if (!isConserved(life.live.totals, life.live.countQueued()))
      this.violations.push(`totals: ${JSON.stringify({ ...life.live.totals, queued: life.live.countQueued() })}`)
  }

  async #readBodies(life: Life): Promise<void> {
    const { time } = this.around
    for (const message of life.live.all()) {
      const body = life.store.bodies.readWhole(message)
      let chunks: readonly Buffer[] | undefined
      let isRead = false
      body.then(
        (read) => {
          chunks = read
          isRead = true
        },
        (error: unknown) => this.violations.push(`body of ${message.id}: ${String(error)}`),
      )
      await time.run(time.elapsedMs + 1000, () => isRead || this.violations.length > 0)
      const expected = this.#expected.get(message.id)?.body
      if (chunks === undefined || expected === undefined || !Buffer.concat(chunks).equals(expected))
        this.violations.push(`body: ${message.id} is not what was accepted`)
    }
  }
}
