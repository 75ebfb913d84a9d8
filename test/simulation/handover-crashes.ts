/**
 * One instance hands its mail over to two others, and one of them loses its power at a given durable write.
 *
 * No letters, no edges: a journal filled beforehand, a plan, perhaps a cancel. Whatever happens, in the end every message is in exactly one
 * queue with the history it had, and the counts and manifests say the same.
 */

import type { DrainPlan, Layout } from '../../services/contract/layout.ts'
import { IdIndex } from '../../services/queue/id-index.ts'
import type { QueueInstance } from '../../services/queue/instance.ts'
import { JournalStore } from '../../services/queue/journal/store.ts'
import { LiveMessages } from '../../services/queue/live-messages.ts'
import { clusterLayout, spareInstances } from './cluster-layout.ts'
import { honestParts, type ProcessParts } from './process-parts.ts'
import { SimulatedHost, type Surroundings } from './simulated-host.ts'
import { Supervised } from './supervised.ts'
import { surroundings, until } from './surroundings.ts'
import { beginQueue, stateDirectory } from './tier-processes.ts'
import { Truth } from './truth.ts'

export interface HandoverCrash {
  readonly place: 'source' | 'target'
  /** Its power goes at this durable write after the order to drain, counted from 1. */
  readonly atWrite: number
  /** How likely a link's answers are not heard at first. */
  readonly deafness: number
  /** When the plan is cancelled, milliseconds after its begin; never, where undefined. */
  readonly cancelAfterMs: number | undefined
  readonly parts?: ProcessParts
}

const messages = 6
const source = '01'
const targets = ['02', '03']
const planId = '01KDVDNCGTPF9C5GV2YKKN2A4E'
const beginsAtMs = 200
const hearsAtMs = 8000
const patienceMs = 300_000
const afterwardsMs = 1000

/** The layout at each point of the story; nobody delivers anything. */
function layoutAt(epoch: number, state: DrainPlan['state'] | 'none'): Layout {
  const pools = clusterLayout.pools.map((pool) => ({ ...pool, deliver: { kind: 'hold' as const } }))
  const others = [...clusterLayout.instances, ...spareInstances]
  const standing = state === 'running' ? ('draining' as const) : ('active' as const)
  const instances = others.map((one) => (one.id === source ? { ...one, standing } : one))
  const plan = {
    ...{ id: planId, pool: 'CUSTOMER_1', from: 3, to: 2, leaving: [source], targets, force: false, keep: false },
    ...{ by: 'test', reason: '', startedAt: 0, cordonEpoch: 2 },
  }
  return { ...clusterLayout, epoch, pools, instances, plans: state === 'none' ? [] : [{ ...plan, state }] }
}

export async function crashHandover(crash: HandoverCrash): Promise<string[]> {
  const story = new Story(crash)
  await story.fill()
  return story.run()
}

class Story {
  readonly #crash: HandoverCrash
  readonly #around: Surroundings
  readonly #places = new Map<string, Supervised<QueueInstance>>()
  readonly #truth = new Truth()
  readonly #deafness = { probability: 0 }
  #layout = layoutAt(1, 'none')

  constructor(crash: HandoverCrash) {
    this.#crash = crash
    this.#around = surroundings(crash.atWrite, 0)
    for (const id of [source, ...targets]) this.#places.set(id, this.#place(id))
  }

