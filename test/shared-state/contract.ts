/**
 * The contract of shared state: what every store must do, whatever carries it. Each case gets two edges of one store, which
 * may be one and the same, and a way to let time pass.
 */

import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type {
  GreylistTerms,
  NotedHints,
  RateTerms,
  SharedState,
  SlotTerms,
} from '../../services/contract/shared-state.ts'
import { hintName } from '../../services/runtime/shared-state-key.ts'
import { answerOf, known } from './clients.ts'

export interface Store {
  readonly one: SharedState
  readonly two: SharedState
  pass(ms: number): Promise<void>
}

const rate: RateTerms = { name: 'mail', events: 3, perMs: 3000 }
const slots: SlotTerms = { name: 'connections', slotsMax: 2, ttlMs: 60_000 }
const grey: GreylistTerms = { delayMs: 1000, retryMs: 2500, keepMs: 60_000 }
const triplet = { network: '192.0.2.0/24', sender: 'a@x.example', recipient: 'b@example.com' }

const cases: readonly [string, (store: Store) => Promise<void>][] = [
  ['a rate is shared, refuses with a time to wait, and refills', sharesRates],
  ['a refusal costs nothing, and a cost above the bucket needs it full', chargesOnce],
  ['many askers at once get no more than there is', isAtomic],
  ['slots are counted over all edges, once per holder', sharesSlots],
  ['a slot ends when it is freed or not kept, and one that was forgotten comes back', endsSlots],
  ['a triplet waits its delay once, then is known', greylists],
  ['a triplet that is not tried again is new', forgetsTriplets],
  ['reputations add up and fade', sharesReputations],
  ['a content id is given to one asker, once', takesContentsOnce],
  ['many content ids at once', takesManyContents],
  ['hints that one notes are told to the other, once known in parts', sharesHints],
  ['no subject reaches the entry of another, whatever bytes it has', keepsSubjectsApart],
  ['terms that make no sense are a defect', refusesNonsense],
  ['a closed store answers that it is gone', closes],
]

export function sharedStateContract(name: string, open: (test: TestContext) => Promise<Store>): void {
  describe(`shared state by ${name}`, { concurrency: true }, () => {
    for (const [title, run] of cases) it(title, async (test) => run(await open(test)))
  })
}

async function sharesRates({ one, two, pass }: Store): Promise<void> {
  const take = (state: SharedState, subject = 'client') =>
    known<{ allowed: boolean; waitMs: number }>((answered) => state.takeRate(rate, subject, 1, answered))
  for (const state of [one, two, one]) assert.deepEqual(await take(state), { allowed: true, waitMs: 0 })
  const refused = await take(two)
  assert.equal(refused.allowed, false)
  assert.ok(refused.waitMs > 0 && refused.waitMs <= 1000, `${refused.waitMs} ms`)
  assert.equal((await take(two, 'other')).allowed, true)
  const other = await known((answered) => two.takeRate({ ...rate, name: 'logins' }, 'client', 1, answered))
  assert.deepEqual(other, { allowed: true, waitMs: 0 })
  await pass(refused.waitMs + 1)
  assert.equal((await take(two)).allowed, true)
  await pass(3000)
  for (const state of [two, one, two]) assert.equal((await take(state)).allowed, true)
  assert.equal((await take(one)).allowed, false)
}

async function chargesOnce({ one, pass }: Store): Promise<void> {
  const slow = { ...rate, perMs: 600_000 }
  const take = (subject: string, cost: number, terms: RateTerms = slow) =>
    known<{ allowed: boolean; waitMs: number }>((answered) => one.takeRate(terms, subject, cost, answered))
  assert.equal((await take('a', 2)).allowed, true)
  assert.equal((await take('a', 2)).allowed, false)
  assert.equal((await take('a', 1)).allowed, true)
  assert.equal((await take('b', 1)).allowed, true)
  assert.equal((await take('b', 1000)).allowed, false)
  assert.equal((await take('c', 1000)).allowed, true)
  const { allowed, waitMs } = await take('c', 1)
  assert.deepEqual([allowed, waitMs > 190_000 && waitMs <= 200_000], [false, true])
  const quick = { ...rate, perMs: 60 }
  assert.equal((await take('d', 3, quick)).allowed, true)
  await pass(61)
  assert.equal((await take('d', 3, quick)).allowed, true)
}

