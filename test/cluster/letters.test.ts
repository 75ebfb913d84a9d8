/** The outside view can see a loss, second copies and a wrong reply: each is planted here once. */

import assert from 'node:assert/strict'
import { mkdirSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { MailSink } from '../support/mail-sink.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { Letters } from './letters.ts'

test('a letter that was thrown away, those that came twice, and a refusal for good are told', async (t) => {
  const state = temporaryDirectory(t)
  const box = join(state, 'mailboxes/example.com/box/new')
  mkdirSync(box, { recursive: true })
  const write = (name: string, data: Buffer, atMs: number) => {
    writeFileSync(join(box, name), data)
    utimesSync(join(box, name), atMs / 1000, atMs / 1000)
  }
  const beganMs = Date.now()
  let number = 0
  const sink = await MailSink.start({
    refuse: () => (number === 4 && ++number > 0 ? '550 5.1.1 no such user' : undefined),
    received: ({ data }) => {
      number++
      if (number === 3) write(`${number}-again`, data, beganMs - 58_000)
      if (number === 6) write(`${number}-again`, data, beganMs + 60_000)
      if (number !== 2) write(`${number}`, data, number === 6 ? beganMs : beganMs - 60_000)
    },
  })
  t.after(() => sink.close())
  const letters = new Letters(sink.port, state)
  await letters.take(5)
  letters.tiersDied()
  const verdict = await letters.end(1)
  assert.deepEqual(verdict.lost, [2])
  assert.deepEqual(verdict.unexplained, ['letter 3: 2000 ms after the copy before'])
  assert.equal(verdict.explained.length, 1)
  assert.match(verdict.explained[0] ?? '', /^letter 6: 60000 ms after the copy before, tiers died \d+ ms after it$/)
  assert.deepEqual(verdict.wrong, ['550 5.1.1 no such user'])
})
