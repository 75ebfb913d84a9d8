/** The cluster's signature: what it proves, what it refuses, and what it never tells. */

import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import fs from 'node:fs'
import { test } from 'node:test'
import { readFileIfThere } from '../../services/runtime/durable-file.ts'
import {
  ensureClusterKey,
  openSigner,
  openVerifier,
  privateKeyFileName,
  publicKeyFileName,
  verifierOf,
} from '../../services/runtime/signature.ts'
import { SystemDisk } from '../../services/runtime/system-disk.ts'
import { type Cleanup, temporaryDirectory } from '../support/temporary-directory.ts'

const disk = new SystemDisk()

async function stateWithKey(cleanup: Cleanup): Promise<string> {
  const state = temporaryDirectory(cleanup)
  assert.equal(await ensureClusterKey(disk, state), 'made')
  return state
}

test('what is signed is verified, by the pair and by the public half alone', async (t) => {
  const state = await stateWithKey(t)
  const signer = await openSigner(disk, state)
  const text = signer.sign('a receipt, with ümlaut\n')
  const verifier = await openVerifier(disk, state)
  assert.deepEqual(verifier.verify(text), { ok: true, document: 'a receipt, with ümlaut\n', signer: signer.signer })
  assert.equal(verifier.verify(`${text}\n`).ok, true, 'as the line of a file')
  const elsewhere = verifierOf(fs.readFileSync(`${state}/${publicKeyFileName}`, 'utf8'), 'cluster.pub')
  assert.equal(elsewhere.verify(text).ok, true)
  assert.match(signer.signer, /^[0-9a-f]{32}$/)
})

test('every changed character is seen, and nothing that is given throws', async (t) => {
  const state = await stateWithKey(t)
  const verifier = await openVerifier(disk, state)
  const text = (await openSigner(disk, state)).sign('{"mail":10}')
  for (let at = 0; at < text.length; at++) {
    const changed = text.slice(0, at) + (text[at] === 'x' ? 'y' : 'x') + text.slice(at + 1)
    assert.equal(verifier.verify(changed).ok, false, `character ${at}`)
  }
  for (const poison of [
    '',
    'null',
    '[]',
    '{"version":2}',
    ` ${text}`,
    `${text}\n\n`,
    text.replace('}', ',"more":1}'),
  ]) {
    assert.equal(verifier.verify(poison).ok, false, poison)
  }
})

test('another key is named, not taken for a forgery', async (t) => {
  const own = await openVerifier(disk, await stateWithKey(t))
  const other = await openSigner(disk, await stateWithKey(t))
  const verdict = own.verify(other.sign('layout'))
  assert.equal(verdict.ok, false)
  assert.match(verdict.ok ? '' : verdict.why, new RegExp(`${other.signer}.*${own.signer}`))
})

test('the key is made once, for its owner alone; a lost public half is made from it again', async (t) => {
  const state = await stateWithKey(t)
  const [privateFile, publicFile] = [`${state}/${privateKeyFileName}`, `${state}/${publicKeyFileName}`]
  assert.equal(fs.statSync(privateFile).mode & 0o777, 0o600)
  const [key, pub] = [fs.readFileSync(privateFile), fs.readFileSync(publicFile)]
  assert.equal(await ensureClusterKey(disk, state), 'kept')
  fs.unlinkSync(publicFile)
  assert.equal(await ensureClusterKey(disk, state), 'kept')
  assert.deepEqual([fs.readFileSync(privateFile), fs.readFileSync(publicFile)], [key, pub])
})

test('no key is made beside a public half: that host only verifies', async (t) => {
  const state = await stateWithKey(t)
  fs.unlinkSync(`${state}/${privateKeyFileName}`)
  assert.equal(await ensureClusterKey(disk, state), 'verifies-only')
  assert.equal(await readFileIfThere(disk, `${state}/${privateKeyFileName}`), undefined)
  await assert.rejects(openSigner(disk, state), /cluster\.key cannot be read \(ENOENT\)/)
})

test('a damaged or foreign key is refused by the name of its file, and nothing of it is told', async (t) => {
  const state = await stateWithKey(t)
  const file = `${state}/${privateKeyFileName}`
  const pem = fs.readFileSync(file, 'utf8')
  const secret = pem.split('\n')[1] ?? ''
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' })
  for (const text of [pem.slice(0, -40), `${secret}\n`, String(rsa), '']) {
    fs.writeFileSync(file, text)
    await assert.rejects(openSigner(disk, state), (error: Error) => {
      assert.match(error.message, /cluster\.key is no/)
      return !`${error.stack}${error.cause}`.includes(secret) && secret.length > 20
    })
  }
})
