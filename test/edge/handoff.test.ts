import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Handoff, type HandoffAnswer, type HandoffStep, type InstanceChooser } from '../../services/edge/handoff.ts'

const K: HandoffAnswer = { letter: 'K', text: 'ok' }
const Z: HandoffAnswer = { letter: 'Z', text: 'disk full (#4.3.1)' }
const D: HandoffAnswer = { letter: 'D', text: 'no (#5.1.1)' }

const pools: Readonly<Record<string, readonly string[]>> = { A: ['01', '02'], B: ['05'], BACKUP: ['99'] }
const chooser: InstanceChooser = { choose: (pool, tried) => pools[pool]?.find((id) => !tried.includes(id)) }
const retryMs = 1000

function handoff(...packages: readonly [pool: string, recipientCount: number][]): Handoff {
  const plans = packages.map(([pool, recipientCount]) => ({ pool, recipientCount }))
  return new Handoff(plans, chooser, 'BACKUP', retryMs)
}

function offered(step: HandoffStep): string {
  assert.equal(step.kind, 'offer')
  return (step as { instance: string }).instance
}

function verdict(step: HandoffStep): string {
  assert.equal(step.kind, 'finish')
  const { verdict: end } = step as HandoffStep & { kind: 'finish' }
  if (end.kind === 'accepted') return 'accepted'
  return `${end.class} ${end.text} [${end.committed.map((one) => `${one.package}.${one.recipient}`)}]`
}

describe('handing over one package', () => {
  it('ends in 250 with a K for every recipient', () => {
    const one = handoff(['A', 2])
    assert.equal(offered(one.place(0)), '01')
    assert.equal(verdict(one.answered(0, [K, K], 0)), 'accepted')
  })

  it('goes to the next instance, then to the backup, then ends, where nothing was sent', () => {
    const one = handoff(['A', 1])
    one.place(0)
    assert.equal(offered(one.notSent(0, 0, 'refused')), '02')
    assert.equal(offered(one.notSent(0, 0, 'refused')), '99')
    assert.equal(verdict(one.notSent(0, 0, 'connection refused')), 'temporary connection refused []')
  })

  it('does so after Z too, and says why', () => {
    const one = handoff(['A', 2])
    one.place(0)
    assert.equal(offered(one.answered(0, [Z, Z], 0)), '02')
    assert.equal(offered(one.answered(0, [Z, D], 0)), '99')
    assert.equal(verdict(one.answered(0, [Z, Z], 0)), 'temporary disk full (#4.3.1) []')
  })

  it('asks only the same instance once the outcome is unclear, whatever it says, until K', () => {
    const one = handoff(['A', 1])
    one.place(0)
    const steps = [
      one.unclear(0, 100),
      one.notSent(0, 200, 'not connected'),
      one.answered(0, [Z], 300),
      one.unclear(0, 400),
    ]
    for (const step of steps) {
      assert.equal(step.kind, 'offer-later')
      assert.equal((step as { instance: string }).instance, '01')
    }
    assert.equal(verdict(one.answered(0, [K], 500)), 'accepted')
  })

  it('ends in 451 when it stays unclear for too long', () => {
    for (const last of ['unclear', 'not-sent', 'Z']) {
      const one = handoff(['A', 1])
      one.place(0)
      one.unclear(0, 100)
      assert.equal(one.notSent(0, 99 + retryMs, '').kind, 'offer-later')
      const now = 100 + retryMs
      const step =
        last === 'unclear' ? one.unclear(0, now) : last === 'Z' ? one.answered(0, [Z], now) : one.notSent(0, now, '')
      assert.equal(verdict(step), 'temporary the outcome of the hand-over is not known []')
    }
  })

  it('never waits past the time it has left', () => {
    const one = handoff(['A', 1])
    one.place(0)
    one.unclear(0, 0)
    const step = one.unclear(0, retryMs - 3)
    assert.equal(step.kind === 'offer-later' && step.afterMs, 3)
  })

  it('refuses for good only where every recipient was refused', () => {
    const one = handoff(['A', 2])
    one.place(0)
    assert.equal(verdict(one.answered(0, [D, D], 0)), 'permanent no (#5.1.1) []')
    const unclear = handoff(['A', 1])
    unclear.place(0)
    unclear.unclear(0, 0)
    assert.equal(verdict(unclear.answered(0, [D], 1)), 'permanent no (#5.1.1) []')
  })

  it('is settled by any K, and names what was committed', () => {
    for (const [answers, text] of [
      [[K, Z, D], 'disk full (#4.3.1)'],
      [[K, D, D], 'no (#5.1.1)'],
    ] as const) {
      const one = handoff(['A', 3])
      one.place(0)
      assert.equal(verdict(one.answered(0, answers, 0)), `temporary ${text} [0.0]`)
    }
  })

  it('takes no answer twice and none of the wrong number', () => {
    const one = handoff(['A', 1])
    assert.throws(() => one.answered(0, [K], 0))
    one.place(0)
    assert.throws(() => one.answered(0, [K, K], 0))
    assert.throws(() => one.place(0))
    one.answered(0, [K], 0)
    assert.throws(() => one.answered(0, [K], 0))
    assert.throws(() => one.unclear(0, 0))
  })
})

describe('handing over several packages', () => {
  it('waits for all of them', () => {
    const both = handoff(['A', 1], ['B', 1])
    assert.equal(offered(both.place(0)), '01')
    assert.equal(offered(both.place(1)), '05')
    assert.equal(both.answered(1, [K], 0).kind, 'wait')
    assert.equal(verdict(both.answered(0, [K], 0)), 'accepted')
  })

  const mixed: readonly [a: readonly HandoffAnswer[], b: readonly HandoffAnswer[], end: string][] = [
    [[K, K], [D], 'temporary no (#5.1.1) [0.0,0.1]'],
    [[D, D], [K], 'temporary no (#5.1.1) [1.0]'],
    [[D, D], [D], 'permanent no (#5.1.1) []'],
    [[K, D], [D], 'temporary no (#5.1.1) [0.0]'],
  ]
  for (const [a, b, end] of mixed) {
    it(`ends ${end}`, () => {
      const both = handoff(['A', 2], ['B', 1])
      both.place(0)
      both.place(1)
      both.answered(0, a, 0)
      assert.equal(verdict(both.answered(1, b, 0)), end)
    })
  }

  it('is temporary where one could not be placed, whatever the others say', () => {
    for (const [answer, end] of [
      [D, 'temporary full []'],
      [K, 'temporary full [0.0]'],
    ] as const) {
      const both = handoff(['A', 1], ['B', 1])
      both.place(0)
      both.place(1)
      assert.equal(both.answered(0, [answer], 0).kind, 'wait')
      both.notSent(1, 0, 'full')
      assert.equal(verdict(both.notSent(1, 0, 'full')), end)
    }
  })

  it('settles a pool that has no instance at once', () => {
    const none = new Handoff([{ pool: 'C', recipientCount: 1 }], chooser, undefined, retryMs)
    assert.match(verdict(none.place(0)), /^temporary no queue instance/)
  })
})