async function isAtomic({ one, two }: Store): Promise<void> {
  const terms = { name: 'burst', events: 50, perMs: 3_600_000 }
  const asks = Array.from({ length: 200 }, (_, index) =>
    known<{ allowed: boolean }>((answered) => (index % 2 === 0 ? one : two).takeRate(terms, 'x', 1, answered)),
  )
  assert.equal((await Promise.all(asks)).filter(({ allowed }) => allowed).length, 50)
  const holders = Array.from({ length: 40 }, (_, index) =>
    known<{ taken: boolean }>((answered) =>
      (index % 2 === 0 ? one : two).takeSlot({ ...slots, slotsMax: 10 }, 'x', `h${index}`, answered),
    ),
  )
  assert.equal((await Promise.all(holders)).filter(({ taken }) => taken).length, 10)
}

async function sharesSlots({ one, two }: Store): Promise<void> {
  const take = (state: SharedState, holder: string, subject = '192.0.2.1') =>
    known((answered) => state.takeSlot(slots, subject, holder, answered))
  assert.deepEqual(await take(one, 'e1.1'), { taken: true, inUse: 1 })
  assert.deepEqual(await take(one, 'e1.1'), { taken: true, inUse: 1 })
  assert.deepEqual(await take(two, 'e2.1'), { taken: true, inUse: 2 })
  assert.deepEqual(await take(two, 'e2.2'), { taken: false, inUse: 2 })
  assert.deepEqual(await take(two, 'e2.2', '192.0.2.2'), { taken: true, inUse: 1 })
  assert.deepEqual(await take(two, 'e2.1'), { taken: true, inUse: 2 })
}

async function endsSlots({ one, two, pass }: Store): Promise<void> {
  const brief = { ...slots, name: 'brief', slotsMax: 1, ttlMs: 1200 }
  const take = (state: SharedState, holder: string) => known((answered) => state.takeSlot(brief, 'x', holder, answered))
  const keep = (state: SharedState, holder: string) => known((answered) => state.keepSlot(brief, 'x', holder, answered))
  assert.deepEqual(await take(one, 'a'), { taken: true, inUse: 1 })
  two.freeSlot(brief, 'x', 'nobody')
  assert.deepEqual(await take(two, 'b'), { taken: false, inUse: 1 })
  one.freeSlot(brief, 'x', 'a')
  assert.deepEqual(await keep(one, 'c'), { taken: true, inUse: 1 })
  await pass(700)
  assert.deepEqual(await keep(one, 'c'), { taken: true, inUse: 1 })
  await pass(700)
  assert.deepEqual(await take(two, 'b'), { taken: false, inUse: 1 })
  assert.deepEqual(await keep(two, 'd'), { taken: true, inUse: 2 })
  await pass(1300)
  assert.deepEqual(await take(two, 'b'), { taken: true, inUse: 1 })
}

async function greylists({ one, two, pass }: Store): Promise<void> {
  const ask = (state: SharedState) =>
    known<{ stage: string; waitMs: number }>((answered) => state.greylist(grey, triplet, answered))
  assert.deepEqual(await ask(one), { stage: 'first', waitMs: 1000 })
  const early = await ask(two)
  assert.equal(early.stage, 'early')
  assert.ok(early.waitMs > 0 && early.waitMs <= 1000)
  await pass(early.waitMs + 1)
  assert.deepEqual(await ask(two), { stage: 'passed', waitMs: 0 })
  await pass(2600)
  assert.deepEqual(await ask(one), { stage: 'passed', waitMs: 0 })
}

async function forgetsTriplets({ one, two, pass }: Store): Promise<void> {
  const brief = { delayMs: 20, retryMs: 900, keepMs: 900 }
  const ask = (state: SharedState) =>
    known<{ stage: string }>((answered) => state.greylist(brief, triplet, answered)).then(({ stage }) => stage)
  assert.equal(await ask(one), 'first')
  await pass(1000)
  assert.equal(await ask(two), 'first')
  await pass(40)
  assert.equal(await ask(two), 'passed')
  await pass(1000)
  assert.equal(await ask(one), 'first')
}

