/** What `qmq up` does with the record of the layout that it finds in the store, one row per record. */

import assert from 'node:assert/strict'
import path from 'node:path'
import { test } from 'node:test'
import { LayoutRelay } from '../../services/cli/layout-relay.ts'
import type { Json } from '../../services/contract/coordination.ts'
import type { Layout } from '../../services/contract/layout.ts'
import { EmbeddedCoordination } from '../../services/runtime/embedded-coordination.ts'
import { EmbeddedHub } from '../../services/runtime/embedded-hub.ts'
import {
  ensureClusterKey,
  openSigner,
  openVerifier,
  type Signer,
  type Verifier,
} from '../../services/runtime/signature.ts'
import { judgeLayout, signLayout } from '../../services/runtime/signed-layout.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'
import { SystemDisk } from '../../services/runtime/system-disk.ts'
import { embeddedPair } from '../coordination/embedded-pair.ts'
import { shippedLayout } from '../support/shipped-layout.ts'
import { type Cleanup, temporaryDirectory } from '../support/temporary-directory.ts'

const ours: Layout = { ...shippedLayout(5), fence: 10 }
const clock = new SystemClock()

interface Stage {
  readonly hub: EmbeddedHub
  readonly relay: LayoutRelay
  readonly followed: number[]
  readonly complaints: string[]
  readonly shared: EmbeddedCoordination
}

async function keys(t: Cleanup): Promise<{ readonly signer: Signer; readonly verifier: Verifier }> {
  const [disk, state] = [new SystemDisk(), path.join(temporaryDirectory(t), 'state')]
  await ensureClusterKey(disk, state)
  return { signer: await openSigner(disk, state), verifier: await openVerifier(disk, state) }
}

function stage({ signer, verifier }: { signer: Signer; verifier: Verifier }, signs = true): Stage {
  const hub = new EmbeddedHub(clock)
  const pair = embeddedPair()
  hub.attach(pair.hub)
  const shared = new EmbeddedCoordination({ clock, dial: () => pair.client })
  const [followed, complaints]: [number[], string[]] = [[], []]
  const relay = new LayoutRelay({
    shared,
    inForce: () => ours,
    sign: signs ? (layout) => signLayout(signer, layout) : undefined,
    judge: async (value) => judgeLayout(value, ours, [verifier]),
    follow: async (layout) => {
      followed.push(layout.epoch)
    },
    complain: (text) => complaints.push(text),
  })
  return { hub, relay, followed, complaints, shared }
}

test('ours is put where nothing is, or what was overtaken, or what no process of ours wrote; the rest is left', async (t) => {
  const [own, stranger] = [await keys(t), await keys(t)]
  const sign = (layout: Layout) => signLayout(own.signer, layout)
  const rows: [string, Json | undefined, 'ours' | 'left', number[], RegExp | undefined][] = [
    ['nothing', undefined, 'ours', [], undefined],
    ['the same', sign(ours), 'left', [], undefined],
    ['an older one', sign({ ...ours, epoch: 4 }), 'ours', [], undefined],
    ['no signature', ours as unknown as Json, 'ours', [], /not signed/],
    ['damage', { ...(sign(ours) as object), signature: 'AAAA' } as Json, 'ours', [], /changed after it was signed/],
    ['a newer one', sign({ ...ours, epoch: 6 }), 'left', [6], undefined],
    ['a stranger', signLayout(stranger.signer, { ...ours, epoch: 6 }), 'left', [], /none of ours/],
    ['a deposed leader', sign({ ...ours, epoch: 6, fence: 9 }), 'left', [], /led no more/],
    ['a rival', sign({ ...ours, fence: 11 }), 'left', [], /same epoch/],
    ['another cluster', sign({ ...ours, epoch: 6, cluster: 'a.example' }), 'left', [], /of the cluster a\.example/],
  ]
  for (const [what, before, wanted, followed, complaint] of rows) {
    const { hub, relay, ...seen } = stage(own)
    if (before !== undefined) hub.store.put('layout', before)
    for (let round = 0; round < 2; round++) await relay.settle()
    assert.deepEqual(hub.store.get('layout')?.value, wanted === 'ours' ? sign(ours) : before, what)
    assert.deepEqual([...new Set(seen.followed)], followed, what)
    assert.equal(seen.complaints.length, complaint === undefined ? 0 : 1, `${what}: ${seen.complaints.join('; ')}`)
    if (complaint !== undefined) assert.match(seen.complaints[0] ?? '', complaint)
    hub.close()
  }
})

test('a newer one that was told is followed, though a server that lags behind answers with what was there before', async (t) => {
  const own = await keys(t)
  const { hub, relay, followed, shared } = stage(own)
  hub.store.put('layout', signLayout(own.signer, ours))
  const before = await shared.get('layout')
  relay.start()
  await relay.settle()
  shared.get = async () => before
  hub.store.put('layout', signLayout(own.signer, { ...ours, epoch: 6 }))
  while (followed.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  assert.deepEqual(followed, [6])
  relay.stop()
  hub.close()
})

test('a store that is wiped or poisoned later is mended; a host without key follows and mends nothing', async (t) => {
  const own = await keys(t)
  const { hub, relay } = stage(own)
  relay.start()
  const until = async (wanted: Json) => {
    for (let tries = 0; JSON.stringify(hub.store.get('layout')?.value) !== JSON.stringify(wanted); tries++) {
      assert.ok(tries < 2_000, 'it was not mended')
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
  await until(signLayout(own.signer, ours))
  hub.store.delete('layout')
  await until(signLayout(own.signer, ours))
  hub.store.put('layout', { epoch: 99 })
  await until(signLayout(own.signer, ours))
  relay.stop()
  hub.close()
  const keyless = stage(own, false)
  await keyless.relay.settle()
  assert.equal(keyless.hub.store.get('layout'), undefined)
  assert.match(keyless.complaints[0] ?? '', /no key/)
  assert.deepEqual(await keyless.relay.offer({ ...ours, epoch: 6 }), { kind: 'conflict' })
  keyless.hub.close()
})

test('a layout is offered by compare-and-set: whoever is first has it', async (t) => {
  const own = await keys(t)
  const { hub, relay, shared } = stage(own)
  assert.equal((await relay.offer({ ...ours, epoch: 6 })).kind, 'written')
  const other = signLayout(own.signer, { ...ours, epoch: 7, fence: 12 })
  hub.store.put('layout', other)
  assert.deepEqual(await relay.offer({ ...ours, epoch: 8 }), { kind: 'conflict' })
  assert.deepEqual(hub.store.get('layout')?.value, other)
  shared.close()
  assert.deepEqual(await relay.offer({ ...ours, epoch: 8 }), { kind: 'unreachable' })
  hub.close()
})
