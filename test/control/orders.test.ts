/** Carrying out an order: by compare-and-set under a fence, again where somebody was first, never by who does not lead. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { layoutKey, type WriteResult } from '../../services/contract/coordination.ts'
import type { Layout } from '../../services/contract/layout.ts'
import { scale } from '../../services/control/layout/scale.ts'
import { LayoutRegister } from '../../services/control/layout-register.ts'
import { Orders } from '../../services/control/orders.ts'
import { EmbeddedCoordination } from '../../services/runtime/embedded-coordination.ts'
import { EmbeddedHub } from '../../services/runtime/embedded-hub.ts'
import { ensureClusterKey, openSigner, openVerifier } from '../../services/runtime/signature.ts'
import { openLayout, signLayout } from '../../services/runtime/signed-layout.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'
import { SystemDisk } from '../../services/runtime/system-disk.ts'
import { embeddedPair } from '../coordination/embedded-pair.ts'
import { SeededRandom } from '../simulation/seeded-random.ts'
import { type Cleanup, temporaryDirectory } from '../support/temporary-directory.ts'
import { layoutOfFour, pool } from './drain/plan-views.ts'

const words = { by: 'admin', reason: '', force: false }
const toTwo: Parameters<Orders['give']>[0] = (layout, frame) => scale(layout, pool, 2, frame)

async function setUp(cleanup: Cleanup) {
  const [disk, state, clock] = [new SystemDisk(), temporaryDirectory(cleanup), new SystemClock()]
  await ensureClusterKey(disk, state)
  const [signer, verifier] = [await openSigner(disk, state), await openVerifier(disk, state)]
  const hub = new EmbeddedHub(clock)
  const pair = embeddedPair()
  hub.attach(pair.hub)
  const coordination = new EmbeddedCoordination({ clock, dial: () => pair.client, callTimeoutMs: 200 })
  const term: { fence: number | undefined } = { fence: 7 }
  const register = new LayoutRegister({
    ...{ coordination, signer, keys: async () => [verifier], inForce: layoutOfFour },
    leads: () => term.fence !== undefined,
  })
  const parts = { register, random: new SeededRandom(1), fence: () => term.fence, leader: async () => 'c2' }
  const lost = async () => new Set<string>()
  const put = (layout: Layout) => hub.store.put(layoutKey, signLayout(signer, layout))
  const inForce = (): Layout => {
    const reading = openLayout(hub.store.get(layoutKey)?.value ?? null, [verifier])
    assert.ok(reading.ok)
    return reading.layout
  }
  put(layoutOfFour())
  return { hub, coordination, register, term, parts: { ...parts, lost, now: async () => 1000 }, put, inForce }
}

test('an order is done once, and told so when it is given again', async (t) => {
  const { parts, inForce } = await setUp(t)
  const orders = new Orders(parts)
  const outcome = await orders.give(toTwo, words)
  assert.ok(outcome.kind === 'done')
  assert.deepEqual([outcome.epoch, inForce().plans.map(({ id }) => id)], [2, [outcome.plan]])
  const again = await orders.give(toTwo, words)
  assert.deepEqual(again.kind === 'unchanged' ? [again.epoch, again.plan] : again, [2, outcome.plan])
  assert.equal(inForce().epoch, 2)
})

test('who was first is not written over: the order is made anew of what he wrote', async (t) => {
  const { parts, put, inForce } = await setUp(t)
  let interruptions = 2
  const now = async () => {
    const { epoch } = inForce()
    if (interruptions-- > 0) put({ ...layoutOfFour(), epoch: epoch + 1, routes: layoutOfFour().routes.slice(epoch) })
    return 1000
  }
  const outcome = await new Orders({ ...parts, now }).give(toTwo, words)
  assert.deepEqual([outcome.kind, inForce().epoch, inForce().routes], ['done', 4, layoutOfFour().routes.slice(2)])
})

test('it gives up where somebody is always first, and nothing of it is in force', async (t) => {
  const { parts, put, inForce } = await setUp(t)
  const now = async () => {
    put({ ...layoutOfFour(), epoch: inForce().epoch + 1 })
    return 1000
  }
  const outcome = await new Orders({ ...parts, now }).give(toTwo, words)
  assert.equal(outcome.kind, 'unavailable')
  assert.deepEqual(inForce().plans, [])
})

test('who does not lead, leads no more, or was overtaken, changes nothing and says who leads', async (t) => {
  const { parts, term, put, inForce } = await setUp(t)
  term.fence = undefined
  assert.deepEqual(await new Orders(parts).give(toTwo, words), { kind: 'not-leader', leader: 'c2' })
  term.fence = 7
  const ending = async () => {
    term.fence = undefined
    return 1000
  }
  assert.equal((await new Orders({ ...parts, now: ending }).give(toTwo, words)).kind, 'not-leader')
  term.fence = 7
  put({ ...layoutOfFour(), epoch: 2, fence: 8 })
  assert.equal((await new Orders(parts).give(toTwo, words)).kind, 'not-leader')
  assert.deepEqual(inForce().plans, [])
})

test('the register refuses to write under a fence that was overtaken, and a layout that goes back', async (t) => {
  const { register, put, inForce } = await setUp(t)
  put({ ...layoutOfFour(), epoch: 5, fence: 8 })
  const current = await register.read()
  assert.ok(typeof current !== 'string')
  const next = { ...current.layout, epoch: 6 }
  assert.deepEqual(await register.write(next, current, 7), { kind: 'conflict' } satisfies WriteResult)
  await assert.rejects(register.write({ ...next, epoch: 5 }, current, 9), /only goes forward/)
  await assert.rejects(register.write({ ...next, fence: 7 }, current, 9), /only goes forward/)
  assert.equal(inForce().epoch, 5)
})

test('a layout that went back is nobody’s order, until one comes that goes forward', async (t) => {
  const { register, put, inForce, term } = await setUp(t)
  const epochOf = async () => {
    const current = await register.read()
    return typeof current === 'string' ? current : current.layout.epoch
  }
  put({ ...layoutOfFour(), epoch: 5, fence: 8 })
  assert.equal(await epochOf(), 5)
  put({ ...layoutOfFour(), epoch: 4, fence: 8 })
  term.fence = undefined
  assert.match(String(await epochOf()), /epoch 4 is older than 5/)
  assert.equal(inForce().epoch, 4, 'who does not lead leaves it')
  term.fence = 9
  assert.match(String(await epochOf()), /epoch 4 is older than 5/)
  assert.equal(inForce().epoch, 5, 'who leads puts the newest back')
  put({ ...layoutOfFour(), epoch: 5, fence: 8, routes: [] })
  assert.match(String(await epochOf()), /differs from the layout in force/)
  put({ ...layoutOfFour(), epoch: 6, fence: 7 })
  assert.match(String(await epochOf()), /led no more/)
  put({ ...layoutOfFour(), epoch: 6, fence: 8 })
  assert.equal(await epochOf(), 6)
})

test('without coordination, or with a layout nobody of ours signed, an order is unavailable and says why', async (t) => {
  const { parts, hub, coordination } = await setUp(t)
  hub.store.put(layoutKey, { ...layoutOfFour() } as never)
  const unsigned = await new Orders(parts).give(toTwo, words)
  assert.deepEqual(unsigned, {
    ...{ kind: 'unavailable', why: 'the layout in coordination is refused: it is not signed' },
  })
  coordination.close()
  const gone = await new Orders(parts).give(toTwo, words)
  assert.equal(gone.kind, 'unavailable')
})
