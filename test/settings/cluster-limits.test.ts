/** `cluster-limits` in conf-qmq: what is read, and faults with their places. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { writeProblem } from '../../services/settings/conf-problem.ts'
import { readConf } from '../../services/settings/conf-qmq.ts'
import { readLayout } from '../../services/settings/layout-record.ts'
import { layoutOf } from '../support/shipped-layout.ts'

const frame = `version: 1
cluster: mail.example.com
edge: { listen: { smtp: 2525 } }
pools:
  INTERNAL: { ids: 00, role: internal, domains: [example.com] }
  BOUNCES: { ids: 90, role: bounce }
cluster-limits:
  `

test('limits of the cluster come out in the layout', () => {
  const layout = layoutOf(`${frame}Gmail.com: { concurrency: 50, rate: 100/s }\n  192.0.2.1: { rate: 600/m }\n`)
  assert.deepEqual(layout.clusterLimits, [
    { destination: 'gmail.com', concurrency: 50, rate: { events: 100, perMs: 1000 } },
    { destination: '192.0.2.1', rate: { events: 600, perMs: 60_000 } },
  ])
  const reading = readLayout(JSON.parse(JSON.stringify(layout)))
  assert.ok(reading.ok)
  assert.deepEqual(reading.layout, layout)
  const twice = readLayout({ ...layout, clusterLimits: [...layout.clusterLimits!, layout.clusterLimits![0]] })
  assert.deepEqual(twice, { ok: false, why: 'the layout limits gmail.com twice' })
})

test('a fault has its place and says what to write', () => {
  const rows: readonly (readonly [string, string, RegExp])[] = [
    ['gmail.com: {}', '8:3', /this limits nothing; add concurrency: or rate:/],
    ['gmail.com: { rate: 100 }', '8:22', /100 is not a rate; write a count and one of \/s/],
    ['gmail.com: { rate: 0/s }', '8:22', /0\/s is not a rate/],
    ['gmail.com: { concurrency: 0 }', '8:29', /0 is not between 1 and/],
    ['gmail.com: { concurency: 1 }', '8:16', /concurency is not known .*; did you mean concurrency\?/],
    ['"a b": { concurrency: 1 }', '8:3', /a b is not a host name|is not/],
    ['A.example: { rate: 1/h }\n  a.example: { rate: 1/h }', '9:3', /a\.example is written twice/],
  ]
  for (const [text, place, words] of rows) {
    const reading = readConf(`${frame}${text}\n`)
    assert.equal(reading.ok, false, text)
    const told = reading.ok ? '' : reading.problems.map(writeProblem).join('\n')
    assert.match(told, words, text)
    assert.ok(told.startsWith(`conf-qmq:${place}:`), told)
  }
})
