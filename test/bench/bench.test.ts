/** The benchmark's own instruments: the floor answers what it made durable, the client counts, the report divides right. */

import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Child } from '../support/child.ts'
import { usageBetween, usageOf } from '../support/process-tree.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import type { Sample } from './measure.ts'
import { qmtpLoad } from './qmtp.ts'
import { reportOf } from './report.ts'
import { median } from './statistics.ts'

const receiver = new URL('./floor-receiver.ts', import.meta.url).pathname

test('the floor appends every package whole and answers each once', async (context) => {
  const file = join(temporaryDirectory(context), 'floor.data')
  const floor = new Child(process.execPath, [receiver, file])
  context.after(async () => {
    await floor.stop()
  })
  const port = await floor.until(({ stdout }) => (stdout.endsWith('\n') ? Number(stdout) : undefined))
  const before = usageOf(floor.pid)
  const messages = 500
  const tookMs = await qmtpLoad({ port, connections: 3, window: 7, messages, bytes: 5000 })
  assert.ok(tookMs > 0)
  const { size } = statSync(file)
  assert.equal(size % messages, 0)
  assert.ok(size / messages > 5000 && size / messages < 5200, `${size / messages} bytes per package`)
  const used = usageBetween(before, usageOf(floor.pid))
  assert.ok(used.cpuMs > 0, 'the floor used processor time')
})

test('medians', () => {
  assert.equal(median([3, 1, 2]), 2)
  assert.equal(median([4, 1, 2, 3]), 2.5)
  assert.ok(Number.isNaN(median([])))
})

test('the report sets ours against the peer, by medians', () => {
  const sample = (subject: Sample['subject'], run: number, rate: number): Sample => {
    return { measure: 'accept', case: '10KiB', subject, run, figures: { messagesPerSecond: rate } }
  }
  const samples = [1, 2, 3].flatMap((run) => [sample('postfix', run, 1000 * run), sample('qmq', run, 9000 - run * 500)])
  const row = reportOf(samples)
    .split('\n')
    .find((line) => line.startsWith('10KiB'))
  assert.deepEqual(row?.trim().split(/ {2,}/), ['10KiB', 'messagesPerSecond', '2000', '-', '8000', '4', '3'])
})
