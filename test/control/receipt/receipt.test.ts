/** Receipts: made only of manifests that agree, found false wherever one byte of them or of a manifest is changed. */

import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { test } from 'node:test'
import { type ManifestEntry, writeEntry } from '../../../services/contract/manifest.ts'
import type { Receipt } from '../../../services/contract/receipt.ts'
import { differencesToldMax, lineDifferences } from '../../../services/control/receipt/manifest-comparison.ts'
import { checkReceipt, receiptProblems } from '../../../services/control/receipt/receipt-check.ts'
import { type Ask, makeReceipt, type ReceiptMaking } from '../../../services/control/receipt/receipt-maker.ts'
import { writeReceipt } from '../../../services/control/receipt/receipt-record.ts'
import { ReceiptStore } from '../../../services/control/receipt/receipt-store.ts'
import { ensureClusterKey, openSigner, openVerifier } from '../../../services/runtime/signature.ts'
import { SystemDisk } from '../../../services/runtime/system-disk.ts'
import { type Cleanup, temporaryDirectory } from '../../support/temporary-directory.ts'
import { begun, plan } from '../drain/plan-views.ts'
import { agreeing, answering, entry, type Held } from './manifests.ts'

async function make(held: Held, ask: Ask = answering(held)): Promise<ReceiptMaking> {
  const layout = begun()
  const [running] = layout.plans
  assert.ok(running !== undefined)
  return await makeReceipt(ask, { layout, plan: running, instance: '03', fence: 7, now: 2000 })
}

async function made(): Promise<ReceiptMaking & { kind: 'made' }> {
  const making = await make(agreeing)
  assert.ok(making.kind === 'made', making.kind === 'made' ? '' : making.why)
  return making
}

function changedAt(instance: string, entries: readonly ManifestEntry[]): Held {
  return { ...agreeing, entries: { ...agreeing.entries, [instance]: entries } }
}

async function signedIn(cleanup: Cleanup) {
  const [disk, state] = [new SystemDisk(), temporaryDirectory(cleanup)]
  await ensureClusterKey(disk, state)
  return { disk, state, signer: await openSigner(disk, state), verifier: await openVerifier(disk, state) }
}

test('two sides that agree give a receipt of what moved', async () => {
  const { receipt, manifests } = await made()
  assert.deepEqual([receipt.messages, receipt.bytes, receipt.recipients, receipt.sealedAt], [3, 300, 6, 2000])
  assert.deepEqual(
    [receipt.plan, receipt.instance, receipt.by, receipt.epoch, receipt.fence],
    [plan, '03', 'admin', 2, 7],
  )
  assert.deepEqual([...manifests.keys()].toSorted(), [
    ...['arrived-03-01.manifest', 'arrived-03-02.manifest', 'left-03-01.manifest', 'left-03-02.manifest'],
  ])
})

test('an instance that had nothing gets a receipt of nothing', async () => {
  const nothing = { ...agreeing.audit, accepted: 4, handedOver: 0 }
  const making = await make({ entries: { '01': [], '02': [], '03': [] }, audit: nothing })
  assert.equal(making.kind === 'made' ? making.receipt.messages : making.why, 0)
})

test('every difference is named by its entry, and there is no receipt', async () => {
  const [one, two, three] = [entry(1, '01'), entry(2, '01'), entry(3, '02')]
  const rows: [string, Held, RegExp][] = [
    ['one did not arrive', changedAt('01', [one]), /03 to 01: 03>2 left and did not arrive/],
    ['one nobody sent', changedAt('02', [three, entry(9, '02')]), /03 to 02: 03>9 arrived and did not leave/],
    ['at another target', changedAt('02', [three, entry(2, '02')]), /03>2 arrived and did not leave/],
    [
      'another body',
      changedAt('01', [one, entry(2, '01', { body: 'f'.repeat(64) })]),
      /03>2 arrived with another body/,
    ],
    ['another due time', changedAt('01', [one, entry(2, '01', { dueAt: 6 })]), /03>2 arrived with another dueAt/],
    ['a target has nothing', changedAt('01', []), /03>1 left and did not arrive.*03>2 left/],
    ['only a target has it', changedAt('03', [one, two]), /03 to 02: 03>3 arrived and did not leave/],
    ['something is left', { ...agreeing, audit: { ...agreeing.audit, queued: 1 } }, /1 recipients were left in 03/],
    [
      'it does not add up',
      { ...agreeing, audit: { ...agreeing.audit, accepted: 11 } },
      /11 recipients came to 03 and 10/,
    ],
    [
      'it counts fewer',
      { ...agreeing, audit: { ...agreeing.audit, delivered: 6, handedOver: 4 } },
      /counts 4 .* less than 6/,
    ],
  ]
  for (const [what, held, words] of rows) {
    const making = await make(held)
    assert.equal(making.kind, 'disputed', what)
    assert.match(making.kind === 'disputed' ? making.why : '', words, what)
  }
})

