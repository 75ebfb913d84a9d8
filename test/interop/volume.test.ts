/** The short form of `node test/interop/volume.ts`. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { haveTools } from '../support/tools.ts'
import { runVolume } from './volume.ts'

const messages = 1500
const refused = 60
const sample = 40

test('mixed sizes all arrive, a sample byte for byte; refusals become bounces', {
  timeout: 300_000,
}, async (context) => {
  if (!(await haveTools(context, ['smtp-source', 'smtp-sink', 'postfix']))) return
  const report = await runVolume({ messages, refused, sample, sessions: 20 })
  context.diagnostic(JSON.stringify(report))
  assert.equal(report.arrived, messages)
  assert.equal(report.exact, sample)
  assert.equal(report.bounces, refused)
  assert.equal(report.bouncesAstray, 0)
  assert.ok(report.balanced)
})
