/** A command that looks for a running cluster tells three things apart: none, one that does not want it, one that is silent. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { test } from 'node:test'
import { ClusterClient } from '../../services/cli/cluster-client.ts'
import { planState, writeState } from '../../services/cli/prepare-state.ts'
import { EmbeddedHub } from '../../services/runtime/embedded-hub.ts'
import { listenForClients } from '../../services/runtime/embedded-socket.ts'
import { lockHome } from '../../services/runtime/home-lock.ts'
import { clusterConf } from '../support/cluster.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { confOf, contextIn, type KeptContext } from './command-context.ts'

const conf = confOf(clusterConf({ smtp: 2525, submission: 2587, smtps: 2465, base: 21_000 }, { deliver: 'hold' }))

async function hearIn(context: KeptContext) {
  const client = await ClusterClient.open(context)
  const heard = await client.states()
  const asked = await client.ask('00', 'audit', {})
  client.close()
  return { heard, asked }
}

test('none, silent, unwilling, and one that answers', async (t) => {
  const context = contextIn(path.join(temporaryDirectory(t), 'state'))
  await writeState(context, await planState(context, conf))
  const none = await hearIn(context)
  assert.deepEqual(none.heard, {
    kind: 'unheard',
    why: 'no `qmq up` is running on this state: start it, or name another cluster with --context',
  })
  assert.deepEqual(none.asked, { kind: 'no-responder' })
  const lock = lockHome(context.state)
  const why = `\`qmq up\` runs on this state as process ${process.pid}, but does not answer`
  assert.deepEqual((await hearIn(context)).heard, { kind: 'unheard', why })
  const file = path.join(context.state, 'qmq.sock')
  const other = net.createServer((socket) => socket.end('{"kind":"refused","why":"another version"}\n')).listen(file)
  const unwilling = await hearIn(context)
  other.close()
  assert.deepEqual(unwilling.heard, {
    kind: 'unheard',
    why: 'the running cluster refuses this command: another version',
  })
  assert.deepEqual(unwilling.asked, { kind: 'refused', why: 'another version' })
  fs.rmSync(file, { force: true })
  const hub = new EmbeddedHub(context.world.clock)
  hub.store.put('state/00', null)
  hub.store.put('state/01', { id: '01' })
  const listener = await listenForClients(file, (channel) => hub.attach(channel))
  const notes = ['00', '01'].map(
    (id) => `the record state/${id} is passed over: it is no ${id === '00' ? 'record' : 'state'}`,
  )
  assert.deepEqual(
    (await hearIn(context)).heard,
    { kind: 'heard', states: new Map(), notes },
    'nonsense is passed over',
  )
  hub.close()
  await listener.close()
  assert.equal(lock.kind, 'held')
  if (lock.kind === 'held') lock.release()
})
