/** A cluster that makes its own certificates, keeps them good, and says what is wrong with them. */

import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { type TestContext, test } from 'node:test'
import { checkCertificates } from '../../services/cli/certificate-check.ts'
import { ensureCertificates } from '../../services/cli/cluster-certificates.ts'
import { compile } from '../../services/control/layout/compile.ts'
import { run } from '../support/child.ts'
import { clusterConf, clusterPorts } from '../support/cluster.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { dayMs } from '../support/test-authority.ts'
import { confOf, contextIn, type KeptContext } from './command-context.ts'

const program = path.join(import.meta.dirname, '../../services/cli/qmq.js')
const plain = clusterConf({ smtp: 2525, submission: 2587, smtps: 2465, base: 21_000 }, { deliver: 'hold' })
const text = `tier-tls: always\n${plain}`
const layout = compile(confOf(text), 1)

interface Kept {
  readonly context: KeptContext
  at(afterMs: number): KeptContext
  serial(id: string): string
  /** `ok` and so on, with what is said. */
  findings(context?: KeptContext, openSsl?: boolean): readonly string[]
}

function kept(t: TestContext): Kept {
  const context = contextIn(path.join(temporaryDirectory(t), 'state'))
  fs.mkdirSync(context.state)
  return {
    context,
    at: (afterMs) => {
      const clock = { ...context.world.clock, now: () => Date.now() + afterMs }
      return { ...context, world: { ...context.world, clock } }
    },
    serial: (id) => new X509Certificate(fs.readFileSync(path.join(context.state, 'tls', id, 'cert.pem'))).serialNumber,
    findings: (looking = context, openSsl = true) =>
      checkCertificates(looking, layout, openSsl).map(({ verdict, detail }) => `${verdict} ${detail}`),
  }
}

test('a cluster on loopback makes none, and says nothing of them', async (t) => {
  const { context } = kept(t)
  const near = compile(confOf(plain), 1)
  await ensureCertificates(context, near)
  assert.deepEqual(fs.readdirSync(context.state), [])
  assert.deepEqual(checkCertificates(context, near, true), [])
})

test('the first start makes them and says so once; later ones renew what grows old', async (t) => {
  const { context, at, serial, findings } = kept(t)
  assert.deepEqual(findings(), ['ok none yet: `qmq up` makes them'])
  assert.match(findings(context, false).join(), /^fail openssl is not installed/)
  await ensureCertificates(context, layout)
  assert.equal(context.complaints.length, 1)
  assert.match(context.complaints[0] ?? '', /^note: the cluster has its own certificate authority now: /)
  const first = serial('01')
  await ensureCertificates(at(59 * dayMs), layout)
  assert.equal(serial('01'), first)
  assert.equal(context.complaints.length, 1)
  assert.match(findings().join('\n'), /^ok the authority is here: .*\nok 8 are good, the first until \d{4}-\d\d-\d\d$/)
  assert.match(findings(at(80 * dayMs)).join('\n'), /warn the certificate of queue 01 is valid for 9 days/)
  await ensureCertificates(at(61 * dayMs), layout)
  assert.notEqual(serial('01'), first)
  assert.equal(context.complaints.at(-1), 'note: certificates renewed: e1, 00, 01, 02, 80, 90, 99, c1')
})

test('a host without the key of the authority makes none of its own', async (t) => {
  const { context, at, serial, findings } = kept(t)
  await ensureCertificates(context, layout)
  const first = serial('01')
  fs.rmSync(path.join(context.state, 'ca/1/key.pem'))
  await ensureCertificates(at(61 * dayMs), layout)
  assert.equal(serial('01'), first)
  assert.equal(context.complaints.length, 1, 'nothing is wrong with that')
  assert.match(findings().join('\n'), /^warn the key of the authority is not on this host/)
  fs.rmSync(path.join(context.state, 'ca'), { recursive: true })
  await ensureCertificates(context, layout)
  assert.ok(!fs.existsSync(path.join(context.state, 'ca/1')), 'nobody would trust another one')
  fs.rmSync(path.join(context.state, 'tls/01/key.pem'))
  assert.match(findings().join('\n'), /fail queue 01 has no certificate: .*tls\/01\/key\.pem/)
  assert.match(findings(at(91 * dayMs)).join('\n'), /fail the certificate of queue 02 has expired/)
})

test('what cannot be made is said, and nothing is thrown', async (t) => {
  const { context } = kept(t)
  fs.writeFileSync(path.join(context.state, 'ca'), '')
  await ensureCertificates(context, layout)
  assert.match(context.complaints.join(), /^certificates of the cluster are not in order: .*\/ca/)
})

test('a cluster with TLS between all its processes starts by itself and carries its first message', async (t) => {
  const directory = temporaryDirectory(t)
  const confFile = path.join(directory, 'conf-qmq')
  const conf = clusterConf(await clusterPorts(), { deliver: 'hold' })
  fs.writeFileSync(confFile, `tier-tls: always\n${conf}`)
  const { code, stdout, stderr } = await run(process.execPath, [
    program,
    'up',
    '--once',
    '--conf',
    confFile,
    '-o',
    'json',
  ])
  assert.equal(code, 0, stderr)
  const answer = JSON.parse(stdout.trim().split('\n').at(-1) ?? '')
  assert.equal(answer.delivered, true)
  assert.match(stderr, /its own certificate authority now/)
  assert.doesNotMatch(stderr, /warn|error/)
})
