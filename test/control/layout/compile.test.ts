/** The compiler: what the layout holds, that it is the same every time, and the defects of the historical generator in it. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { instancesOfPool } from '../../../services/contract/layout.ts'
import { RoutingTable } from '../../../services/contract/routing.ts'
import { readLayout } from '../../../services/settings/layout-record.ts'
import { layoutOf, shippedConf, shippedLayout } from '../../support/shipped-layout.ts'

test('the same file and epoch give the same bytes', () => {
  assert.equal(JSON.stringify(shippedLayout(1)), JSON.stringify(shippedLayout(1)))
  const remarks = `# a remark\n${shippedConf.replace(/ {2,}# .*$/gm, '')}\n# another\n`
  assert.equal(JSON.stringify(layoutOf(remarks)), JSON.stringify(shippedLayout(1)))
  assert.equal(shippedLayout(7).epoch, 7)
})

test('ids 08 and 09 run on their ports', () => {
  const layout = layoutOf(shippedConf.replace('count: 2', 'count: 9'))
  assert.deepEqual(
    instancesOfPool(layout, 'CUSTOMER_1').map(({ id, port, home }) => `${id} ${port} ${home}`),
    [1, 2, 3, 4, 5, 6, 7, 8, 9].map((number) => `0${number} ${20_900 + number} instances/0${number}`),
  )
})

test('instances come by number, whatever the order of the file', () => {
  const layout = layoutOf(shippedConf.replace('ids: 00', 'ids: 98'))
  assert.deepEqual(
    layout.instances.map((instance) => instance.id),
    ['01', '02', '80', '90', '98', '99'],
  )
})

test('routes send each kind of mail to its pool', () => {
  const routes = RoutingTable.of(shippedLayout(1))
  const rows: [string, string, string | undefined][] = [
    ['a@b.example', 'newcomer@example.com', 'INTERNAL'],
    ['a@b.example', 'x@CUSTOMER1.example', 'CUSTOMER_1'],
    ['a@b.example', 'x@sub.customer1.example', 'CUSTOMER_1'],
    ['a@b.example', 'x@sub.example.com', 'INTERNET'],
    ['a@b.example', 'x@elsewhere.example', 'INTERNET'],
    ['', 'x@elsewhere.example', 'BOUNCES'],
    ['', 'newcomer@example.com', 'INTERNAL'],
  ]
  for (const [sender, recipient, pool] of rows) assert.equal(routes.poolFor(sender, recipient), pool, recipient)
})

test('without a running pool for the Internet there is no default route', () => {
  const relay = /relay-from: .*/
  const closed = shippedConf.replace(relay, 'relay-from: []').replace('ids: 80', 'ids: 80\n    count: 0')
  assert.deepEqual(
    layoutOf(closed).routes.map((route) => route.key),
    ['example.com', 'customer1.example', '.customer1.example', '!@'],
  )
})

test('edges of one host share their listeners', () => {
  const { edges } = layoutOf(shippedConf.replace('count: 1', 'count: 3'))
  assert.deepEqual(
    edges.map(({ id, home }) => `${id} ${home}`),
    ['e1 edges/e1', 'e2 edges/e2', 'e3 edges/e3'],
  )
  assert.deepEqual(edges[0]?.listeners, edges[2]?.listeners)
})

test('only the cluster itself may hand mail to an instance, and who is named', () => {
  const spread = shippedConf
    .replace('host: 127.0.0.1', 'host: 192.0.2.1')
    .replace(
      'ids: 90',
      'ids: 90\n    address: "2001:db8::90"\n    source-address: 192.0.2.90\n    accept-from: [198.51.100.0/24]',
    )
  const { instances } = layoutOf(spread)
  const cluster = ['127.0.0.0/8', '::1/128', '192.0.2.1/32', '2001:db8::90/128', '192.0.2.90/32']
  assert.deepEqual(
    instances.map(({ id, acceptFrom }) => [id, acceptFrom.filter((network) => !cluster.includes(network))]),
    ['00', '01', '02', '80', '90', '99'].map((id) => [id, id === '90' ? ['198.51.100.0/24'] : []]),
  )
  assert.deepEqual(instances[0]?.acceptFrom.toSorted(), cluster.toSorted())
  assert.equal(instances.find(({ id }) => id === '90')?.sourceAddress, '192.0.2.90')
})

