/** Records of instances: what they write is read, whatever else stands there is passed over with a reason. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Json } from '../../services/contract/coordination.ts'
import { leaseRecord, readLeaseRecord } from '../../services/contract/lease.ts'
import type { InstanceState } from '../../services/contract/operations.ts'
import { readStateRecord, stateRecord } from '../../services/contract/state-record.ts'

const state: InstanceState = {
  ...{ id: '00', tier: 'queue', pool: 'INTERNAL', pid: 7, epoch: 3, phase: 'ready', startedAt: 1, at: 2 },
  listeners: [{ kind: 'qmtp', host: '127.0.0.1', port: 20_900 }],
  load: { queued: 0, inFlight: 0, acceptedPerSecond: 0, oldestAgeMs: 0 },
}

test('a state survives its way, and is believed only under its own key', () => {
  const value = JSON.parse(JSON.stringify(stateRecord(state))) as Json
  assert.deepEqual(readStateRecord({ key: 'state/00', value }), { ok: true, state })
  assert.equal(readStateRecord({ key: 'state/01', value }).ok, false)
})

test('each way to be wrong has its words', () => {
  const record = stateRecord(state) as { readonly [key: string]: Json }
  const rows: [Json, RegExp][] = [
    [null, /no record/],
    [[record], /no record/],
    [{ ...record, schema: 'qmq-lease' }, /no state/],
    [{ ...record, version: 2 }, /version 2, this program reads 1/],
    [{ ...record, version: undefined }, /version nothing/],
    [{ ...record, id: '01' }, /another instance/],
    [{ ...record, tier: 'bounce' }, /no tier/],
    [{ ...record, phase: 'well' }, /no phase/],
    [{ ...record, epoch: '3' }, /damaged/],
    [{ ...record, listeners: [null] }, /damaged/],
    [{ ...record, load: {} }, /damaged/],
  ]
  for (const [value, wanted] of rows) {
    const reading = readStateRecord({ key: 'state/00', value })
    assert.ok(!reading.ok && wanted.test(reading.why), JSON.stringify(value))
  }
})

test('nothing that is put there makes a reader throw', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(...Object.keys(stateRecord(state) as object)), (value, name) => {
      readStateRecord({ key: 'state/00', value: value as Json })
      readStateRecord({ key: 'state/00', value: { ...(stateRecord(state) as object), [name]: value } as Json })
      readLeaseRecord(value as Json)
    }),
  )
})

test('a lease is one only with its schema and its version', () => {
  const record = leaseRecord('control/host/1') as { readonly [key: string]: Json }
  assert.equal(readLeaseRecord(record)?.holder, 'control/host/1')
  for (const wrong of [{ schema: 'qmq-state' }, { version: 2 }, { holder: 1 }, { released: 'no' }]) {
    assert.equal(readLeaseRecord({ ...record, ...wrong }), undefined)
  }
})
