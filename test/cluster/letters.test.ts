/** The outside view can see a loss, a second copy and a wrong reply: each is planted here once. */

import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { MailSink } from '../support/mail-sink.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { Letters } from './letters.ts'

test('a letter that was thrown away, one that came twice, and a refusal for good are told', async (t) => {
  const state = temporaryDirectory(t)
  const box = join(state, 'mailboxes/example.com/box/new')
  mkdirSync(box, { recursive: true })
  let number = 0
  const sink = await MailSink.start({
    refuse: () => (number === 4 && ++number > 0 ? '550 5.1.1 no such user' : undefined),
    received: ({ data }) => {
      number++
      if (number !== 2) writeFileSync(join(box, `${number}`), data)
      if (number === 3) writeFileSync(join(box, `${number}-again`), data)
    },
  })
  t.after(() => sink.close())
  const letters = new Letters(sink.port, state)
  await letters.take(5)
  const verdict = await letters.end(1)
  assert.deepEqual(verdict.lost, [2])
  assert.equal(verdict.duplicates, 1)
  assert.deepEqual(verdict.wrong, ['550 5.1.1 no such user'])
})
