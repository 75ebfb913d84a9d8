/** Who is offered what, and what an answer means. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type AnswerKind,
  meaningOf,
  OfferBook,
  type Offering,
  rendezvous,
  type Turn,
} from '../../../services/queue/handover/offer-book.ts'

const limits = { windowMessages: 2, windowBytes: 1000, restMinMs: 100, restMaxMs: 800, againMs: 5000 }

function offering(number: number, given: Partial<Offering> = {}): Offering {
  return { number, id: `id-${number}`, bytes: 100, dueAt: number, bound: undefined, refusedBy: [], ...given }
}

function bookOf(targets: readonly string[], ...offerings: readonly Offering[]): OfferBook {
  const book = new OfferBook(limits)
  book.targets = targets
  for (const one of offerings) book.add(one)
  return book
}

/** Turns that can be taken now: number and target. */
function turns(book: OfferBook, now: number): [number, string][] {
  const taken: [number, string][] = []
  for (let turn = book.next(now); turn !== undefined; turn = book.next(now))
    taken.push([turn.offering.number, turn.target])
  return taken
}

test('offers: what each answer means, by whether every earlier offer was answered', () => {
  const answers: AnswerKind[] = ['taken', 'absent', 'refused', 'unclear']
  assert.deepEqual(
    answers.map((answer) => meaningOf(undefined, answer)),
    ['over', 'free', 'free', 'bound'],
  )
  assert.deepEqual(
    answers.map((answer) => meaningOf('04', answer)),
    ['over', 'free', 'bound', 'bound'],
  )
})

test('offers: an unclear one goes to the same target alone, until that one has said that it is not there', () => {
  const book = bookOf(['03', '04'], offering(1))
  const first = book.next(0)
  assert.ok(first)
  const other = first.target === '03' ? '04' : '03'
  let now = 0
  for (const answer of ['unclear', 'refused', 'unclear'] as const) {
    const turn: Turn | undefined = now === 0 ? first : book.next(now)
    assert.equal(turn?.target, first.target)
    assert.equal(book.answered(turn ?? first, answer, now), 'bound')
    book.add(first.offering)
    assert.equal(book.bound, 1)
    assert.equal(book.next(now), undefined, 'its target rests, and no other is asked')
    now = book.nextAt(now)
  }
  const last = book.next(now)
  assert.ok(last)
  assert.equal(book.answered(last, 'absent', now), 'free')
  book.add(last.offering)
  assert.deepEqual(turns(book, now), [[1, other]])
})

test('offers: a refused one goes to the next target, and round again after a while', () => {
  const book = bookOf(['03', '04'], offering(1))
  const asked: string[] = []
  for (const now of [0, 0, 5000]) {
    const turn = book.next(now)
    assert.ok(turn)
    asked.push(turn.target)
    book.answered(turn, 'refused', now)
    book.add(turn.offering)
    if (asked.length === 2) {
      assert.equal(book.next(now), undefined)
      assert.equal(book.nextAt(now), 5000)
    }
  }
  assert.deepEqual([new Set(asked.slice(0, 2)).size, asked[2]], [2, asked[0]])
})

test('offers: a target that refuses rests, longer each time, and is forgiven when it takes', () => {
  const book = bookOf(['03'], offering(1, { bound: '03' }))
  const rests: number[] = []
  let now = 0
  for (const answer of ['unclear', 'unclear', 'refused', 'unclear', 'unclear'] as const) {
    const turn = book.next(now)
    assert.ok(turn)
    book.answered(turn, answer, now)
    book.add(turn.offering)
    rests.push(book.nextAt(now) - now)
    now = book.nextAt(now)
  }
  assert.deepEqual(rests, [100, 200, 400, 800, 800])
  const turn = book.next(now)
  assert.ok(turn)
  book.answered(turn, 'taken', now)
  book.add(offering(2, { bound: '03' }))
  const again = book.next(now)
  assert.ok(again)
  book.answered(again, 'unclear', now)
  book.add(again.offering)
  assert.equal(book.nextAt(now) - now, 100)
})

test('offers: each target has its window of messages and bytes; one message larger than it goes alone', () => {
  const book = bookOf(['03'], offering(1), offering(2), offering(3))
  assert.deepEqual(turns(book, 0), [
    [1, '03'],
    [2, '03'],
  ])
  const large = bookOf(['03'], offering(1, { bytes: 5000 }), offering(2))
  assert.deepEqual(turns(large, 0), [[1, '03']])
  const bytes = bookOf(['03'], offering(1, { bytes: 600 }), offering(2, { bytes: 600 }))
  assert.deepEqual(turns(bytes, 0), [[1, '03']])
})

test('offers: what is due first goes first; a full target holds up no other', () => {
  const all = Array.from({ length: 50 }, (_, number) => offering(50 - number))
  const book = bookOf(['03', '04', '05'], ...all)
  const begun = turns(book, 0)
  assert.equal(begun.length, 6)
  for (const target of ['03', '04', '05']) assert.equal(begun.filter(([, one]) => one === target).length, 2)
  const firsts = begun.map(([number]) => number)
  assert.equal(Math.min(...firsts), 1)
})

test('offers: without targets only what is bound moves, and the rest can be taken out, wherever it waits', () => {
  const all = Array.from({ length: 9 }, (_, number) => offering(number))
  const book = bookOf(['03'], ...all)
  assert.equal(turns(book, 0).length, 2)
  book.add(offering(20, { bound: '04' }))
  book.targets = []
  assert.deepEqual(turns(book, 0), [[20, '04']])
  assert.deepEqual(
    book
      .takeFree()
      .map(({ number }) => number)
      .sort(),
    [2, 3, 4, 5, 6, 7, 8],
  )
  assert.equal(book.inFlight, 3)
})

test('rendezvous: every target gets its share, and keeps what it had when another one goes', () => {
  const targets = ['03', '04', '05', '06']
  const counts = new Map(targets.map((target) => [target, 0]))
  for (let number = 0; number < 4000; number++) {
    const id = `01JDABCDEFGH0123456789${number.toString(36).padStart(4, '0')}`
    const chosen = rendezvous(id, targets) ?? ''
    counts.set(chosen, (counts.get(chosen) ?? 0) + 1)
    if (chosen !== '06') assert.equal(rendezvous(id, targets.slice(0, 3)), chosen)
  }
  for (const [target, count] of counts) assert.ok(count > 850 && count < 1150, `${target} has ${count}`)
  assert.equal(rendezvous('id', []), undefined)
})
