import assert from 'node:assert/strict'
import { it } from 'node:test'
import { mailDate } from '../../services/protocol/mail-date.ts'

it('writes dates as qmail does', () => {
  assert.equal(mailDate(0), '1 Jan 1970 00:00:00 -0000')
  assert.equal(mailDate(1795404359999), '23 Nov 2026 03:25:59 -0000')
  assert.throws(() => mailDate(Number.NaN))
})
