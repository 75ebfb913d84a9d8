/** What a tier's process does around its mail, with a tier that does nothing: answers while it starts, a home that is full. */

import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { type TestContext, test } from 'node:test'
import { planState, writeState } from '../../services/cli/prepare-state.ts'
import type { Context } from '../../services/cli/verb.ts'
import type { Layout } from '../../services/contract/layout.ts'
import { EmbeddedCoordination } from '../../services/runtime/embedded-coordination.ts'
import { EmbeddedHub } from '../../services/runtime/embedded-hub.ts'
import { childChannel } from '../../services/runtime/embedded-ipc.ts'
import { openSigner } from '../../services/runtime/signature.ts'
import { signLayout } from '../../services/runtime/signed-layout.ts'
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

interface Started {
  readonly child: ChildProcess
  readonly context: Context
  readonly layout: Layout
  readonly hub: EmbeddedHub
  readonly go: string
  readonly log: () => string
}

/** The program above in a state of its own; `prepare` may spoil the home before it starts. */
async function start(t: TestContext, prepare: (home: string) => void): Promise<Started> {
  const directory = temporaryDirectory(t)
  const context = contextIn(path.join(directory, 'state'))
  const conf = confOf(clusterConf({ smtp: 2525, submission: 2587, smtps: 2465, base: 21_000 }, { deliver: 'hold' }))
  const plan = await planState(context, conf)
  await writeState(context, plan)
  prepare(path.join(context.state, 'instances/00'))
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
  return { child, context, layout: plan.layout, hub, go, log: () => log }
}

async function untilLogged(started: Started, words: RegExp): Promise<void> {
  for (let tries = 0; !words.test(started.log()) && tries < 3000; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  assert.match(started.log(), words)
}

test('a tier answers nothing out of half a start, and starts where its copy of the layout cannot be kept', async (t) => {
  const started = await start(t, (home) => fs.mkdirSync(path.join(home, 'layout.json/in-the-way'), { recursive: true }))
  const { child, context, hub, go } = started
  const copy = path.join(context.state, 'instances/00/layout.json')
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
  await untilLogged(started, /"msg":"ready"/)
  assert.deepEqual(await ask('audit'), { kind: 'reply', value: 'whole' })
  const kept =
    started
      .log()
      .split('\n')
      .find((line) => line.includes('layout not kept')) ?? '{}'
  assert.equal(JSON.parse(kept).level, 'warn')
  assert.ok(JSON.parse(kept).error.startsWith(`${copy} cannot be written: `))
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  assert.equal(await ended, 0)
})

test('a home that another host owns is waited for, and left alone meanwhile', async (t) => {
  const record = (released: boolean) =>
    `${JSON.stringify({ host: 'elsewhere/other/1', beat: 1, released }).padEnd(511)}\n`
  let owner = ''
  const started = await start(t, (home) => {
    owner = path.join(home, 'owner/0000000007')
    fs.mkdirSync(path.dirname(owner))
    fs.writeFileSync(owner, record(false))
  })
  fs.writeFileSync(started.go, '')
  await untilLogged(
    started,
    /elsewhere\/other\/1 owns it for at most 33 s more","msg":"home is owned elsewhere, waiting"/,
  )
  assert.doesNotMatch(started.log(), /"msg":"ready"/)
  assert.equal(fs.readFileSync(owner, 'utf8'), record(false))
  fs.writeFileSync(owner, record(true))
  await untilLogged(started, /"msg":"ready"/)
  assert.doesNotMatch(fs.readFileSync(owner, 'utf8'), /elsewhere/)
  const ended = new Promise((resolve) => started.child.once('exit', resolve))
  started.child.kill('SIGTERM')
  assert.equal(await ended, 0)
  assert.match(fs.readFileSync(owner, 'utf8'), /"released":true/)
})

test('a tier takes a layout that goes forward, and none of a leader who leads no more', async (t) => {
  const started = await start(t, () => {})
  fs.writeFileSync(started.go, '')
  await untilLogged(started, /"msg":"ready"/)
  const { disk } = started.context.world
  const signer = await openSigner(disk, started.context.state)
  const put = (epoch: number, fence: number) =>
    started.hub.store.put('layout', signLayout(signer, { ...started.layout, epoch, fence }))
  put(2, 9)
  await untilLogged(started, /layout applied","epoch":2|"epoch":2[^\n]*layout applied/)
  put(3, 8)
  await untilLogged(started, /epoch 3 has the fencing number 8, lower than 9: its writer led no more/)
  const kept = JSON.parse(fs.readFileSync(path.join(started.context.state, 'instances/00/layout.json'), 'utf8'))
  assert.deepEqual([kept.epoch, kept.fence], [2, 9])
  put(4, 9)
  await untilLogged(started, /"epoch":4/)
})
