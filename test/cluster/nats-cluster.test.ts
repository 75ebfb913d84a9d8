/** A real cluster on three nats-servers that die, forget, freeze and lie; `node test/cluster/main.ts` does it for longer. */

import assert from 'node:assert/strict'
import { it } from 'node:test'
import { natsPrograms } from '../support/nats-server.ts'
import { NetworkHosts } from '../support/network-hosts.ts'
import { haveTools } from '../support/tools.ts'
import { runDeeds } from './nats-run.ts'

it(`mail is carried while servers and tiers are parted, ${natsPrograms()[0]?.name}`, async (t) => {
  if (!(await haveTools(t, ['ip']))) return
  const { lost, wrong, balanced, accepted, unexplained } = await runDeeds(
    t,
    natsPrograms()[0]?.path ?? '',
    ['pull-each', 'cut-off-tiers'],
    (text) => t.diagnostic(text),
    { hosts: NetworkHosts.make(t, 3) },
  )
  assert.deepEqual({ lost, wrong, balanced, unexplained }, { lost: [], wrong: [], balanced: true, unexplained: [] })
  assert.ok(accepted >= 50)
})

const last = natsPrograms().at(-1)

it(`mail is carried, and orders stand, through a power cut of three servers, ${last?.name}`, async (t) => {
  if (!(await haveTools(t, ['mkfs.ext4']))) return
  const { lost, wrong, balanced, accepted, unexplained, cures } = await runDeeds(
    t,
    last?.path ?? '',
    ['power-cut-older'],
    (text) => t.diagnostic(text),
  )
  assert.deepEqual(
    { lost, wrong, balanced, unexplained, cures },
    { lost: [], wrong: [], balanced: true, unexplained: [], cures: 0 },
  )
  assert.ok(accepted >= 20)
})

it(`mail is carried through the troubles of three servers, ${last?.name}`, async (t) => {
  const { lost, wrong, balanced, accepted, unexplained } = await runDeeds(
    t,
    last?.path ?? '',
    ['kill-all', 'wipe-all', 'without-quorum'],
    (text) => t.diagnostic(text),
  )
  assert.deepEqual({ lost, wrong, balanced, unexplained }, { lost: [], wrong: [], balanced: true, unexplained: [] })
  assert.ok(accepted >= 40)
})
