/** `coordination:` of conf-qmq: each lawful form and what it means, each unlawful one with its place and words; never a secret. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { compile } from '../../services/control/layout/compile.ts'
import type { Conf } from '../../services/settings/conf.ts'
import { writeProblem } from '../../services/settings/conf-problem.ts'
import { readConf } from '../../services/settings/conf-qmq.ts'
import { readLayout } from '../../services/settings/layout-record.ts'

function text(coordination: string): string {
  return `version: 1
cluster: mail.example.com
coordination: ${coordination}
edge:
  listen: { smtp: 2525 }
pools:
  INTERNAL: { ids: 00, role: internal, domains: [example.com] }
  BOUNCES: { ids: 90, role: bounce }
`
}

function confOf(coordination: string): Conf {
  const reading = readConf(text(coordination))
  assert.ok(reading.ok, reading.ok ? '' : reading.problems.map(writeProblem).join('\n'))
  return reading.conf
}

const standard = { credentials: 'keys/nats' }

test('each form is read, and survives its way into the layout and back', () => {
  const rows: [string, unknown][] = [
    ['nats://10.0.0.1:4222', { servers: ['10.0.0.1:4222'], ...standard }],
    ['nats://Nats.Example.com', { servers: ['nats.example.com:4222'], ...standard }],
    ['"nats://a:1,b:2, nats://[::1]:3"', { servers: ['a:1', 'b:2', '[::1]:3'], ...standard }],
    ['"tls://a.example,b.example"', { servers: ['a.example:4222', 'b.example:4222'], ...standard, tls: {} }],
    ['[nats://a:1, nats://b:1]', { servers: ['a:1', 'b:1'], ...standard }],
    ['nats://mail@a:1', { servers: ['a:1'], ...standard, user: 'mail' }],
    ['{ servers: "nats://a:1" }', { servers: ['a:1'], ...standard }],
    [
      '{ servers: [nats://a:1, nats://b:1], credentials: /etc/qmq/, replicas: 3, tls: { ca: ca.pem } }',
      { servers: ['a:1', 'b:1'], credentials: '/etc/qmq', tls: { caFile: 'ca.pem' }, replicas: 3 },
    ],
    [
      '{ servers: tls://a, tls: { certificate: c.pem, key: k.pem } }',
      { servers: ['a:4222'], ...standard, tls: { certificateFile: 'c.pem', keyFile: 'k.pem' } },
    ],
  ]
  for (const [written, wanted] of rows) {
    const conf = confOf(written)
    assert.deepEqual(JSON.parse(JSON.stringify(conf.coordination)), wanted, written)
    const layout = compile(conf, 1)
    const back = readLayout(JSON.parse(JSON.stringify(layout)))
    assert.ok(back.ok, back.ok ? '' : back.why)
    assert.deepEqual(back.layout, layout)
  }
  assert.equal(confOf('embedded').coordination, 'embedded')
  assert.equal('coordination' in compile(confOf('embedded'), 1), false)
})

test('what is wrong is named with its line, its column and a remedy', () => {
  const rows: [string, string][] = [
    ['nats', '3:15: coordination: nats is no way to coordinate'],
    ['redis://a:1', '3:15: coordination: redis://a:1 is not a NATS server'],
    ['nats://', '3:15: coordination: nats:// is not a NATS server'],
    ['nats://a b:1', '3:15: coordination: nats://a b:1: a b is not a host name'],
    ['nats://a:70000', '3:15: coordination: nats://a:70000: port 70000 is not between'],
    ['nats://[a]:1', '3:15: coordination: nats://[a]:1 has no host in brackets'],
    ['"nats://a:1,a:1"', '3:15: coordination: a:1 is named twice'],
    ['"nats://a:1,tls://b:1"', '3:15: coordination: some servers are to speak TLS and some are not'],
    ['"nats://one@a:1,two@b:1"', '3:15: coordination: the servers have different users'],
    ['nats://a;b@c', "3:15: coordination: a;b is not a user's name"],
    ['[[nats://a]]', '3:15: coordination: a list is not a NATS server'],
    ['{ credentials: x }', '3:1: coordination.servers: this is missing; add servers:'],
    [
      '{ servers: nats://a, server: b }',
      '3:36: coordination.server: server is not known in coordination; did you mean',
    ],
    ['{ servers: nats://a, tls: { ca: "" } }', '3:47: coordination.tls.ca: '],
    ['{ servers: nats://a, tls: { cert: x } }', '3:43: coordination.tls.cert: cert is not known in coordination.tls'],
    ['{ servers: nats://a, tls: { key: x } }', '3:36: coordination.tls: a certificate is of no use without its key'],
    ['{ servers: nats://a, replicas: 7 }', '3:46: coordination.replicas: 7 is not between 1 and 5'],
    ['{ servers: [] }', '3:26: coordination.servers: no server is named'],
    [
      `{ servers: [${Array.from({ length: 17 }, (_, at) => `nats://a${at}`)}] }`,
      '3:26: coordination.servers: these are 17',
    ],
  ]
  for (const [written, wanted] of rows) {
    const reading = readConf(text(written))
    assert.equal(reading.ok, false, written)
    const lines = reading.ok ? [] : reading.problems.map(writeProblem)
    assert.equal(lines.length, 1, lines.join('\n'))
    assert.ok(lines[0]?.startsWith(`conf-qmq:${wanted}`), `${written}: ${lines[0]}`)
  }
})

test('a password is refused and not repeated', () => {
  for (const written of [
    'nats://mail:verysecret@a:1',
    '{ servers: ["nats://a", "nats://x:verysecret@b"] }',
    '"nats://a,x:verysecret@b"',
  ]) {
    const reading = readConf(text(written))
    assert.equal(reading.ok, false, written)
    const said = JSON.stringify(reading)
    assert.match(said, /a password does not belong in this file/)
    assert.doesNotMatch(said, /verysecret/)
  }
})

test('the examples in the shipped file are lawful', () => {
  const shipped = readFileSync(new URL('../../conf-qmq', import.meta.url), 'utf8')
  const examples = [...shipped.matchAll(/^# coordination: (.*)$/gm)].map(([, value]) => value as string)
  assert.equal(examples.length, 2)
  for (const example of examples) assert.notEqual(confOf(example).coordination, 'embedded')
})
