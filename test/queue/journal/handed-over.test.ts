/** What the journal keeps of mail that moves between instances: through kills, stops, cleaning, and from earlier journals. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import { temporary } from '../../../services/protocol/failure.ts'
import { IdIndex, idKey, transferKey } from '../../../services/queue/id-index.ts'
import type { JournalRecord, TakenRecord } from '../../../services/queue/journal/record.ts'
import { inspect } from '../../../services/queue/journal/recovery.ts'
import { defaultStoreLimits, JournalStore, type StoreLimits } from '../../../services/queue/journal/store.ts'
import { isConserved, LiveMessages } from '../../../services/queue/live-messages.ts'
import { auditJournal, verifyJournal } from '../../../services/queue/offline.ts'
import { systemWorld } from '../../../services/runtime/system-world.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }
const world = systemWorld(silent)
const plan = '01JDABCDEFGH0123456789P2AN'
const id = '01JDABCDEFGH0123456789ABCD'

async function open(home: string, limits: StoreLimits = defaultStoreLimits) {
  const live = new LiveMessages()
  const ids = new IdIndex()
  const parts = { live, ids, onFatal: (error: Error) => assert.fail(error) }
  const store = new JournalStore(world, `${home}/journal`, parts, limits)
  const recovered = await store.open()
  const append = (record: JournalRecord, body = Buffer.alloc(0)): Promise<void> =>
    new Promise((resolve, reject) => {
      const chunks = body.length === 0 ? [] : [body]
      store.append(record, chunks, body.length, (error) => (error === undefined ? resolve() : reject(error)))
    })
  return { live, ids, store, recovered, append }
}

function taken(number: number, source: number, given: Partial<TakenRecord> = {}): TakenRecord {
  const failure = temporary('peer', '4.2.2', 'mailbox full', 452)
  const state = { attempts: 2, dueAt: 77, failure, remote: 'mx', at: 5 } as const
  return {
    ...{ type: 'taken', number, id, birthAt: Date.now(), form: 'crlf', sender: 's@example.com', at: Date.now(), plan },
    recipients: [
      { address: 'a@example.com', status: 'delivered', ...state },
      { address: 'b@example.com', status: 'pending', ...state },
      { address: 'c@example.com', status: 'failed', ...state },
    ],
    held: undefined,
    origin: { instance: '03', number: 900 },
    source: { instance: '01', number: source },
    ...given,
  }
}

/** The queue in a form to compare. */
function contents(live: LiveMessages): object {
  const messages = [...live.all()].map(({ number, origin, held, offered, recipients }) => ({
    ...{ number, origin, held, offered, recipients },
  }))
  return { messages, totals: { ...live.totals }, bodyBytes: live.bodyBytes }
}

test('a message taken over comes back with its origin, its hold and its recipients, and its key is known', async (t) => {
  const home = temporaryDirectory(t)
  const first = await open(home)
  await first.append(taken(first.store.journal.takeNumber(), 1), Buffer.from('one'))
  await first.append(taken(first.store.journal.takeNumber(), 2, { held: 'by the postmaster' }), Buffer.from('two'))
  assert.deepEqual([first.live.totals.accepted, first.live.totals.takenOver, first.live.countQueued()], [0, 4, 4])
  const expected = contents(first.live)
  const killed = await open(home)
  assert.deepEqual(contents(killed.live), expected)
  assert.deepEqual(killed.live.get(1)?.origin, { instance: '03', number: 900 })
  assert.equal(killed.live.get(2)?.held, 'by the postmaster')
  assert.equal(killed.ids.has(transferKey({ instance: '01', number: 2 }, id)), true)
  assert.equal(killed.ids.has(transferKey({ instance: '01', number: 3 }, id)), false)
  const recipients = ['a@example.com', 'b@example.com', 'c@example.com']
  assert.equal(killed.ids.has(idKey(id, 's@example.com', recipients)), true, 'the package itself is known too')
  assert.equal(killed.ids.has(transferKey({ instance: '01', number: 2 }, `${id}-0`)), false)
  await killed.store.close()
  const stopped = await open(home)
  assert.equal(stopped.recovered.segmentsRead, 0, 'from the snapshot alone')
  assert.deepEqual(contents(stopped.live), expected)
  assert.equal(stopped.ids.has(transferKey({ instance: '01', number: 1 }, id)), true)
})

