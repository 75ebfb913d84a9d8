/** Which layout records are believed: one row per way to be wrong, and two keys side by side while one follows the other. */

import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Json } from '../../services/contract/coordination.ts'
import type { Layout } from '../../services/contract/layout.ts'
import { LayoutIntake } from '../../services/runtime/layout-intake.ts'
import {
  ensureClusterKey,
  openSigner,
  openVerifier,
  type Signer,
  type Verifier,
} from '../../services/runtime/signature.ts'
import { judgeLayout, keepLayoutKeys, layoutKeys, signLayout } from '../../services/runtime/signed-layout.ts'
import { SystemClock } from '../../services/runtime/system-clock.ts'
import { SystemDisk } from '../../services/runtime/system-disk.ts'
import type { LogFields } from '../../services/runtime/world.ts'
import { shippedLayout } from '../support/shipped-layout.ts'
import { type Cleanup, temporaryDirectory } from '../support/temporary-directory.ts'

const disk = new SystemDisk()
const inForce: Layout = { ...shippedLayout(5), fence: 10 }

interface Keys {
  readonly directory: string
  readonly signer: Signer
  readonly verifier: Verifier
}

async function keysIn(t: Cleanup, name = 'state'): Promise<Keys> {
  const directory = path.join(temporaryDirectory(t), name)
  await ensureClusterKey(disk, directory)
  return { directory, signer: await openSigner(disk, directory), verifier: await openVerifier(disk, directory) }
}

function verdict(value: Json, keys: readonly Verifier[]): string {
  const judgement = judgeLayout(value, inForce, keys)
  return judgement.kind === 'refused' ? judgement.fault : judgement.kind
}

test('every way to be wrong is told from the others, and only a newer layout of ours is taken', async (t) => {
  const [ours, theirs] = [await keysIn(t), await keysIn(t)]
  const next: Layout = { ...inForce, epoch: 6 }
  const record = signLayout(ours.signer, next) as { readonly [key: string]: Json }
  const document = String(record['document'])
  const plain = (layout: unknown) => JSON.parse(ours.signer.sign(JSON.stringify(layout))) as Json
  const rows: [string, Json, string][] = [
    ['ours and newer', record, 'newer'],
    ['the one in force', signLayout(ours.signer, inForce), 'same'],
    ['a layout without signature', next as unknown as Json, 'unsigned'],
    ['nothing', null, 'unsigned'],
    ['a text', 'layout', 'unsigned'],
    ['a list', [record], 'unsigned'],
    ['a changed document', { ...record, document: document.replace('"epoch":6', '"epoch":7') }, 'damaged'],
    ['a signature of something else', { ...record, signature: 'AAAA' }, 'damaged'],
    ['no signature at all', { ...record, signature: null }, 'damaged'],
    ['another version of signing', { ...record, version: 2 }, 'damaged'],
    ['one more key', { ...record, note: 'x' }, 'damaged'],
    ['signed by a stranger', signLayout(theirs.signer, next), 'stranger'],
    [
      'a stranger under our name',
      { ...(signLayout(theirs.signer, next) as object), signer: ours.signer.signer },
      'damaged',
    ],
    ['of another version', plain({ ...next, version: 3 }), 'form'],
    ['with a field of the future', plain({ ...next, colour: 'blue' }), 'form'],
    ['something else of ours', plain({ receipt: 1 }), 'form'],
    ['of another cluster', signLayout(ours.signer, { ...next, cluster: 'other.example.com' }), 'cluster'],
    ['older', signLayout(ours.signer, { ...inForce, epoch: 4 }), 'older'],
    ['newer, by a leader who led no more', signLayout(ours.signer, { ...next, fence: 9 }), 'deposed'],
    ['of the same epoch, and different', signLayout(ours.signer, { ...inForce, fence: 11 }), 'rival'],
  ]
  for (const [what, value, wanted] of rows) assert.equal(verdict(value, [ours.verifier]), wanted, what)
  assert.equal(verdict(record, []), 'stranger', 'without a key nothing is believed')
})

test('whatever is put there, nothing is thrown and nothing believed', async (t) => {
  const { signer, verifier } = await keysIn(t)
  const record = signLayout(signer, { ...inForce, epoch: 6 })
  const names = Object.keys(record as object)
  fc.assert(
    fc.property(fc.constantFrom(...names), fc.jsonValue(), (name, value) => {
      const changed = { ...(record as object), [name]: value } as Json
      const same = JSON.stringify(changed) === JSON.stringify(record)
      assert.equal(judgeLayout(changed, inForce, [verifier]).kind, same ? 'newer' : 'refused')
    }),
  )
  fc.assert(fc.property(fc.jsonValue(), (value) => judgeLayout(value as Json, inForce, [verifier]).kind === 'refused'))
})

test('two keys are accepted side by side, the state directory before the home, and copies follow', async (t) => {
  const [old, next] = [await keysIn(t), await keysIn(t)]
  const home = path.join(old.directory, 'instances/00')
  fs.mkdirSync(home, { recursive: true })
  const complaints: string[] = []
  const signers = async (state: string) =>
    (await layoutKeys(disk, state, home, (why) => complaints.push(why))).map(({ signer }) => signer)
  await keepLayoutKeys(disk, old.directory, home)
  assert.deepEqual(await signers(old.directory), [old.signer.signer])
  assert.deepEqual(await signers(path.join(old.directory, 'gone')), [old.signer.signer], 'the copy in the home')
  const publicKey = path.join(old.directory, 'keys/cluster.pub')
  fs.renameSync(publicKey, path.join(old.directory, 'keys/cluster-previous.pub'))
  fs.copyFileSync(path.join(next.directory, 'keys/cluster.pub'), publicKey)
  assert.deepEqual(await signers(old.directory), [next.signer.signer, old.signer.signer])
  await keepLayoutKeys(disk, old.directory, home)
  assert.deepEqual((await signers(path.join(old.directory, 'gone'))).length, 2)
  fs.rmSync(path.join(old.directory, 'keys/cluster-previous.pub'))
  await keepLayoutKeys(disk, old.directory, home)
  assert.deepEqual(
    await signers(path.join(old.directory, 'gone')),
    [next.signer.signer],
    'the old one is gone everywhere',
  )
  assert.deepEqual(complaints, [])
  fs.writeFileSync(publicKey, 'no key')
  assert.deepEqual(await signers(old.directory), [])
  assert.deepEqual(complaints, [`${publicKey} is no key that can be used`])
})

test('what is refused is reported once, and no more once the record is right again', async (t) => {
  const { directory, signer } = await keysIn(t)
  const lines: [string, LogFields | undefined][] = []
  const log = {
    debug() {},
    info() {},
    warn() {},
    error: (event: string, fields?: LogFields) => lines.push([event, fields]),
  }
  const world = { clock: new SystemClock(), disk, log }
  const intake = new LayoutIntake({ world, state: directory, home: directory })
  const [near, far] = [{}, {}]
  const old = signLayout(signer, { ...inForce, epoch: 4 })
  for (let round = 0; round < 3; round++) assert.equal(await intake.judge(old, inForce, far), undefined)
  const why = 'epoch 4 is older than 5, which is in force'
  assert.deepEqual(lines, [['layout refused', { why }]])
  assert.equal(intake.refused?.why, why)
  assert.equal(await intake.judge(signLayout(signer, inForce), inForce, near), undefined)
  assert.equal(intake.refused?.why, why, 'what another link says makes it no better')
  assert.equal((await intake.judge(signLayout(signer, { ...inForce, epoch: 6 }), inForce, far))?.epoch, 6)
  assert.equal(intake.refused, undefined)
})
