import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Acceptance } from '../../services/edge/acceptance.ts'
import { smallLayout } from './small-layout.ts'

const layout = smallLayout({ relayFrom: ['192.0.2.0/24', '2001:db8::/32'] })
const rules = new Acceptance(layout, layout.edges[0] as never)
const stranger = rules.client('198.51.100.1', 'smtp')
const friend = rules.client('192.0.2.77', 'smtp')

function poolOf(client: typeof stranger, sender: string, address: string): string {
  const answer = rules.recipient(client, sender, address)
  return 'code' in answer ? `${answer.code} ${answer.enhanced}` : `${answer.address} ${answer.pool}`
}

describe('acceptance', () => {
  it('knows its own networks', () => {
    assert.equal(friend.relays, true)
    assert.equal(rules.client('2001:db8::5', 'smtp').relays, true)
    for (const address of ['192.0.3.1', '2001:db9::1', '', 'x', '::ffff:198.51.100.1']) {
      assert.equal(rules.client(address, 'smtp').relays, false)
    }
  })

  const cases: readonly [sender: string, address: string, forStranger: string, forFriend: string][] = [
    ['a@x', 'b@example.com', 'b@example.com INTERNAL', 'b@example.com INTERNAL'],
    ['a@x', 'b@EXAMPLE.com', 'b@EXAMPLE.com INTERNAL', 'b@EXAMPLE.com INTERNAL'],
    ['a@x', 'b@customer.example', 'b@customer.example CUSTOMER', 'b@customer.example CUSTOMER'],
    ['a@x', 'b@sub.customer.example', 'b@sub.customer.example CUSTOMER', 'b@sub.customer.example CUSTOMER'],
    ['a@x', 'b@sub.example.com', '553 5.7.1', 'b@sub.example.com INTERNET'],
    ['a@x', 'b@notexample.com', '553 5.7.1', 'b@notexample.com INTERNET'],
    ['a@x', 'b@elsewhere.example', '553 5.7.1', 'b@elsewhere.example INTERNET'],
    ['', 'b@elsewhere.example', '553 5.7.1', 'b@elsewhere.example BOUNCES'],
    ['', 'b@example.com', 'b@example.com INTERNAL', 'b@example.com INTERNAL'],
    [
      'a@x',
      'u%elsewhere.example@example.com',
      'u%elsewhere.example@example.com INTERNAL',
      'u%elsewhere.example@example.com INTERNAL',
    ],
    [
      'a@x',
      'u@elsewhere.example@example.com',
      'u@elsewhere.example@example.com INTERNAL',
      'u@elsewhere.example@example.com INTERNAL',
    ],
    ['a@x', 'u@example.com@elsewhere.example', '553 5.7.1', 'u@example.com@elsewhere.example INTERNET'],
    ['a@x', 'u@[127.0.0.1]', '553 5.7.1', 'u@[127.0.0.1] INTERNET'],
    ['a@x', 'postmaster', 'postmaster@example.com INTERNAL', 'postmaster@example.com INTERNAL'],
  ]
  for (const [sender, address, forStranger, forFriend] of cases) {
    it(`judges ${address} from <${sender}>`, () => {
      assert.equal(poolOf(stranger, sender, address), forStranger)
      assert.equal(poolOf(friend, sender, address), forFriend)
    })
  }

  it('refuses what has no route', () => {
    const bare = { ...layout, routes: layout.routes.filter((route) => route.key !== '') }
    const answer = new Acceptance(bare, bare.edges[0] as never).recipient(friend, 'a@x', 'b@elsewhere.example')
    assert.equal('code' in answer && answer.code, 550)
  })

  it('keeps submission for its own networks', () => {
    for (const kind of ['submission', 'smtps'] as const) {
      assert.equal(rules.mail(rules.client('198.51.100.1', kind), 'a@x', undefined)?.code, 550)
      assert.equal(rules.mail(rules.client('192.0.2.1', kind), 'a@x', undefined), undefined)
    }
  })

  it('refuses an announced size over the limit, and no other', () => {
    assert.equal(rules.mail(stranger, '', 1_000_000), undefined)
    assert.equal(rules.mail(stranger, '', 1_000_001)?.code, 552)
  })

  it('refuses loops and endless headers', () => {
    const hops = (count: number) => [Buffer.from(`${'Received: x\r\n'.repeat(count)}\r\nReceived: y\r\n`)]
    assert.equal(rules.message(hops(29)), undefined)
    assert.equal(rules.message(hops(30))?.enhanced, '5.4.6')
    assert.equal(rules.message([Buffer.from('X: y\r\n'.repeat(4000))])?.enhanced, '5.3.4')
  })
})
