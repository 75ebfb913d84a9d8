/** What leases promise on every back end, in real time and with short lives. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type Coordination, leaseKey } from '../../services/contract/coordination.ts'
import { leaseRecord } from '../../services/contract/lease.ts'
import { Lease } from '../../services/runtime/lease.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'
import { SystemRandom } from '../../services/runtime/system-random.ts'
import { eventually, type OpenBackEnd } from './contract.ts'

const lifeMs = 600
const clock = new SystemClock()
const random = new SystemRandom()

class Contender {
  readonly events: string[] = []
  readonly fences: number[] = []
  readonly lease: Lease
  fenceBelow: number

  constructor(coordination: Coordination, holder: string, fenceBelow = 0) {
    this.fenceBelow = fenceBelow
    this.lease = new Lease({
      ...{ coordination, clock, random, name: 'leader', holder, lifeMs, fenceBelow: () => this.fenceBelow },
      onHeld: (fence) => {
        this.fences.push(fence)
        this.events.push('held')
      },
      onLost: (why) => this.events.push(why),
    })
  }
}

const pause = (delayMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, delayMs))

type Run = (one: Coordination, two: Coordination) => Promise<void>

export function leaseContract(name: string, open: OpenBackEnd): void {
  const withTwo = (run: Run) => async (): Promise<void> => {
    const { one, two, close } = await open({ leaseMs: lifeMs, stateMs: 200 })
    try {
      await run(one, two)
    } finally {
      await close()
    }
  }
  describe(`leases by ${name}`, () => {
    it('one holds past the life of a lease; given back, the other has it at once', withTwo(holdsAndGivesBack))
    it('a holder that is cut off gives up before another gets it, and the other gets it', withTwo(givesUp))
    it('a holder whose record is another one ends its term at the next renewal', withTwo(isRobbed))
    it('a term is numbered above what already counts, and not where that is far away', withTwo(climbs))
    it('a state nobody renews vanishes, and a record stays', withTwo(statesVanish))
  })
}

async function holdsAndGivesBack(one: Coordination, two: Coordination): Promise<void> {
  const [first, second] = [new Contender(one, 'first'), new Contender(two, 'second')]
  first.lease.start()
  await eventually(() => first.events[0])
  second.lease.start()
  for (let waitedMs = 0; waitedMs < 2 * lifeMs; waitedMs += 50) {
    await pause(50)
    assert.equal(first.lease.fence, first.fences[0])
    assert.equal(second.lease.fence, undefined)
  }
  const startedAt = performance.now()
  await first.lease.stop()
  assert.deepEqual(first.events, ['held', 'given back'])
  await eventually(() => second.events[0])
  assert.ok(performance.now() - startedAt < lifeMs / 2, 'it did not wait for the end of a life')
  assert.ok(second.fences[0]! > first.fences[0]!)
  assert.equal(first.lease.fence, undefined)
  await second.lease.stop()
}

async function climbs(one: Coordination, two: Coordination): Promise<void> {
  const made = await one.create(leaseKey('other'), leaseRecord('other'))
  assert.ok(made.kind === 'written')
  const before = made.revision + 50
  const first = new Contender(one, 'first', before)
  first.lease.start()
  await eventually(() => first.events[0])
  const [fence = 0] = first.fences
  assert.ok(fence > before && fence < before + 50)
  first.fenceBelow = fence + 20
  const higher = await eventually(() => first.fences.find((later) => later > first.fenceBelow))
  const givenWay = () => first.events.filter((event) => event === 'a higher number counts already').length
  assert.equal(givenWay(), 1, 'it heard of a layout of a later term')
  first.fenceBelow = higher
  await pause(2 * lifeMs)
  assert.equal(givenWay(), 1, 'its own number is none to give way to')
  await first.lease.stop()
  const second = new Contender(two, 'second', before + 1_000_000)
  second.lease.start()
  await eventually(() => second.events[0])
  assert.ok((second.fences[0] ?? 0) < first.fenceBelow + 20, 'a clock that was set back is no matter of some writes')
  await second.lease.stop()
}

async function givesUp(one: Coordination, two: Coordination): Promise<void> {
  const [first, second] = [new Contender(one, 'first'), new Contender(two, 'second')]
  first.lease.start()
  await eventually(() => first.events[0])
  second.lease.start()
  one.close()
  await eventually(() => (first.lease.fence === undefined ? true : undefined))
  assert.equal(second.events.length, 0)
  await eventually(() => second.events[0])
  assert.deepEqual(first.events, ['held', 'it could not be renewed in time'])
  assert.ok(second.fences[0]! > first.fences[0]!)
  await first.lease.stop()
  await second.lease.stop()
}

async function isRobbed(one: Coordination, two: Coordination): Promise<void> {
  const first = new Contender(one, 'first')
  first.lease.start()
  await eventually(() => first.events[0])
  assert.equal((await two.put(leaseKey('leader'), leaseRecord('robber'))).kind, 'written')
  await eventually(() => first.events[1])
  assert.deepEqual(first.events.slice(0, 2), ['held', 'another process has it'])
  await eventually(() => first.events[2])
  assert.ok(first.fences[1]! > first.fences[0]!, 'the next term has a higher number')
  await first.lease.stop()
}

async function statesVanish(one: Coordination, two: Coordination): Promise<void> {
  const seen: string[] = []
  two.watch('state/', ({ key, entry }) => seen.push(`${key} ${entry === undefined ? 'gone' : 'there'}`))
  await one.put('layout', 1)
  await one.put('state/00', 1)
  await eventually(() => seen[1])
  assert.deepEqual(seen, ['state/00 there', 'state/00 gone'])
  assert.equal(await one.get('state/00'), undefined)
  assert.equal((await two.get('layout'))?.value, 1)
}
