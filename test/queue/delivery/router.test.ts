import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Destination } from '../../../services/contract/delivery.ts'
import type { DeliverSpec, Layout, PoolSpec, Role } from '../../../services/contract/layout.ts'
import { Router } from '../../../services/queue/delivery/router.ts'

function pool(name: string, role: Role, deliver: DeliverSpec, changes: Partial<PoolSpec> = {}): PoolSpec {
  return {
    name,
    role,
    ids: [],
    deliver,
    domains: [],
    mailboxes: [],
    nextHops: [],
    lifetimeMs: 1,
    concurrency: 1,
    concurrencyPerDestination: 1,
    messageBytesMax: 1,
    bounceFormat: 'qsbmf',
    bounceBytesMax: 1,
    doubleBounceTo: 'postmaster@in.example',
    ...changes,
  }
}

const exchange: DeliverSpec = { kind: 'smtp', host: 'exchange.example', port: 26 }
const pools = [
  pool('INTERNAL', 'internal', { kind: 'maildir' }),
  pool('CUSTOMER', 'customer', exchange, {
    nextHops: [
      { key: '.cust.example', deliver: { kind: 'qmtp', host: 'sub.example', port: 209 } },
      { key: 'held.example', deliver: { kind: 'hold' } },
    ],
  }),
  pool('INTERNET', 'internet', { kind: 'mx' }, { nextHops: [{ key: 'partner.example', deliver: exchange }] }),
  pool('BOUNCES', 'bounce', { kind: 'mx' }),
  pool('BACKUP', 'backup', { kind: 'mx' }),
]
const instances = ['00 INTERNAL', '01 CUSTOMER', '02 CUSTOMER', '80 INTERNET', '90 BOUNCES', '99 BACKUP'].map(
  (line) => {
    const [id = '', name = ''] = line.split(' ')
    const { role } = pools.find((one) => one.name === name)!
    return {
      id,
      number: Number(id),
      pool: name,
      role,
      host: '127.0.0.1',
      port: 2500 + Number(id),
      handoverPort: 2600 + Number(id),
      standing: 'active' as const,
      home: id,
      acceptFrom: [],
    }
  },
)
const routes = [
  { key: 'in.example', pool: 'INTERNAL' },
  { key: 'cust.example', pool: 'CUSTOMER' },
  { key: '.cust.example', pool: 'CUSTOMER' },
  { key: 'held.example', pool: 'CUSTOMER' },
  { key: '', pool: 'INTERNET' },
  { key: '!@', pool: 'BOUNCES' },
]
const head = { version: 2, epoch: 1, fence: 0, cluster: 'mx.example', control: [], edges: [] } as const
const layout: Layout = { ...head, pools, instances, routes, scaled: [], plans: [] }

function wordsOf(destination: Destination): string {
  if (destination.kind !== 'qmtp') return destination.key
  return `${destination.key} ${destination.hosts.map(({ host, port }) => `${host}:${port}`).join(',')}`
}

const internal = 'pool:INTERNAL 127.0.0.1:2500'
const customer = 'pool:CUSTOMER 127.0.0.1:2501,127.0.0.1:2502'
const internet = 'pool:INTERNET 127.0.0.1:2580'
const bounces = 'pool:BOUNCES 127.0.0.1:2590'

const table: readonly (readonly [instance: string, sender: string, recipient: string, expected: string])[] = [
  ['00', 'a@b', 'u@in.example', 'maildir'],
  ['00', 'a@b', 'u@IN.example', 'maildir'],
  ['00', '', 'u@in.example', 'maildir'],
  ['00', 'a@b', 'u@cust.example', customer],
  ['00', 'a@b', 'u@abroad.example', internet],
  ['00', '', 'u@abroad.example', bounces],
  ['00', '#@[]', 'u@abroad.example', internet],
  ['00', 'a@b', 'no-domain', internet],
  ['01', 'a@b', 'u@cust.example', 'smtp:exchange.example:26'],
  ['01', 'a@b', 'u@sub.cust.example', 'qmtp:sub.example:209 sub.example:209'],
  ['01', 'a@b', 'u@held.example', 'hold'],
  ['01', 'a@b', 'u@in.example', internal],
  ['01', '', 'u@abroad.example', bounces],
  ['80', 'a@b', 'u@abroad.example', 'mx:abroad.example'],
  ['80', 'a@b', 'u@partner.example', 'smtp:exchange.example:26'],
  ['80', 'a@b', 'u@in.example', internal],
  ['80', '', 'u@abroad.example', bounces],
  ['90', '', 'u@abroad.example', 'mx:abroad.example'],
  ['90', '', 'u@in.example', internal],
  ['90', '#@[]', 'u@in.example', internal],
  ['90', 'a@b', 'u@abroad.example', 'mx:abroad.example'],
  ['99', 'a@b', 'u@cust.example', 'smtp:exchange.example:26'],
  ['99', 'a@b', 'u@sub.cust.example', 'qmtp:sub.example:209 sub.example:209'],
  ['99', 'a@b', 'u@in.example', internal],
  ['99', 'a@b', 'u@abroad.example', 'mx:abroad.example'],
  ['99', '', 'u@abroad.example', bounces],
]

describe('router', () => {
  for (const [instance, sender, recipient, expected] of table) {
    it(`${instance}: <${sender}> to ${recipient}: ${expected}`, () => {
      assert.equal(wordsOf(new Router(layout, instance).destinationFor(sender, recipient)), expected)
    })
  }

  it('sends from where it is where the layout has no way to the Internet', () => {
    const alone = { ...layout, routes: routes.filter(({ key }) => key !== '' && key !== '!@') }
    assert.equal(wordsOf(new Router(alone, '01').destinationFor('', 'u@abroad.example')), 'smtp:exchange.example:26')
  })

  it('sends bounces from a bounce instance itself, wherever the empty sender is routed', () => {
    const moved = {
      ...layout,
      routes: routes.map((route) => (route.key === '!@' ? { ...route, pool: 'BACKUP' } : route)),
    }
    assert.equal(wordsOf(new Router(moved, '90').destinationFor('', 'u@abroad.example')), 'mx:abroad.example')
    assert.equal(wordsOf(new Router(moved, '80').destinationFor('', 'u@abroad.example')), 'pool:BACKUP 127.0.0.1:2599')
  })

  it('knows only instances of the layout', () => {
    assert.throws(() => new Router(layout, '55'), /no instance 55/)
  })
})
