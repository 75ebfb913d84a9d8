/** `shared-state` in conf-qmq: its forms, its faults with their places, and that no secret is repeated. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { writeProblem } from '../../services/settings/conf-problem.ts'
import { readConf } from '../../services/settings/conf-qmq.ts'
import { readLayout } from '../../services/settings/layout-record.ts'
import { layoutOf } from '../support/shipped-layout.ts'

const frame = `version: 1
cluster: mail.example.com
edge: { listen: { smtp: 2525 } }
pools:
  INTERNAL: { ids: 00, role: internal, domains: [example.com] }
  BOUNCES: { ids: 90, role: bounce }
`

const withServer = (text: string) => `${frame}shared-state: ${text}\n`

function problemsOf(text: string): string {
  const reading = readConf(withServer(text))
  return reading.ok ? '' : reading.problems.map(writeProblem).join('\n')
}

test('every form of it comes out in the layout, with file names for secrets', () => {
  const plain = { host: '127.0.0.1', port: 6379, database: 0, deadlineMs: 250 }
  const rows: readonly (readonly [string, unknown])[] = [
    ['embedded', undefined],
    ['redis://127.0.0.1', plain],
    ['redis://Redis.Example.com:6380/3', { ...plain, host: 'redis.example.com', port: 6380, database: 3 }],
    ['rediss://[2001:db8::1]:6380', { ...plain, host: '2001:db8::1', port: 6380, tls: {} }],
    ['{ server: redis://127.0.0.1, deadline: 40ms }', { ...plain, deadlineMs: 40 }],
    [
      '{ server: rediss://127.0.0.1, user: qmq, password-file: redis-password, tls: { ca: a.pem, certificate: c.pem, key: k.pem } }',
      {
        ...plain,
        ...{ user: 'qmq', passwordFile: 'redis-password' },
        tls: { caFile: 'a.pem', certificateFile: 'c.pem', keyFile: 'k.pem' },
      },
    ],
  ]
  for (const [text, wanted] of rows) {
    const layout = layoutOf(withServer(text))
    assert.deepEqual(layout.sharedState, wanted, text)
    const reading = readLayout(JSON.parse(JSON.stringify(layout)))
    assert.ok(reading.ok, text)
    assert.deepEqual(reading.layout, layout)
  }
  assert.equal(layoutOf(frame).sharedState, undefined)
})

test('a fault has its line and column and says what to write', () => {
  const rows: readonly (readonly [string, string, RegExp])[] = [
    ['embeded', '7:15', /embeded is no server for shared state; write embedded, redis:/],
    ['memcached://127.0.0.1', '7:15', /is no server/],
    ['redis://127.0.0.1:0', '7:15', /port 0 is not between 1 and 65535/],
    ['redis://127.0.0.1:70000', '7:15', /port 70000/],
    ['redis://127.0.0.1/x', '7:15', /is no server/],
    ['redis://[127.0.0.1]', '7:15', /brackets around no IPv6/],
    ['redis://no host', '7:15', /no host is not a host name/],
    ['redis://', '7:15', /is no server/],
    ['[]', '7:15', /a list is no server/],
    ['{ user: qmq }', '7:1', /server: this is missing/],
    ['{ server: embedded }', '7:25', /embedded is no server/],
    ['{ server: redis://h.example, usr: x }', '7:44', /usr is not known in shared-state; did you mean user\?/],
    ['{ server: redis://h.example, user: x }', '7:44', /a user needs a password; add password-file:/],
    ['{ server: redis://h.example, user: "a b", password-file: p }', '7:50', /a b is not the name of a user/],
    ['{ server: redis://h.example, tls: { ca: a.pem } }', '7:44', /does not use TLS/],
    ['{ server: rediss://h.example, tls: { key: a.pem } }', '7:45', /certificate and key go together/],
    ['{ server: rediss://h.example, tls: { cert: a.pem } }', '7:52', /cert is not known in shared-state.tls/],
    ['{ server: redis://h.example, deadline: 1ms }', '7:54', /outside the bounds of deadline; write 10ms to 5s/],
    ['{ server: redis://h.example, deadline: 100 }', '7:54', /100 has no unit/],
  ]
  for (const [text, place, words] of rows) {
    const told = problemsOf(text)
    assert.match(told, words, text)
    assert.ok(told.startsWith(`conf-qmq:${place}: shared-state`), `${text}: ${told}`)
    assert.equal(told.split('\n').length, 1, told)
  }
})

test('a secret in the file is refused and never repeated', () => {
  for (const text of [
    'redis://qmq:s3cret@127.0.0.1:6379',
    'redis://:s3cret@127.0.0.1',
    '{ server: "rediss://u:s3cret@h.example/1" }',
    '{ server: redis://h.example, password: s3cret }',
  ]) {
    const told = problemsOf(text)
    assert.match(
      told,
      /no place in a URL|password is not known in shared-state; known here: server, user, password-file/,
    )
    assert.doesNotMatch(told, /s3cret/)
  }
})

test('limits across edges are off unless they are written', () => {
  const off = layoutOf(frame).edges[0]?.limits
  assert.deepEqual([off?.connectionsPerClientClusterMax, off?.messagesPerNetworkClusterMax], [0, 0])
  const limits =
    'limits: { connections-per-client-cluster-max: 20, messages-per-network-cluster-max: 600, messages-per-network-window: 10m }'
  const on = layoutOf(frame.replace('{ listen:', `{ ${limits}, listen:`)).edges[0]?.limits
  assert.deepEqual(
    [on?.connectionsPerClientClusterMax, on?.messagesPerNetworkClusterMax, on?.messagesPerNetworkWindowMs],
    [20, 600, 600_000],
  )
})
