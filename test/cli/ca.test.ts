/** `qmq ca`: what it makes can be used, what is there is kept, and each half-done state is finished by running it again. */

import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { type TestContext, test } from 'node:test'
import { readAuthority } from '../../services/cli/certificate-authority.ts'
import { certifiedPlaces, issueDue, writeTrust } from '../../services/cli/tier-certificates.ts'
import type { ExitCode } from '../../services/cli/verb.ts'
import { caVerbs } from '../../services/cli/verbs/ca.ts'
import { compile } from '../../services/control/layout/compile.ts'
import { certificatesIn, isSignedBy, validityOf } from '../../services/runtime/tls-pair.ts'
import { clusterConf } from '../support/cluster.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { dayMs } from '../support/test-authority.ts'
import { confOf, contextIn, type KeptContext } from './command-context.ts'

const text = clusterConf({ smtp: 2525, submission: 2587, smtps: 2465, base: 21_000 }, { deliver: 'hold' })
const layout = compile(confOf(text), 1)
const ids = ['e1', '00', '01', '02', '80', '90', '99', 'c1']

interface Place {
  readonly context: KeptContext
  ca(words: string, options?: Readonly<Record<string, unknown>>): Promise<ExitCode>
  file(...names: string[]): string
  certificate(...names: string[]): X509Certificate
  /** The certificates of all places. */
  snapshot(): readonly string[]
}

function place(test: TestContext): Place {
  const directory = temporaryDirectory(test)
  const confFile = path.join(directory, 'conf-qmq')
  fs.writeFileSync(confFile, text)
  const context = { ...contextIn(path.join(directory, 'state')), confFile }
  const file = (...names: string[]) => path.join(context.state, ...names)
  const certificate = (...names: string[]) => new X509Certificate(fs.readFileSync(file(...names)))
  return {
    ...{ context, file, certificate },
    ca: async (words, options = {}) => {
      const [name, ...more] = words.split(' ')
      const verb = caVerbs.find((candidate) => candidate.name === `ca ${name}`)
      assert.ok(verb !== undefined, words)
      return await verb.run(context, { words: more, options })
    },
    snapshot: () => ids.map((id) => fs.readFileSync(file('tls', id, 'cert.pem'), 'utf8')),
  }
}