  async fill(): Promise<void> {
    const host = this.#places.get(source)?.host
    if (host === undefined) throw new Error('no source')
    const process = host.start('filler')
    const parts = { live: new LiveMessages(), ids: new IdIndex(), onFatal: () => {} }
    const store = new JournalStore(process.world, `${stateDirectory}/queues/${source}/journal`, parts)
    await until(this.#around, store.open())
    for (let count = 0; count < messages; count++) {
      const message = { type: 'message', number: store.journal.takeNumber(), id: idOf(count), form: 'crlf' } as const
      const body = [Buffer.alloc(300, count)]
      store.append({ ...message, birthAt: 1, sender: 's', recipients: ['a@customer1.example'] }, body, 300, () => {})
    }
    await until(this.#around, store.close())
    process.kill()
  }

  async run(): Promise<string[]> {
    const { time } = this.#around
    for (const place of this.#places.values()) place.start()
    await time.run(time.elapsedMs + beginsAtMs)
    this.#deafness.probability = this.#crash.deafness
    const victim = this.#crash.place === 'source' ? source : (targets[0] ?? '')
    const device = this.#places.get(victim)?.host.device
    if (device !== undefined) device.faults.durableCallsUntilPowerCut = this.#crash.atWrite
    this.#write('running')
    time.schedule(hearsAtMs, () => {
      this.#deafness.probability = 0
    })
    const { cancelAfterMs } = this.#crash
    if (cancelAfterMs !== undefined) time.schedule(cancelAfterMs, () => this.#write('cancelling'))
    const isOver = (): boolean => (cancelAfterMs === undefined ? this.#isEmpty() : this.#isSettled())
    const ended = await time.run(time.elapsedMs + patienceMs, isOver)
    if (device !== undefined) device.faults.durableCallsUntilPowerCut = Number.POSITIVE_INFINITY
    // Power that is going has gone by then, and its place is being started again.
    await time.run(time.elapsedMs + afterwardsMs)
    if (!ended) return [`never over: ${JSON.stringify(this.#tier(source)?.drain)}`]
    await time.run(time.elapsedMs + patienceMs, () => this.#tiers().length === this.#places.size)
    return this.#judge()
  }

  #place(id: string): Supervised<QueueInstance> {
    const { time, random } = this.#around
    const spec = [...clusterLayout.instances, ...spareInstances].find((one) => one.id === id)
    const host: SimulatedHost = new SimulatedHost(this.#around, spec?.host ?? '', [], () => {
      place.lostPower()
      time.schedule(2000, () => {
        host.powerOn()
        place.start()
      })
    })
    host.device.volume.makeDirectory(`${stateDirectory}/queues/${id}`)
    host.device.volume.syncAll()
    const around = { truth: this.#truth, deafness: this.#deafness }
    const place: Supervised<QueueInstance> = new Supervised<QueueInstance>(
      { time, random: random.fork(id), host, name: id, onDeath: () => {} },
      (running, die) => beginQueue(running.world, this.#layout, id, this.#crash.parts ?? honestParts, around, die),
    )
    return place
  }

  /** Everybody hears at once; who is down begins with it. */
  #write(state: DrainPlan['state']): void {
    this.#layout = layoutAt(this.#layout.epoch + 1, state)
    for (const tier of this.#tiers()) tier.apply(this.#layout)
  }

  #isEmpty(): boolean {
    return this.#tier(source)?.drain?.phase === 'empty'
  }

  #isSettled(): boolean {
    const tier = this.#tier(source)
    return this.#layout.plans[0]?.state === 'cancelling' && tier !== undefined && tier.drain === undefined
  }

  #tier(id: string): QueueInstance | undefined {
    return this.#places.get(id)?.tier
  }

  #tiers(): QueueInstance[] {
    return [...this.#places.values()].flatMap(({ tier }) => tier ?? [])
  }

  async #judge(): Promise<string[]> {
    const violations: string[] = []
    const found = this.#tiers().flatMap((tier) => tier.list(100))
    for (let count = 0; count < messages; count++) {
      const copies = found.filter(({ id }) => id === idOf(count)).map(({ instance }) => instance)
      if (copies.length !== 1) violations.push(`message ${count} is in ${copies.length} queues: ${copies.join()}`)
    }
    const audits = this.#tiers().map((tier) => tier.audit())
    for (const audit of audits) if (!audit.balanced) violations.push(`out of balance: ${JSON.stringify(audit)}`)
    const sum = (name: 'takenOver' | 'handedOver'): number => audits.reduce((total, audit) => total + audit[name], 0)
    if (sum('takenOver') !== sum('handedOver'))
      violations.push(`${sum('handedOver')} left, ${sum('takenOver')} arrived`)
    if (this.#crash.cancelAfterMs !== undefined) return violations
    const manifests = await until(this.#around, Promise.all(this.#tiers().map((tier) => tier.manifest(planId))))
    const left = manifests.filter(({ instance }) => instance === source).flatMap(({ parts }) => parts)
    const arrived = manifests.filter(({ instance }) => instance !== source).flatMap(({ parts }) => parts)
    const texts = [left, arrived].map((parts) => parts.map((part) => JSON.stringify(part)).sort())
    if (texts[0]?.join() !== texts[1]?.join()) violations.push(`manifests: ${texts.join(' against ')}`)
    return violations
  }
}

function idOf(count: number): string {
  return `01JDABCDEFGH0123456789ABC${count}`
}