async function sharesReputations({ one, two, pass }: Store): Promise<void> {
  const terms = { name: 'clients', halfLifeMs: 500 }
  const slow = { name: 'slow', halfLifeMs: 3_600_000 }
  const none = { good: 0, bad: 0 }
  assert.deepEqual(await known((answered) => one.addReputation(slow, 'x', none, answered)), none)
  assert.deepEqual(await known((answered) => one.addReputation(slow, 'x', { good: 2, bad: 0 }, answered)), {
    good: 2,
    bad: 0,
  })
  const sum = await known<{ good: number; bad: number }>((answered) =>
    two.addReputation(slow, 'x', { good: 1, bad: 5 }, answered),
  )
  assert.ok(Math.abs(sum.good - 3) < 0.01 && sum.bad === 5, JSON.stringify(sum))
  assert.deepEqual(await known((answered) => two.addReputation(slow, 'y', none, answered)), none)
  await known((answered) => one.addReputation(terms, 'x', { good: 1000, bad: 8 }, answered))
  await pass(1000)
  const faded = await known<{ good: number; bad: number }>((answered) => two.addReputation(terms, 'x', none, answered))
  assert.ok(faded.good <= 250 && faded.good > 10, JSON.stringify(faded))
  assert.ok(faded.bad <= 2 && faded.bad > 0.05, JSON.stringify(faded))
}

async function takesContentsOnce({ one, two, pass }: Store): Promise<void> {
  const take = (state: SharedState, ids: readonly string[]) =>
    known<ReadonlySet<string>>((answered) => state.takeContents(ids, answered)).then((taken) => [...taken])
  assert.deepEqual(await take(two, []), [])
  assert.deepEqual(await take(two, ['a', 'b']), [])
  assert.equal(await known((answered) => one.keepContents(['a', 'b', 'c'], 60_000, answered)), true)
  assert.deepEqual(await take(two, ['c', 'x', 'a', 'a']), ['c', 'a'])
  assert.deepEqual(await take(one, ['a', 'c']), [])
  const both = await Promise.all([take(one, ['b']), take(two, ['b'])])
  assert.deepEqual(both.flat(), ['b'])
  await known((answered) => one.keepContents(['d'], 50, answered))
  await pass(80)
  assert.deepEqual(await take(one, ['d']), [])
}

async function takesManyContents({ one, two }: Store): Promise<void> {
  const ids = Array.from({ length: 1201 }, (_, index) => `id ${index}`)
  await known((answered) => one.keepContents(ids, 60_000, answered))
  const others = ids.map((id) => `${id}?`)
  const taken = await known<ReadonlySet<string>>((answered) => two.takeContents([...others, ...ids], answered))
  assert.deepEqual([...taken], ids)
  assert.equal((await known<ReadonlySet<string>>((answered) => one.takeContents(ids, answered))).size, 0)
}

async function sharesHints({ one, two, pass }: Store): Promise<void> {
  const since = (state: SharedState, mark: number) => known<NotedHints>((answered) => state.hintsSince(mark, answered))
  const note = (state: SharedState, hints: readonly string[], ttlMs = 60_000) =>
    known((answered) => state.noteHints(hints, ttlMs, answered))
  assert.deepEqual(await since(two, 0), { names: [], mark: 0 })
  await note(one, ['a', 'b\r\n', ''])
  const first = await since(two, 0)
  assert.deepEqual([...first.names].sort(), ['a', 'b\r\n', ''].map(hintName).sort())
  assert.deepEqual(await since(two, first.mark), { names: [], mark: first.mark })
  await pass(2)
  await note(two, ['a'])
  assert.deepEqual((await since(one, first.mark)).names, [hintName('a')])
  const many = Array.from({ length: 1000 }, (_, index) => `hint ${index}`)
  await pass(2)
  await note(one, many)
  const heard = new Set<string>()
  let mark = 0
  for (let calls = 0; calls < 10; calls++) {
    const more = await since(two, mark)
    for (const name of more.names) heard.add(name)
    if (more.mark === mark) break
    mark = more.mark
  }
  assert.equal(heard.size, 1002 + 1)
}

/** What a peer could send in the hope of bending a key, a script or the protocol. */
export const hostileSubjects: readonly string[] = [
  ...['', ' ', ':', '::', '*', '?', '[a-z]', '\\', '}', '{', '{}', '}:rate:mail:x', 'qmq:{mail.example.com}:'],
  ...['__proto__', 'constructor', 'hasOwnProperty', 'toString', 'null', 'undefined', '0', '-1', 'NaN'],
  ...['\r\n', '\r\nFLUSHALL\r\n', '*1\r\n$8\r\nFLUSHALL\r\n', '\u0000', 'a\u0000', 'a', '\u00ff', '\u00c3\u00bf'],
  ...["'); redis.call('FLUSHALL') --", ']] .. KEYS[1]', '%s%n', '$(id)', '../../x', '\ud800', '\udfff', '\ufffd'],
  ...['x'.repeat(65_536), 'x'.repeat(65_535), `${'x'.repeat(65_535)}:`],
]