test('an offer is remembered until it is taken back or the message has moved', async (t) => {
  const home = temporaryDirectory(t)
  const first = await open(home)
  for (let count = 0; count < 3; count++) await first.append(taken(first.store.journal.takeNumber(), count))
  for (const number of [1, 2, 3]) await first.append({ type: 'offered', number, target: '04', plan, at: 7 })
  await first.append({ type: 'offered', number: 2, target: '', plan, at: 8 })
  await first.append({ type: 'moved', number: 3, at: 9, target: '04', count: 2 })
  const check = (live: LiveMessages): void => {
    assert.deepEqual(live.get(1)?.offered, { target: '04', plan, at: 7 })
    assert.equal(live.get(2)?.offered, undefined)
    assert.equal(live.get(3), undefined)
    assert.deepEqual([live.totals.takenOver, live.totals.handedOver, live.countQueued()], [6, 2, 4])
    assert.ok(isConserved(live.totals, live.countQueued()))
  }
  check(first.live)
  const killed = await open(home)
  check(killed.live)
  await killed.store.close()
  const stopped = await open(home)
  check(stopped.live)
  await stopped.store.close()
  const { balanced, takenOver, handedOver, queued } = await auditJournal(world, home, '04')
  assert.deepEqual([balanced, takenOver, handedOver, queued], [true, 6, 2, 4])
  assert.equal((await verifyJournal(world, home, '04')).sound, true)
})

test('cleaning carries origin, hold and offer forward, and the totals of dropped segments with them', async (t) => {
  const home = temporaryDirectory(t)
  const limits = { ...defaultStoreLimits, segmentBytes: 12_288, segmentsPerSnapshot: 1, segmentsKept: 2, sparesMax: 1 }
  const first = await open(home, limits)
  await first.append(taken(first.store.journal.takeNumber(), 1, { held: 'by the postmaster' }), Buffer.alloc(100, 1))
  await first.append({ type: 'offered', number: 1, target: '04', plan, at: 7 })
  for (let count = 0; count < 40; count++) {
    const number = first.store.journal.takeNumber()
    await first.append(taken(number, 100 + count), Buffer.alloc(2000, 2))
    await first.append({ type: 'moved', number, at: 9, target: '04', count: 2 })
  }
  const expected = contents(first.live)
  await first.store.close()
  assert.equal(fs.existsSync(`${home}/journal/0000000001.segment`), false, 'the first segment was dropped')
  const stopped = await open(home, limits)
  assert.deepEqual(contents(stopped.live), expected)
  assert.deepEqual(stopped.live.get(1)?.offered, { target: '04', plan, at: 7 })
  const bare = new LiveMessages()
  await inspect(world, `${home}/journal`, bare, new IdIndex())
  assert.deepEqual(contents(bare), expected, 'the same from the segments alone')
})

for (const from of ['snapshot', 'segments'] as const) {
  test(`the journal of an earlier program is read from its ${from}, and goes on`, async (t) => {
    const home = temporaryDirectory(t)
    fs.cpSync(new URL('./earlier', import.meta.url), `${home}/journal`, { recursive: true })
    if (from === 'segments') fs.rmSync(`${home}/journal/0000000002.snapshot`)
    const { live, recovered, append, store } = await open(home)
    assert.equal(recovered.snapshot, from === 'snapshot' ? 2 : undefined)
    assert.deepEqual(recovered.damage, [])
    const { totals } = live
    assert.deepEqual(
      { ...totals },
      { accepted: 4, delivered: 1, bounced: 1, discarded: 0, takenOver: 0, handedOver: 0 },
    )
    assert.deepEqual(
      [...live.all()].map(({ number }) => number),
      [1, 3],
    )
    assert.deepEqual([live.get(1)?.recipients[1]?.dueAt, live.get(1)?.origin], [1_767_225_600_000 + 400_000, undefined])
    assert.equal(live.get(3)?.held, 'by the postmaster')
    assert.ok(isConserved(totals, live.countQueued()))
    await append(taken(store.journal.takeNumber(), 1), Buffer.from('new'))
    await store.close()
    const again = await open(home)
    assert.deepEqual(
      [...again.live.all()].map(({ number }) => number),
      [1, 3, 4],
    )
  })
}
