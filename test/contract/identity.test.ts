/** Names in certificates: read as they are written, and nothing that only looks like one. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  anyTierOf,
  exactly,
  type Identity,
  readIdentity,
  tierIdentity,
  urisIn,
  writeIdentity,
} from '../../services/contract/identity.ts'

const cluster = 'mail.example.com'
const queue = `qmq://${cluster}/tier/queue/01`

test('a name reads as it was written', () => {
  const identities: readonly Identity[] = [
    tierIdentity(cluster, 'edge', 'e1'),
    tierIdentity(cluster, 'queue', '01'),
    tierIdentity(cluster, 'control', 'c1'),
    { kind: 'role', cluster, role: 'viewer' },
  ]
  for (const identity of identities) assert.deepEqual(readIdentity(writeIdentity(identity)), identity)
  const wrong = [`${queue}/`, ` ${queue}`, `${queue}\n`, queue.toUpperCase(), `qmq://${cluster}/tier/bounce/01`]
  const more = [`qmq://${cluster}/tier/queue`, `qmq://${cluster}/role/operator/01`, `qmq:///tier/queue/01`, '']
  for (const name of [...wrong, ...more]) assert.equal(readIdentity(name), undefined, name)
})

test('a rule takes the names it means and no others', () => {
  const tiers = anyTierOf(cluster)
  assert.ok(tiers([queue]))
  assert.ok(!anyTierOf(cluster, ['edge'])([queue]))
  assert.ok(!tiers([`qmq://${cluster}/role/admin`]))
  assert.ok(!tiers(['qmq://other.example/tier/queue/01']))
  assert.ok(!tiers([]))
  assert.ok(!tiers([queue, `qmq://${cluster}/tier/edge/e1`]), 'two names')
  const one = exactly(tierIdentity(cluster, 'queue', '01'))
  assert.ok(one([queue]))
  assert.ok(!one([`qmq://${cluster}/tier/queue/02`]))
  assert.ok(!one([queue, queue]))
})

test('URIs are found among other names, and quoting hides none inside another', () => {
  assert.deepEqual(urisIn(`URI:${queue}, DNS:01.${cluster}, IP Address:127.0.0.1`), [queue])
  assert.deepEqual(urisIn(`DNS:a, URI:${queue}, URI:x:y`), [queue, 'x:y'])
  assert.deepEqual(urisIn(''), [])
  assert.deepEqual(urisIn(`URI:"a, URI:${queue}, DNS:b"`), [])
  assert.deepEqual(urisIn(`DNS:"a\\", URI:${queue}"`), [])
  assert.deepEqual(urisIn(`URI:${queue}, nonsense`), [])
})