test('places get certificates once, with their names, and a key for nobody else', async (t) => {
  const { context, ca, file, certificate, snapshot } = place(t)
  await assert.rejects(ca('issue'), /no certificate authority in .*\/ca: run `qmq ca init`/)
  assert.equal(await ca('init'), 0)
  assert.equal(await ca('issue'), 0)
  assert.equal(context.printed.at(-1), `issued: ${ids.join(', ')}`)
  const queue = certificate('tls/01/cert.pem')
  const names = 'URI:qmq://mail.example.com/tier/queue/01, DNS:01.mail.example.com, IP Address:127.0.0.1'
  assert.equal(queue.subjectAltName, names)
  assert.deepEqual(queue.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'])
  assert.match(certificate('tls/e1/cert.pem').subjectAltName ?? '', /\/tier\/edge\/e1, /)
  assert.match(certificate('tls/c1/cert.pem').subjectAltName ?? '', /\/tier\/control\/c1, /)
  assert.ok(certificate('ca/1/cert.pem').ca)
  const { startsAt, endsAt } = validityOf(queue)
  assert.equal(Math.round((endsAt - startsAt) / dayMs), 90)
  for (const key of ['ca/1/key.pem', ...ids.map((id) => `tls/${id}/key.pem`)]) {
    assert.equal(fs.statSync(file(key)).mode & 0o777, 0o600, key)
  }
  const before = snapshot()
  assert.equal(await ca('init'), 0)
  assert.equal(await ca('issue'), 0)
  assert.deepEqual(snapshot(), before)
  assert.deepEqual(fs.readdirSync(file('ca')).sort(), ['1', 'issued', 'lock'], 'nothing half made is left')
  assert.equal(await ca('issue 01', { tier: 'queue', again: true }), 0)
  assert.deepEqual(
    snapshot().map((one, index) => one === before[index]),
    ids.map((id) => id !== '01'),
  )
  assert.equal(await ca('issue e1', { tier: 'queue' }), 2)
  assert.match(context.complaints.at(-1) ?? '', /the layout has no queue e1/)
})

test('a certificate is due when it is damaged, of somebody else, or past two thirds of its life', async (t) => {
  const { context, ca, file } = place(t)
  await ca('init')
  await ca('issue')
  const authority = readAuthority(context.state)
  assert.ok(authority !== undefined)
  const due = async (afterMs = 0, wanted = layout) => {
    const clock = { ...context.world.clock, now: () => Date.now() + afterMs }
    const then = { ...context, world: { ...context.world, clock } }
    return await issueDue(then, authority, wanted.cluster, certifiedPlaces(wanted))
  }
  assert.deepEqual(await due(), [])
  fs.rmSync(file('tls/00/key.pem'))
  fs.copyFileSync(file('tls/02/cert.pem'), file('tls/01/cert.pem'))
  fs.copyFileSync(file('tls/02/key.pem'), file('tls/01/key.pem'))
  fs.writeFileSync(file('tls/e1/cert.pem'), '')
  assert.deepEqual(await due(), ['e1', '00', '01'])
  assert.deepEqual(await due(), [])
  const instances = layout.instances.map((one) => (one.id === '80' ? { ...one, host: '192.0.2.80' } : one))
  const moved = { ...layout, instances }
  assert.deepEqual(await due(0, moved), ['80'])
  assert.deepEqual(await due(59 * dayMs, moved), [])
  assert.deepEqual(await due(61 * dayMs, moved), ids)
})

test('a person gets a certificate of a role, and no key is written over', async (t) => {
  const { context, ca, file } = place(t)
  await ca('init')
  const out = file('../alice')
  const wanted = { role: 'operator', name: 'alice', out }
  assert.equal(await ca('issue', wanted), 0)
  const certificate = new X509Certificate(fs.readFileSync(path.join(out, 'cert.pem')))
  assert.equal(certificate.subjectAltName, 'URI:qmq://mail.example.com/role/operator')
  assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.2'], 'for clients only')
  const key = fs.readFileSync(path.join(out, 'key.pem'))
  await assert.rejects(ca('issue', wanted), /alice\/key\.pem is there already and stays/)
  assert.deepEqual(fs.readFileSync(path.join(out, 'key.pem')), key)
  const usage = [{ ...wanted, role: 'boss' }, { ...wanted, name: '' }, { ...wanted, out: '' }, { name: 'alice' }]
  for (const options of [...usage, { lifetime: '90' }]) assert.equal(await ca('issue', options), 2)
  assert.equal(await ca('ls'), 3, 'places have none yet')
  await ca('issue')
  assert.equal(await ca('ls'), 0)
  assert.match(context.printed.at(-1) ?? '', /alice \(operator\) +given out/)
})

test('a rotation is trusted before it is used, and the old one goes only when nobody needs it', async (t) => {
  const { context, ca, file, certificate, snapshot } = place(t)
  await ca('init')
  await ca('issue')
  const before = snapshot()
  assert.equal(await ca('rotate', { trustOnly: true }), 0)
  assert.deepEqual(snapshot(), before)
  for (const id of ids) assert.equal(certificatesIn(fs.readFileSync(file('tls', id, 'ca.pem'))).length, 2, id)
  assert.equal(await ca('retire'), 1)
  assert.match(context.complaints.at(-1) ?? '', /nothing is retired: .*edge e1, queue 00/)
  assert.equal(await ca('rotate'), 0, 'finishes what the first began')
  assert.deepEqual(fs.readdirSync(file('ca')).sort(), ['1', '2', 'issued', 'lock'])
  const [old, next] = [certificate('ca/1/cert.pem'), certificate('ca/2/cert.pem')]
  for (const id of ids) {
    assert.ok(isSignedBy(certificate('tls', id, 'cert.pem'), next))
    assert.ok(!isSignedBy(certificate('tls', id, 'cert.pem'), old))
  }
  const rotated = snapshot()
  assert.equal(await ca('rotate'), 0)
  assert.deepEqual(snapshot(), rotated, 'run again, it changes nothing')
  assert.equal(await ca('retire'), 0)
  for (const id of ids) assert.equal(certificatesIn(fs.readFileSync(file('tls', id, 'ca.pem'))).length, 1, id)
  assert.deepEqual(fs.readdirSync(file('ca')).sort(), ['2', 'issued', 'lock'])
  assert.equal(await ca('ls'), 0)
})

test('what cannot be done names the file', async (t) => {
  const { context, ca, file } = place(t)
  await ca('init')
  fs.renameSync(file('ca/1/key.pem'), file('ca-key.pem'))
  await assert.rejects(ca('issue'), /ca\/1\/key\.pem is needed to sign certificates: ENOENT/)
  fs.writeFileSync(file('ca/1/key.pem'), 'nonsense')
  await assert.rejects(ca('issue'), /ca\/1\/key\.pem does not fit the certificate beside it/)
  fs.writeFileSync(file('ca/1/cert.pem'), 'nonsense')
  await assert.rejects(ca('ls'), /ca\/1\/cert\.pem cannot be used/)
  fs.rmSync(file('ca/1'), { recursive: true })
  await ca('init')
  const authority = readAuthority(context.state)
  assert.ok(authority !== undefined)
  assert.deepEqual(await writeTrust(context, authority, certifiedPlaces(layout)), ids)
  assert.deepEqual(await writeTrust(context, authority, certifiedPlaces(layout)), [])
})
