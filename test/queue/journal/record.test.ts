/** Every record comes back as it was written, and the ones of earlier journals as they were meant. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { temporary } from '../../../services/protocol/failure.ts'
import type { RecipientState } from '../../../services/queue/journal/meta.ts'
import {
  type CarriedRecord,
  decodeRecord,
  encodeRecord,
  type JournalRecord,
  readHeader,
  sealRecord,
} from '../../../services/queue/journal/record.ts'

const failure = temporary('peer', '4.2.2', 'mailbox full', 452)
const pending: RecipientState = {
  address: 'a@example.com',
  status: 'pending',
  attempts: 3,
  dueAt: 1_767_225_700_000,
  failure,
  remote: 'smtp mx.example.net[192.0.2.1]:25',
  at: 1_767_225_600_000,
}
const failed: RecipientState = { ...pending, address: 'b@example.com', status: 'failed', attempts: 4 }
const standing = {
  number: 42,
  id: '01JDABCDEFGH0123456789ABCD-1',
  birthAt: 1_767_225_500_000,
  form: 'lf',
  sender: 's@example.com',
  recipients: [pending, failed],
} as const
const carried: CarriedRecord = { type: 'carried', ...standing, origin: undefined, held: undefined, offered: undefined }
const origin = { instance: '01', number: 7 }
const plan = '01JDABCDEFGH0123456789P2AN'
const offered = { target: '04', plan, at: 5 }

const records: readonly JournalRecord[] = [
  carried,
  { ...carried, origin },
  { ...carried, held: 'by the postmaster' },
  { ...carried, offered },
  { ...carried, origin, held: 'its body is damaged on disk', offered },
  { type: 'offered', number: 42, target: '04', plan, at: 1_767_225_600_000 },
  { type: 'offered', number: 42, target: '', plan, at: 1_767_225_600_000 },
  { type: 'taken', ...standing, held: undefined, origin, source: { instance: '03', number: 42 }, at: 9, plan },
  { type: 'taken', ...standing, held: 'why', origin, source: origin, at: 9, plan },
  { type: 'moved', number: 42, at: 11, target: '104', count: 50_000 },
]

function read(encoded: Buffer): JournalRecord {
  sealRecord(encoded, { segment: 1, salt: 77, batch: 1, recordsLeft: 0 })
  const header = readHeader(encoded, 0, 77)
  assert.ok(header)
  return decodeRecord(encoded, 0, header)
}

for (const record of records) {
  test(`record: ${JSON.stringify(record).slice(0, 60)}... comes back`, () => {
    assert.deepEqual(read(encodeRecord(record, 0, 0)), record)
  })
}

test('record: a plain carried record is written as earlier programs wrote it', () => {
  const earlier = encodeRecord(carried, 0, 0).length
  const states = 2 * (2 + 13 + 1 + 4 + 8 + 8 + (1 + 2 + 33 + 1 + 2 + 2 + 5 + 2 + 12))
  assert.equal(earlier, 32 + 8 + 8 + 1 + 1 + 28 + 2 + 13 + 4 + states)
})

test('record: no cutting of a meta is taken for a whole one', () => {
  for (const record of records) {
    const encoded = encodeRecord(record, 0, 0)
    for (let metaBytes = 0; metaBytes < encoded.length - 32; metaBytes++) {
      // A carried record may end before the fields that came later.
      if (record.type === 'carried' && metaBytes === encodeRecord(carried, 0, 0).length - 32) continue
      const header = { type: record.type, metaBytes, bodyBytes: 0, bodyCrc: 0, batch: 1, recordsLeft: 0, segment: 1 }
      assert.throws(() => decodeRecord(encoded, 0, header), RangeError, `${record.type} cut to ${metaBytes}`)
    }
  }
})
