/** How an amount is divided, and what the keeper's book grants when. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { type Ceiling, ceilingsOf, sharersOf, shareTerms } from '../../../services/contract/share.ts'
import { divide } from '../../../services/control/limits/division.ts'
import { ShareBook } from '../../../services/control/limits/shares.ts'
import { layoutOf, shippedConf } from '../../support/shipped-layout.ts'

describe('an amount divided', () => {
  it('goes by want, at least one each, by largest remainder', () => {
    const rows: readonly (readonly [number, readonly number[], readonly number[]])[] = [
      [10, [], []],
      [10, [0, 0], [5, 5]],
      [10, [3, 4], [5, 5]],
      [11, [3, 4], [5, 6]],
      [10, [10, 10], [5, 5]],
      [10, [30, 10], [7, 3]],
      [10, [1000, 1, 1], [8, 1, 1]],
      [10, [1000, 0, 0], [10, 0, 0]],
      [2, [5, 5, 5], [1, 1, 0]],
      [0, [5, 5], [0, 0]],
    ]
    for (const [amount, wants, parts] of rows) assert.deepEqual(divide(amount, wants), parts, `${amount} ${wants}`)
  })

  it('is never more than there is, and all of it where it is wanted', () => {
    const wants = fc.array(fc.nat({ max: 1000 }), { maxLength: 100 })
    fc.assert(
      fc.property(fc.nat({ max: 5000 }), wants, (amount, all) => {
        const parts = divide(amount, all)
        const given = parts.reduce((total, part) => total + part, 0)
        assert.equal(given, all.length === 0 ? 0 : amount)
        assert.ok(parts.every((part) => Number.isSafeInteger(part) && part >= 0))
      }),
    )
  })
})

const ceiling: Ceiling = { name: 'c', amount: 100, floor: 20 }
const sharers = ['00', '01', '02']

function bookAt(
  openAt = 0,
): (
  instance: string,
  wanted: number,
  now: number,
  more?: { last?: string; held?: number },
) => { grant: string; amount: number } | undefined {
  const book = new ShareBook(shareTerms, 'x', openAt)
  return (instance, wanted, now, { last, held = 0 } = {}) => {
    const ask = { instance, ...(last === undefined ? {} : { last }), wants: [{ ceiling: 'c', wanted, held }] }
    const granted = book.answer(ask, [ceiling], sharers, now)
    return granted === undefined ? undefined : { grant: granted.grant, amount: granted.shares['c'] ?? 0 }
  }
}

describe('the book of shares', () => {
  it('gives nothing before it opens, nor to a stranger', () => {
    const ask = bookAt(10_000)
    assert.equal(ask('00', 100, 9999), undefined)
    assert.equal(ask('77', 100, 10_000), undefined)
    assert.equal(ask('00', 100, 10_000)?.amount, 60)
  })

  it('keeps the floors of those it has not heard from, and lends those of the quiet', () => {
    const ask = bookAt()
    const first = ask('01', 0, 0)
    assert.equal(ask('00', 100, 100)?.amount, 100 - 20 - (first?.amount ?? 0))
    const second = ask('01', 0, 2000, { last: first?.grant ?? '' })
    const third = ask('01', 0, 4000, { last: second?.grant ?? '' })
    assert.equal(third?.amount, 0)
    const fourth = ask('01', 0, 6000, { last: third?.grant ?? '' })
    assert.equal(ask('00', 100, 6100)?.amount, 80)
    // Confirmed at 4000 and never again: before it can be at its floor once more, nothing of it is lent.
    const { knownQuietMs, lifeMs } = shareTerms
    assert.equal(ask('00', 100, 4000 + knownQuietMs - lifeMs)?.amount, 80)
    assert.equal(ask('00', 100, 4001 + knownQuietMs - lifeMs)?.amount, 60)
    assert.equal(fourth?.amount, 0)
  })

  it('counts a grant until it has expired or was replaced, and what is held until it is not', () => {
    const ask = bookAt()
    const all = ask('00', 100, 0)
    assert.equal(all?.amount, 60)
    assert.equal(ask('01', 100, 1000)?.amount, 20)
    const less = ask('00', 10, 2000)
    assert.equal(ask('01', 100, 3000)?.amount, 20)
    ask('00', 10, 4000, { last: less?.grant ?? '', held: 50 })
    assert.equal(ask('01', 100, 5000)?.amount, 30)
    ask('00', 10, 6000, { last: less?.grant ?? '', held: 0 })
    assert.equal(ask('01', 100, 7000)?.amount, 100 - 20 - (less?.amount ?? 0))
  })
})

describe('the ceilings of a layout', () => {
  it('have floors over all ids that pools keep, which scaling does not change', () => {
    const conf = `${shippedConf}\ncluster-limits:\n  gmail.com: { concurrency: 60, rate: "600/m" }\n`
    const two = layoutOf(conf)
    const nine = layoutOf(conf.replace('count: 2', 'count: 9'))
    // 00, 01-09, 80 and 99; the bounce pool is not limited.
    const wanted = [
      { name: 'concurrency gmail.com', amount: 60, floor: 5 },
      { name: 'rate gmail.com', amount: 600, floor: 50 },
    ]
    assert.deepEqual(ceilingsOf(two), wanted)
    assert.deepEqual(ceilingsOf(nine), wanted)
    assert.deepEqual(sharersOf(two), ['00', '01', '02', '80', '99'])
    for (const { amount, floor } of ceilingsOf(nine)) assert.ok(floor * sharersOf(nine).length <= amount)
  })
})