async function keepsSubjectsApart({ one, two }: Store): Promise<void> {
  const terms = { name: 'hostile', events: 1, perMs: 3_600_000 }
  for (const subject of hostileSubjects) {
    const verdicts = await Promise.all(
      [one, two].map((state) => known<{ allowed: boolean }>((answered) => state.takeRate(terms, subject, 1, answered))),
    )
    assert.equal(verdicts.filter(({ allowed }) => allowed).length, 1, JSON.stringify(subject.slice(0, 40)))
    const first = await known((answered) => one.takeSlot(slots, subject, subject, answered))
    assert.deepEqual(first, { taken: true, inUse: 1 }, JSON.stringify(subject.slice(0, 40)))
    const stage = await known<{ stage: string }>((answered) =>
      one.greylist(grey, { network: subject, sender: '', recipient: '' }, answered),
    )
    assert.equal(stage.stage, 'first')
    const fresh = { good: 0, bad: 1 }
    assert.deepEqual(
      await known((answered) => two.addReputation({ name: 'h', halfLifeMs: 3_600_000 }, subject, fresh, answered)),
      fresh,
    )
    assert.equal(await known((answered) => one.keepContents([subject], 60_000, answered)), true)
  }
  const taken = await known<ReadonlySet<string>>((answered) => two.takeContents(hostileSubjects, answered))
  assert.deepEqual([...taken], hostileSubjects)
  const shifted: readonly (readonly [string, string, string])[] = [
    ['a', 'b:c', 'd'],
    ['a:b', 'c', 'd'],
    ['a', 'b', 'c:d'],
    ['', 'a', 'b:c:d'],
    ['1:a', '', 'd'],
  ]
  for (const [network, sender, recipient] of shifted) {
    const { stage } = await known<{ stage: string }>((answered) =>
      one.greylist(grey, { network, sender, recipient }, answered),
    )
    assert.equal(stage, 'first', `${network} ${sender} ${recipient}`)
  }
  assert.equal(({} as Record<string, unknown>)['polluted'], undefined)
}

async function refusesNonsense({ one }: Store): Promise<void> {
  const never = () => assert.fail('answered')
  for (const name of ['', 'A', 'a:b', 'a}', 'a*', 'a\n', '-a', 'x'.repeat(41)]) {
    assert.throws(() => one.takeRate({ ...rate, name }, 'x', 1, never), /no name/, name)
  }
  for (const number of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
    assert.throws(() => one.takeRate({ ...rate, events: number }, 'x', 1, never), /of shared state/)
    assert.throws(() => one.takeRate({ ...rate, perMs: number }, 'x', 1, never), /of shared state/)
    assert.throws(() => one.takeRate(rate, 'x', number, never), /of shared state/)
    assert.throws(() => one.takeSlot({ ...slots, ttlMs: number }, 'x', 'h', never), /of shared state/)
    assert.throws(() => one.keepContents(['x'], number, never), /of shared state/)
  }
  assert.throws(() => one.greylist({ ...grey, retryMs: 1000 }, triplet, never), /no time after/)
  assert.throws(() => one.addReputation({ name: 'x', halfLifeMs: 10 }, 'x', { good: -1, bad: 0 }, never), /good/)
}

async function closes({ one }: Store): Promise<void> {
  one.close()
  one.freeSlot(slots, 'x', 'h')
  const answers = await Promise.all([
    answerOf((answered) => one.takeRate(rate, 'x', 1, answered)),
    answerOf((answered) => one.takeSlot(slots, 'x', 'h', answered)),
    answerOf((answered) => one.keepSlot(slots, 'x', 'h', answered)),
    answerOf((answered) => one.greylist(grey, triplet, answered)),
    answerOf((answered) => one.addReputation({ name: 'x', halfLifeMs: 10 }, 'x', { good: 1, bad: 0 }, answered)),
    answerOf((answered) => one.keepContents(['x'], 1, answered)),
    answerOf((answered) => one.takeContents(['x'], answered)),
    answerOf((answered) => one.noteHints(['x'], 1, answered)),
    answerOf((answered) => one.hintsSince(0, answered)),
  ])
  for (const answer of answers) assert.deepEqual(answer, { kind: 'gone', why: 'closed' })
}
