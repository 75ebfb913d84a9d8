import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientHost, clientNetwork } from '../../services/edge/client-network.ts'

test('a client is counted by what one subscriber has for himself, and its network by what neighbours share', () => {
  const rows: readonly (readonly [string, string, string])[] = [
    ['192.0.2.7', '192.0.2.7/32', '192.0.2/24'],
    ['::ffff:192.0.2.7', '192.0.2.7/32', '192.0.2/24'],
    ['2001:db8:1:2:3:4:5:6', '20010db800010002/64', '20010db800010002/64'],
    ['2001:db8:1:2::9', '20010db800010002/64', '20010db800010002/64'],
    ['::1', '0000000000000000/64', '0000000000000000/64'],
    ['nonsense', 'nonsense', 'nonsense'],
  ]
  for (const [address, host, network] of rows) {
    assert.deepEqual([clientHost(address), clientNetwork(address)], [host, network], address)
  }
})