test('TLS is spoken where a wire is between, and hosts of others may go without', () => {
  const tlsOf = (rule: string, pool: string) => {
    const conf = shippedConf.replace('tier-tls: auto', `tier-tls: ${rule}`)
    return layoutOf(conf.replace('ids: 80', `ids: 80\n    ${pool}`)).instances.map(({ id, tls }) => [
      id,
      tls?.plainFrom,
    ])
  }
  const loopback = ['127.0.0.0/8', '::1/128']
  const at = 'address: 192.0.2.80'
  const rest = (plainFrom: readonly string[] | undefined) => ['00', '01', '02', '90', '99'].map((id) => [id, plainFrom])
  const withoutInternet = (rows: (string | readonly string[] | undefined)[][]) => rows.filter(([id]) => id !== '80')
  const internet = (rows: (string | readonly string[] | undefined)[][]) => rows.find(([id]) => id === '80')?.[1]
  assert.deepEqual(withoutInternet(tlsOf('auto', at)), rest(undefined))
  assert.deepEqual(internet(tlsOf('auto', at)), loopback)
  assert.deepEqual(internet(tlsOf('auto', `${at}\n    accept-from: [198.51.100.0/24]`)), [
    ...loopback,
    '198.51.100.0/24',
  ])
  assert.deepEqual(internet(tlsOf('auto', 'address: 0.0.0.0')), loopback)
  assert.equal(internet(tlsOf('never', at)), undefined)
  assert.deepEqual(withoutInternet(tlsOf('always', at)), rest([]))
  assert.deepEqual(internet(tlsOf('always', `${at}\n    accept-from: [198.51.100.0/24]`)), ['198.51.100.0/24'])
  const read = readLayout(JSON.parse(JSON.stringify(layoutOf(shippedConf.replace('ids: 80', `ids: 80\n    ${at}`)))))
  assert.ok(read.ok, read.ok ? '' : read.why)
})

test('double bounces go to a postmaster who has a mailbox, else to the one of the cluster', () => {
  assert.equal(shippedLayout(1).pools[0]?.doubleBounceTo, 'postmaster@example.com')
  const without = layoutOf(shippedConf.replace('postmaster@example.com, ', ''))
  assert.equal(without.pools[0]?.doubleBounceTo, 'postmaster@mail.example.com')
  const named = layoutOf(shippedConf.replace('role: bounce', 'role: bounce\n    double-bounce-to: admin@example.com'))
  assert.equal(named.pools.find((pool) => pool.role === 'bounce')?.doubleBounceTo, 'admin@example.com')
})

test('every layout that compiles is one its reader takes', () => {
  const pool = fc.record({
    count: fc.nat(9),
    concurrency: fc.nat(600),
    v6: fc.boolean(),
    sla: fc.boolean(),
    edges: fc.integer({ min: 1, max: 5 }),
  })
  fc.assert(
    fc.property(pool, fc.integer({ min: 1, max: 1e9 }), ({ count, concurrency, v6, sla, edges }, epoch) => {
      const text = shippedConf
        .replace('count: 2', `count: ${count}\n    concurrency: ${concurrency}${v6 ? '\n    source-address: ::1' : ''}`)
        .replace(/ {4}sla: 60s\n/, sla ? '    sla: 1ms\n' : '')
        .replace('count: 1', `count: ${edges}`)
      const layout = layoutOf(text, epoch)
      const reading = readLayout(JSON.parse(JSON.stringify(layout)))
      assert.ok(reading.ok, reading.ok ? '' : reading.why)
      assert.deepEqual(reading.layout, layout)
      assert.equal(instancesOfPool(layout, 'CUSTOMER_1').length, count)
    }),
    { numRuns: 40 },
  )
})
