/**
 * Control processes on virtual time, one of which dies, or is late, at any of its actions: the plan is always carried out, once, by
 * whoever leads then, all the mail arrives, and there is one receipt of each instance that left.
 */

import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import { layoutKey, receiptKey } from '../../../services/contract/coordination.ts'
import type { Layout } from '../../../services/contract/layout.ts'
import { ClusterControl } from '../../../services/control/cluster-control.ts'
import type { OrderOutcome } from '../../../services/control/control-plane.ts'
import { ReceiptStore } from '../../../services/control/receipt/receipt-store.ts'
import { EmbeddedCoordination } from '../../../services/runtime/embedded-coordination.ts'
import { EmbeddedHub } from '../../../services/runtime/embedded-hub.ts'
import {
  ensureClusterKey,
  openSigner,
  openVerifier,
  type Signer,
  type Verifier,
} from '../../../services/runtime/signature.ts'
import { signLayout } from '../../../services/runtime/signed-layout.ts'
import { silentLog } from '../../../services/runtime/silent-log.ts'
import { SystemDisk } from '../../../services/runtime/system-disk.ts'
import type { Clock } from '../../../services/runtime/world.ts'
import { embeddedPair } from '../../coordination/embedded-pair.ts'
import { SeededRandom } from '../../simulation/seeded-random.ts'
import { SimulatedDiskDevice } from '../../simulation/simulated-disk.ts'
import { SimulatedVolume } from '../../simulation/simulated-volume.ts'
import { VirtualTime } from '../../simulation/virtual-time.ts'
import { makeTemporaryDirectory } from '../../support/temporary-directory.ts'
import { type Fate, Mortality } from './mortal.ts'
import { layoutOfFour, pool } from './plan-views.ts'
import { layoutIn, SimulatedEdge, SimulatedQueue } from './simulated-places.ts'

const untilMs = 200_000
const by = { by: 'admin', reason: 'test', requestId: 'r' }

let signer: Signer
let verifier: Verifier

/** Edges that wait one second for what is unclear, so that a run is short. */
function firstLayout(): Layout {
  const layout = layoutOfFour()
  const edges = layout.edges.map((edge) => ({ ...edge, handoff: { ...edge.handoff, unclearRetryMs: 1000 } }))
  return { ...layout, edges }
}

class World {
  readonly time = new VirtualTime()
  readonly random: SeededRandom
  readonly clock: Clock
  readonly hub: EmbeddedHub
  readonly layouts: Layout[] = []
  readonly queues: ReadonlyMap<string, SimulatedQueue>
  readonly edge: SimulatedEdge
  readonly stores: ReceiptStore[] = []

  constructor(seed: number) {
    this.random = new SeededRandom(seed)
    const { time } = this
    this.clock = {
      now: () => 1_800_000_000_000 + Math.floor(time.elapsedMs),
      monotonic: () => time.elapsedMs,
      after: (delayMs, task) => time.schedule(delayMs, task),
      soon: (task) => time.schedule(0, task),
    }
    this.hub = new EmbeddedHub(this.clock)
    const layout = firstLayout()
    this.hub.store.put(layoutKey, signLayout(signer, layout))
    this.hub.store.watch(layoutKey, ({ entry }) => this.layouts.push(layoutIn(entry)))
    const around = { clock: this.clock, random: this.random, hub: this.hub }
    this.queues = new Map(layout.instances.map(({ id }) => [id, new SimulatedQueue(around, id, layout)]))
    for (const queue of this.queues.values()) queue.run(this.queues)
    this.edge = new SimulatedEdge(around, 'e1', layout)
    this.edge.run(this.queues, 20_000)
  }

  control(id: string, mortality: Mortality): ClusterControl {
    const { time, clock, random } = this
    const pair = embeddedPair()
    this.hub.attach(pair.hub)
    const coordination = new EmbeddedCoordination({ clock, dial: () => pair.client })
    const device = new SimulatedDiskDevice(time, random.fork(id), new SimulatedVolume(), () => {})
    const { disk } = device.attach()
    this.stores.push(new ReceiptStore(disk, '/home'))
    const world = { clock, random, log: silentLog, disk: mortality.wrap(disk) }
    const parts = {
      id,
      holder: `${id}/1`,
      home: '/home',
      signer,
      verifier,
      layoutKeys: async () => [verifier],
      inForce: firstLayout,
      onProgress: () => {},
    }
    return new ClusterControl({ world, coordination: mortality.wrap<EmbeddedCoordination>(coordination), ...parts })
  }

