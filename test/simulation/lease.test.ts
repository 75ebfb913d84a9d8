/**
 * Leases on virtual time: contenders behind links that are slow, cut and healed at random, and at every instant at most one
 * that believes it holds. Each seed is one run.
 */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { EmbeddedCoordination } from '../../services/runtime/embedded-coordination.ts'
import { EmbeddedHub } from '../../services/runtime/embedded-hub.ts'
import type {
  ClientChannel,
  HubChannel,
  MessageChannel,
  ToClient,
  ToHub,
} from '../../services/runtime/embedded-message.ts'
import { Lease } from '../../services/runtime/lease.ts'
import type { Clock } from '../../services/runtime/world.ts'
import { SeededRandom } from './seeded-random.ts'
import { VirtualTime } from './virtual-time.ts'

const lifeMs = 15_000
const contendersCount = 4
const faultsUntilMs = 300_000
const healedMs = 60_000
const lookMs = 5

/** One direction of a link: whole messages in order, each with its own delay, none while it is cut. */
class Lane<Message> {
  heard: (message: Message) => void = () => {}
  #waiting: Message[] = []
  #lastAtMs = 0

  send(time: VirtualTime, delayMs: number, message: Message, isCut: () => boolean): void {
    this.#lastAtMs = Math.max(this.#lastAtMs, time.elapsedMs + delayMs)
    this.#waiting.push(message)
    time.schedule(this.#lastAtMs - time.elapsedMs, () => this.flow(isCut))
  }

  /** Oldest first; what is cut off waits for the healing. */
  flow(isCut: () => boolean): void {
    if (isCut()) return
    const message = this.#waiting.shift()
    if (message !== undefined) this.heard(message)
  }

  heal(isCut: () => boolean): void {
    while (this.#waiting.length > 0 && !isCut()) this.flow(isCut)
  }
}

class SlowLink {
  isCut = false
  readonly client: ClientChannel
  readonly hub: HubChannel
  readonly #up = new Lane<ToHub>()
  readonly #down = new Lane<ToClient>()

  constructor(time: VirtualTime, random: SeededRandom) {
    const isCut = () => this.isCut
    // Mostly quick, now and then longer than a term.
    const isSlow = () => time.elapsedMs < faultsUntilMs && random.chance(0.03)
    const delay = () => (isSlow() ? random.between(1_000, 20_000) : random.between(1, 300))
    this.client = end(this.#down, (message) => this.#up.send(time, delay(), message, isCut))
    this.hub = end(this.#up, (message) => this.#down.send(time, delay(), message, isCut))
  }

  heal(): void {
    this.isCut = false
    this.#up.heal(() => this.isCut)
    this.#down.heal(() => this.isCut)
  }
}

function end<Out, In>(lane: Lane<In>, send: (message: Out) => void): MessageChannel<Out, In> {
  return {
    send: (message) => send(structuredClone(message)),
    open: (heard) => {
      lane.heard = heard
    },
    close: () => {},
  }
}

interface Outcome {
  readonly violations: readonly string[]
  readonly terms: number
  readonly endedHeld: boolean
}

/** `believedLifeMs`: what contenders take a lease's life for; more than it is, is the planted fault. */
async function runSeed(seed: number, believedLifeMs = lifeMs): Promise<Outcome> {
  const time = new VirtualTime()
  const random = new SeededRandom(seed)
  const clock: Clock = {
    now: () => 1_800_000_000_000 + time.elapsedMs,
    monotonic: () => time.elapsedMs,
    after: (delayMs, task) => time.schedule(delayMs, task),
    soon: (task) => time.schedule(0, task),
  }
  const hub = new EmbeddedHub(clock, { leaseMs: lifeMs, stateMs: 60_000 })
  const violations: string[] = []
  const fences: number[] = []
  const links: SlowLink[] = []
  const leases = Array.from({ length: contendersCount }, (_, index) => {
    const link = new SlowLink(time, random.fork(`link ${index}`))
    links.push(link)
    hub.attach(link.hub)
    const coordination = new EmbeddedCoordination({ clock, dial: () => link.client, callTimeoutMs: 2_000 })
    const onHeld = (fence: number) => {
      if (fence <= (fences.at(-1) ?? 0)) violations.push(`fence ${fence} after ${fences.at(-1)}`)
      fences.push(fence)
    }
    const holder = `contender ${index}`
    const parts = {
      fenceBelow: () => 0,
      coordination,
      clock,
      random: random.fork(holder),
      name: 'leader',
      holder,
      lifeMs: believedLifeMs,
    }
    return new Lease({ ...parts, onHeld, onLost: () => {} })
  })
  for (const lease of leases) lease.start()
  const look = (): void => {
    const holding = leases.flatMap((lease, index) => (lease.fence === undefined ? [] : [index]))
    if (holding.length > 1) violations.push(`${Math.round(time.elapsedMs)} ms: ${holding.join(' and ')} hold at once`)
    time.schedule(lookMs, look)
  }
  look()
  const disturb = (): void => {
    if (time.elapsedMs > faultsUntilMs) return
    const link = random.pick(links)
    link.isCut = true
    time.schedule(random.between(500, 40_000), () => link.heal())
    time.schedule(random.between(500, 15_000), disturb)
  }
  time.schedule(random.between(100, 10_000), disturb)
  await time.run(faultsUntilMs + 40_000 + healedMs)
  return { violations, terms: fences.length, endedHeld: leases.some((lease) => lease.fence !== undefined) }
}

describe('leases on virtual time', () => {
  it('never two holders at once, over many seeds of slow and cut links; somebody holds when all is well', async () => {
    let terms = 0
    for (let seed = 1; seed <= 20; seed++) {
      const outcome = await runSeed(seed)
      assert.deepEqual(outcome.violations, [], `seed ${seed}`)
      assert.ok(outcome.endedHeld, `seed ${seed}: nobody holds in the end`)
      terms += outcome.terms
    }
    assert.ok(terms > 30, `only ${terms} terms`)
  })

  it('the judge would see two holders', async () => {
    const outcome = await runSeed(1, 3 * lifeMs)
    assert.ok(outcome.violations.some((violation) => violation.includes('hold at once')))
  })
})
