/** The short form of `npm run crash`: kills and real power cuts under load, and the proof that a cut really cuts. */

import assert from 'node:assert/strict'
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Child } from '../support/child.ts'
import { PowerCutDisk } from '../support/power-cut-disk.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { killProcesses } from './kills.ts'
import { cutPower } from './power-cuts.ts'
import type { CrashOptions, CrashReport } from './world.ts'

const timeout = 300_000
const kills = 22
const cuts = 5

function optionsFor(context: TestContext): CrashOptions {
  const directory = temporaryDirectory(context, 'qmq-crash')
  return { directory, state: join(directory, 'state'), seed: 7, note: (text) => context.diagnostic(text) }
}

function mustHold(context: TestContext, report: CrashReport): void {
  const { verdict } = report
  context.diagnostic(`${verdict.sent} sent, ${verdict.acked} acknowledged, ${verdict.duplicates} duplicates`)
  assert.deepEqual(verdict.lost, [], 'lost')
  assert.deepEqual(verdict.damaged, [], 'damaged')
  assert.deepEqual(verdict.stray, [], 'stray')
  assert.deepEqual(verdict.unexplained, [], 'duplicates outside the window')
  assert.ok(report.balanced, `audit: ${JSON.stringify(report.audit)}`)
  assert.ok(verdict.acked > report.incidents, `only ${verdict.acked} acknowledged: there was no load to speak of`)
}

test('SIGKILL of every process in turn loses nothing that was acknowledged', { timeout }, async (context) => {
  const report = await killProcesses(optionsFor(context), kills)
  assert.equal(report.incidents, kills)
  mustHold(context, report)
})

test('a cut disk keeps what was fsynced and nothing else', { timeout }, async (context) => {
  if (process.getuid?.() !== 0) return context.skip('mounting a file system needs root')
  const disk = await PowerCutDisk.make()
  try {
    const copyOfMounts = new Child('unshare', ['--mount', '--propagation', 'slave', 'sleep', '60'])
    context.after(async () => {
      await copyOfMounts.stop('SIGKILL')
    })
    const write = (name: string, durable: boolean): void => {
      const file = openSync(join(disk.mountPoint, name), 'w')
      writeSync(file, 'kept')
      if (durable) fsyncSync(file)
      closeSync(file)
    }
    write('synced', true)
    write('unsynced', false)
    await disk.cut()
    assert.throws(() => write('after', true))
    await disk.powerOn()
    assert.equal(readFileSync(join(disk.mountPoint, 'synced'), 'latin1'), 'kept')
    const unsynced = join(disk.mountPoint, 'unsynced')
    assert.ok(!existsSync(unsynced) || readFileSync(unsynced, 'latin1') === '', 'the cut lost nothing: it was no cut')
  } finally {
    await disk.destroy()
  }
})

test('power cuts lose nothing that was acknowledged', { timeout }, async (context) => {
  if (process.getuid?.() !== 0) return context.skip('mounting a file system needs root')
  const report = await cutPower(optionsFor(context), cuts)
  assert.equal(report.incidents, cuts)
  mustHold(context, report)
})
