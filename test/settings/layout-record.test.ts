/** The reader of compiled layouts: what the compiler wrote is read; anything else is refused with a reason, never thrown at. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DrainPlan, Layout } from '../../services/contract/layout.ts'
import { readLayout } from '../../services/settings/layout-record.ts'
import { shippedLayout } from '../support/shipped-layout.ts'

const plan: DrainPlan = {
  id: '01JDH5P3V8Q2X4Z6B7C8D9E0FG',
  pool: 'CUSTOMER_1',
  ...{ from: 2, to: 1, leaving: ['02'], targets: ['01'], state: 'running', force: false, keep: false },
  ...{ by: 'root', reason: '', startedAt: 1, cordonEpoch: 4 },
}

type Path = readonly (string | number)[]

function changed(path: Path, value: unknown): unknown {
  const copy = JSON.parse(JSON.stringify(shippedLayout(3)))
  let place = copy
  for (const step of path.slice(0, -1)) place = place[step]
  const last = path.at(-1)!
  if (value === undefined) delete place[last]
  else place[last] = value
  return copy
}

function why(json: unknown): string {
  const reading = readLayout(json)
  assert.equal(reading.ok, false, JSON.stringify(json)?.slice(0, 200))
  return reading.ok ? '' : reading.why
}

test('a compiled layout survives its way through JSON, and comes back frozen', () => {
  const layout = shippedLayout(3)
  const reading = readLayout(JSON.parse(JSON.stringify(layout)))
  assert.ok(reading.ok, reading.ok ? '' : reading.why)
  assert.deepEqual(reading.layout, layout)
  assert.ok(Object.isFrozen(reading.layout.instances[0]?.acceptFrom))
})

test('a damaged layout is refused and the reason says where', () => {
  const rows: [Path, unknown, RegExp][] = [
    [['version'], 1, /version 1, this program reads version 2/],
    [['version'], undefined, /version nothing/],
    [['epoch'], 0, /epoch/],
    [['epoch'], 1.5, /epoch/],
    [['cluster'], 'not a host', /cluster/],
    [['edges', 0, 'limits', 'hopsMax'], undefined, /edges\.0\.limits\.hopsMax/],
    [['edges', 0, 'limits', 'hopsMax'], '100', /edges\.0\.limits\.hopsMax/],
    [['edges', 0, 'limits', 'hopMax'], 100, /edges\.0\.limits/],
    [['edges', 0, 'relayFrom', 0], '10.0.0.1/8', /edges\.0\.relayFrom\.0/],
    [['edges', 0, 'home'], '../e1', /edges\.0\.home/],
    [['instances', 0, 'home'], '/var/qmq', /instances\.0\.home/],
    [['instances', 0, 'home'], 'instances/01', /two places with the home instances\/01/],
    [['instances', 0, 'id'], '01', /two places with the id 01/],
    [['instances', 0, 'number'], 7, /instance 00 of the layout says it is number 7/],
    [['instances', 0, 'port'], 20_901, /two instances of the layout listen on 127\.0\.0\.1:20901/],
    [['instances', 0, 'port'], 70_000, /instances\.0\.port/],
    [['instances', 0, 'pool'], 'NONE', /pool NONE, which is not there/],
    [['instances', 0, 'role'], 'bounce', /not there in that role/],
    [['instances', 0, 'extra'], 1, /instances\.0/],
    [['instances', 0, 'standing'], 'gone', /instances\.0\.standing/],
    [['plans'], [{ ...plan, targets: ['77'] }], /names instance 77, which is not there/],
    [['plans'], [{ ...plan, targets: ['02'] }], /hands instance 02 over to itself/],
    [['plans'], [plan, { ...plan, pool: 'INTERNAL' }], /two plans of the layout drain instance 02/],
    [['plans'], [plan, { ...plan, leaving: ['00'] }], /two plans for pool CUSTOMER_1/],
    [['routes', 0, 'pool'], 'NONE', /routes example\.com to NONE, which is no pool/],
    [['routes', 0, 'key'], '', /two routes for everything else/],
    [['pools', 1, 'name'], 'INTERNAL', /two pools of one name/],
    [['pools', 0, 'deliver'], { kind: 'smtp', host: 'a' }, /pools\.0\.deliver\.port/],
    [['pools', 0, 'deliver'], { kind: 'fax' }, /pools\.0\.deliver/],
    [['pools', 0, 'doubleBounceTo'], 'postmaster', /pools\.0\.doubleBounceTo/],
  ]
  for (const [path, value, words] of rows) assert.match(why(changed(path, value)), words, path.join('.'))
})

test('anything at all is answered, never thrown at', () => {
  for (const json of [undefined, null, 1, 'x', [], {}, { version: 1 }, new Map(), () => 1]) why(json)
  const paths: Path[] = []
  const collect = (value: unknown, path: Path): void => {
    if (path.length > 0) paths.push(path)
    if (typeof value !== 'object' || value === null) return
    for (const [key, inner] of Object.entries(value))
      collect(inner, [...path, Array.isArray(value) ? Number(key) : key])
  }
  collect(shippedLayout(1), [])
  assert.ok(paths.length > 100)
  fc.assert(
    fc.property(fc.constantFrom(...paths), fc.jsonValue(), (path, value) => {
      const reading = readLayout(changed(path, value))
      if (reading.ok) assert.ok((reading.layout satisfies Layout).pools.length > 0)
      else assert.ok(reading.why.length > 10)
    }),
    { numRuns: 500 },
  )
})