test('lines that are not those of their sum are a dispute, whoever tells them', async () => {
  const ask: Ask = async (instance, operation, value) => {
    const held = operation === 'manifest-lines' ? changedAt('01', [entry(1, '01')]) : agreeing
    return await answering(held)(instance, operation, value)
  }
  const making = await make(agreeing, ask)
  assert.match(making.kind === 'disputed' ? making.why : '', /arrived 03 to 01: it has 1 messages, the receipt says 2/)
})

test('who does not answer is waited for, target or source, at any question', async () => {
  for (const silent of ['01', '02', '03']) {
    for (const operation of ['manifest', 'manifest-lines', 'audit']) {
      const ask: Ask = async (instance, name, value) =>
        instance === silent && name === operation
          ? { kind: 'timeout' }
          : await answering(agreeing)(instance, name, value)
      const making = await make(agreeing, ask)
      const isAsked = operation !== 'audit' || silent === '03'
      assert.equal(making.kind, isAsked ? 'unheard' : 'made', `${silent} ${operation}`)
    }
  }
})

test('many differences are told in part, and counted', () => {
  const left = Array.from({ length: 100 }, (_, number) => writeEntry(entry(number, '01')))
  const told = lineDifferences(left, [])
  assert.equal(told.length, differencesToldMax + 1)
  assert.equal(told.at(-1), `and ${100 - differencesToldMax} more`)
})

test('a receipt on disk is true, and false wherever one character of it or of a manifest is another', async (t) => {
  const { disk, state, signer, verifier } = await signedIn(t)
  const { receipt, manifests } = await made()
  const store = new ReceiptStore(disk, state)
  const name = { plan, instance: '03' }
  await store.keep(name, signer.sign(writeReceipt(receipt)), manifests)
  assert.deepEqual(await store.list(), [name])
  const text = (await store.read(name)) ?? ''
  const verify = verifier.verify
  const verdict = checkReceipt({ text, verify, manifest: (file) => manifests.get(file) })
  assert.deepEqual([verdict.ok, verdict.problems, verdict.receipt?.messages], [true, [], 3])
  for (let at = 0; at < text.length; at += 7) {
    const forged = text.slice(0, at) + (text[at] === '7' ? '8' : '7') + text.slice(at + 1)
    assert.equal(
      checkReceipt({ text: forged, verify, manifest: (file) => manifests.get(file) }).ok,
      false,
      `character ${at}`,
    )
  }
  for (const [file, lines] of manifests) {
    for (let at = 0; at < lines.length; at += 11) {
      const forged = lines.slice(0, at) + (lines[at] === '7' ? '8' : '7') + lines.slice(at + 1)
      const judged = checkReceipt({
        text,
        verify,
        manifest: (other) => (other === file ? forged : manifests.get(other)),
      })
      assert.equal(judged.ok, false, `${file} ${at}`)
    }
    const missing = checkReceipt({
      text,
      verify,
      manifest: (other) => (other === file ? undefined : manifests.get(other)),
    })
    assert.deepEqual(missing.problems, [`${file} is missing`])
  }
})

test('a receipt that is there is never replaced, and a name leads nowhere else', async (t) => {
  const { disk, state, signer } = await signedIn(t)
  const store = new ReceiptStore(disk, state)
  const name = { plan, instance: '03' }
  await store.keep(name, signer.sign('first'), new Map())
  await store.keep(name, signer.sign('second'), new Map())
  assert.equal(await store.read(name), signer.sign('first'))
  assert.throws(() => store.directoryOf({ plan: `${'.'.repeat(2)}/x`, instance: '03' }))
  assert.throws(() => store.directoryOf({ plan, instance: '../03' }))
  assert.deepEqual(await new ReceiptStore(disk, `${state}/none`).list(), [])
})

test('signed nonsense is no receipt, and arithmetic is judged whatever the signature says', async (t) => {
  const { signer, verifier } = await signedIn(t)
  const { receipt } = await made()
  const judge = (document: string) =>
    checkReceipt({ text: signer.sign(document), verify: verifier.verify, manifest: () => undefined })
  for (const nonsense of [
    '',
    'null',
    '{}',
    '{"version":2}',
    writeReceipt({ ...receipt, left: 3 } as unknown as Receipt),
  ]) {
    assert.equal(judge(nonsense).receipt, undefined, nonsense)
  }
  assert.match(receiptProblems({ ...receipt, messages: 4 }).join(), /its parts have 3 messages, it says 4/)
  assert.match(receiptProblems({ ...receipt, instance: '04' }).join(), /03 to 01 is no part of what left 04/)
  const { privateKey } = generateKeyPairSync('ed25519')
  const signature = sign(null, Buffer.from(writeReceipt(receipt)), privateKey).toString('base64')
  const foreign = JSON.stringify({ version: 1, signer: signer.signer, document: writeReceipt(receipt), signature })
  assert.equal(checkReceipt({ text: foreign, verify: verifier.verify, manifest: () => undefined }).ok, false)
})
