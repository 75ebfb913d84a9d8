/** What a tier's process does around its mail, with a tier that does nothing: answers while it starts, a home that is full. */

import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { planState, writeState } from '../../services/cli/prepare-state.ts'
import type { Json } from '../../services/contract/coordination.ts'
import { EmbeddedCoordination } from '../../services/runtime/embedded-coordination.ts'
import { EmbeddedHub } from '../../services/runtime/embedded-hub.ts'
import { childChannel } from '../../services/runtime/embedded-ipc.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'
import { confOf, contextIn } from '../cli/command-context.ts'
import { embeddedPair } from '../coordination/embedded-pair.ts'
import { clusterConf } from '../support/cluster.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const tierProcess = new URL('../../services/runtime/tier-process.ts', import.meta.url).href

/** A queue instance without a queue, whose start takes until a file is there. */
const program = `
  import { existsSync } from 'node:fs'
  const { runTierProcess } = await import(${JSON.stringify(tierProcess)})
  const load = { queued: 0, inFlight: 0, acceptedPerSecond: 0, oldestAgeMs: 0 }
  let phase = 'starting'
  const tier = {
    start: async () => {
      while (!existsSync(process.argv[3])) await new Promise((resolve) => setTimeout(resolve, 10))
      phase = 'ready'
    },
    stop: async () => {},
    apply: () => {},
    state: () => ({ phase, listeners: [], load }),
    operations: { audit: async () => 'whole' },
  }
  await runTierProcess({
    ...{ tier: 'queue', id: '00', state: process.argv[2], build: async () => tier },
    exit: (code) => process.exit(code),
  })
`

test('a tier answers nothing out of half a start, and starts where its copy of the layout cannot be kept', async (t) => {
  const directory = temporaryDirectory(t)
  const context = contextIn(path.join(directory, 'state'))
  const conf = confOf(clusterConf({ smtp: 2525, submission: 2587, smtps: 2465, base: 21_000 }, { deliver: 'hold' }))
  await writeState(context, await planState(context, conf))
  const copy = path.join(context.state, 'instances/00/layout.json')
  fs.mkdirSync(path.join(copy, 'in-the-way'), { recursive: true })
  const file = path.join(directory, 'tier.mjs')
  fs.writeFileSync(file, program)
  const hub = new EmbeddedHub(new SystemClock())
  const go = path.join(directory, 'go')
  const child = fork(file, [context.state, go], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
  t.after(() => child.kill('SIGKILL'))
  let log = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    log += text
  })
  hub.attach(childChannel(child))
  const dial = () => {
    const pair = embeddedPair()
    hub.attach(pair.hub)
    return pair.client
  }
  const asker = new EmbeddedCoordination({ clock: new SystemClock(), dial })
  const ask = async (operation: string) => {
    for (;;) {
      const result = await asker.request(`qmq.v1.00.${operation}`, {}, 5_000)
      if (result.kind !== 'no-responder') return result
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
  const status = await ask('status')
  assert.ok(status.kind === 'reply' && (status.value as { phase: string }).phase === 'starting')
  assert.deepEqual(await ask('audit'), { kind: 'refused', why: 'it is still replaying its journal' })
  fs.writeFileSync(go, '')
  for (let tries = 0; !/"msg":"ready"/.test(log) && tries < 500; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  assert.deepEqual(await ask('audit'), { kind: 'reply', value: 'whole' })
  const kept = log.split('\n').find((line) => line.includes('layout not kept')) ?? '{}'
  assert.equal(JSON.parse(kept).level, 'warn')
  assert.ok(JSON.parse(kept).error.startsWith(`${copy} cannot be written: `))
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  assert.equal(await ended, 0)
})

test('a tier takes a layout that goes forward, and none of a leader who leads no more', async (t) => {
  const directory = temporaryDirectory(t)
  const context = contextIn(path.join(directory, 'state'))
  const conf = confOf(clusterConf({ smtp: 2525, submission: 2587, smtps: 2465, base: 21_000 }, { deliver: 'hold' }))
  const plan = await planState(context, conf)
  await writeState(context, plan)
  const file = path.join(directory, 'tier.mjs')
  fs.writeFileSync(file, program)
  const hub = new EmbeddedHub(new SystemClock())
  const child = fork(file, [context.state, file], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
  t.after(() => child.kill('SIGKILL'))
  let log = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    log += text
  })
  hub.attach(childChannel(child))
  const said = async (words: RegExp) => {
    while (!words.test(log)) await new Promise((resolve) => setTimeout(resolve, 10))
  }
  await said(/"msg":"ready"/)
  const put = (epoch: number, fence: number) =>
    hub.store.put('layout', { ...plan.layout, epoch, fence } as unknown as Json)
  put(2, 9)
  await said(/layout applied","epoch":2|"epoch":2[^\n]*layout applied/)
  put(3, 8)
  await said(/fencing number 8 is lower than 9: whoever wrote epoch 3 leads no more/)
  const kept = JSON.parse(fs.readFileSync(path.join(context.state, 'instances/00/layout.json'), 'utf8'))
  assert.deepEqual([kept.epoch, kept.fence], [2, 9])
  put(4, 9)
  await said(/"epoch":4/)
})