  get layout(): Layout {
    return layoutIn(this.hub.store.get(layoutKey))
  }

  get isDone(): boolean {
    const { instances, plans } = this.layout
    return plans.length === 0 && !instances.some(({ id }) => id === '03' || id === '04')
  }
}

/** Actions that the first leader took from the order to the end. */
async function runStory(seed: number, at: number, fate: Fate): Promise<number> {
  const world = new World(seed)
  const mortality = new Mortality(world.time, at, fate)
  const [first, second] = [world.control('c1', mortality), world.control('c2', new Mortality(world.time, 0, 'before'))]
  first.start()
  await world.time.run(3000, () => first.leads)
  second.start()
  await world.time.run(world.time.elapsedMs + 5000)
  let outcome: OrderOutcome | undefined
  const give = (control: ClusterControl) => {
    control.order({ kind: 'scale', pool, count: 2, force: false }, by).then((result) => {
      outcome = result
    }, assert.ifError)
  }
  give(first)
  const again = () => {
    const isOrdered = world.layout.plans.length > 0 || world.isDone
    if (!isOrdered) for (const control of [first, second]) if (control.leads) give(control)
    if (!isOrdered) world.time.schedule(5000, again)
  }
  world.time.schedule(5000, again)
  const done = await world.time.run(untilMs, () => world.isDone && world.time.elapsedMs > 20_000)
  const what = `seed ${seed}, ${fate} at action ${at}`
  assert.ok(done, `${what}: not done, ${JSON.stringify([outcome, first.progress(), second.progress()])}`)
  await world.time.run(world.time.elapsedMs + 60_000)
  judge(world, what)
  await judgeReceipts(world, what)
  for (const control of [first, second]) control.stop().catch(assert.ifError)
  return mortality.count
}

function judge({ layouts, queues, edge, isDone }: World, what: string): void {
  assert.ok(isDone, `${what}: it did not stay done`)
  for (const [index, layout] of layouts.entries()) {
    const earlier = layouts[index - 1]
    if (earlier === undefined) continue
    assert.equal(layout.epoch, earlier.epoch + 1, `${what}: epochs`)
    assert.ok(layout.fence >= earlier.fence, `${what}: fence ${layout.fence} after ${earlier.fence}`)
  }
  assert.equal(
    layouts.filter((layout, index) => layout.plans.length > (layouts[index - 1]?.plans.length ?? 0)).length,
    1,
    what,
  )
  const mail = [...queues.values()].flatMap((queue) => queue.mail).toSorted((one, other) => one - other)
  assert.deepEqual(
    mail,
    Array.from({ length: edge.sent }, (_, number) => number),
    `${what}: mail`,
  )
  assert.deepEqual(
    ['03', '04'].map((id) => queues.get(id)?.mail.length),
    [0, 0],
    what,
  )
}

async function judgeReceipts({ hub, stores, layouts, time }: World, what: string): Promise<void> {
  const [id] = layouts.flatMap(({ plans }) => plans.map((plan) => plan.id))
  for (const instance of ['03', '04']) {
    const record = hub.store.get(receiptKey(id ?? '', instance))
    assert.ok(record !== undefined, `${what}: no receipt of ${instance}`)
    const text = JSON.stringify(record.value)
    assert.ok(verifier.verify(text).ok, what)
    const reads = Promise.all(stores.map((store) => store.read({ plan: id ?? '', instance })))
    let kept: readonly (string | undefined)[] = []
    reads.then((texts) => {
      kept = texts
    }, assert.ifError)
    await time.run(time.elapsedMs + 1000)
    assert.ok(kept.includes(text), `${what}: nobody kept the receipt of ${instance}`)
    for (const other of kept) assert.ok(other === undefined || other === text, `${what}: two receipts of ${instance}`)
  }
}

describe('leaders that die', () => {
  const state = makeTemporaryDirectory()
  before(async () => {
    const disk = new SystemDisk()
    await ensureClusterKey(disk, state)
    signer = await openSigner(disk, state)
    verifier = await openVerifier(disk, state)
  })
  after(() => rmSync(state, { recursive: true, force: true }))

  it('carries a plan out', async () => {
    const count = await runStory(1, 0, 'before')
    assert.ok(count > 15, `${count} actions`)
  })

  for (const fate of ['before', 'after', 'late'] as const) {
    it(`carries it out whatever action its leader dies at: ${fate}`, async () => {
      const last = await runStory(2, 0, fate)
      for (let at = 1; at <= last; at++) await runStory(2, at, fate)
    })
  }
})
