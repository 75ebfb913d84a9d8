import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { ExchangerPolicy } from '../../../services/queue/delivery/mail-exchangers.ts'
import { findTargets } from '../../../services/queue/delivery/mail-exchangers.ts'
import { isPublicAddress } from '../../../services/queue/delivery/target-policy.ts'
import type { DnsTable } from './delivery-support.ts'
import { TableResolver, testWorld } from './delivery-support.ts'

const policy: ExchangerPolicy = {
  ownNames: new Set(['me.example']),
  ownAddresses: new Set(['9.9.9.9']),
  privateTargets: 'refuse',
  port: 25,
}
const { random } = testWorld()

async function find(table: DnsTable, domain = 'd.example', changes: Partial<ExchangerPolicy> = {}): Promise<string> {
  const result = await findTargets(new TableResolver(table), random, { ...policy, ...changes }, domain)
  if (result.kind === 'failed') return `${result.failure.class} ${result.failure.enhanced}`
  return result.targets.map(({ name, address }) => `${name}[${address}]`).join(' ')
}

const hosts: DnsTable = {
  'a.example': { a: ['1.1.1.1', '2606::1'] },
  'b.example': { a: ['1.1.1.2'] },
  'slow.example': 'ETIMEOUT',
  'inside.example': { a: ['10.1.2.3', '127.0.0.1'] },
  'nat.example': { a: ['9.9.9.9'] },
  'me.example': { a: ['9.9.9.8'] },
}

const table: readonly (readonly [what: string, dns: DnsTable, expected: string, domain?: string])[] = [
  [
    'by preference',
    { 'd.example': { mx: ['20 b.example', '10 a.example'] } },
    'a.example[1.1.1.1] a.example[2606::1] b.example[1.1.1.2]',
  ],
  ['names in any case, with a final dot', { 'd.example': { mx: ['20 B.Example.'] } }, 'b.example[1.1.1.2]'],
  ['the domain itself where it has no MX', { 'd.example': { a: ['1.1.1.3'] } }, 'd.example[1.1.1.3]'],
  ['null MX', { 'd.example': { mx: ['0 .'] } }, 'permanent 5.1.10'],
  ['null MX as node gives it', { 'd.example': { mx: ['0 '] } }, 'permanent 5.1.10'],
  ['no such domain', {}, 'permanent 5.1.2'],
  ['neither MX nor address', { 'd.example': {} }, 'permanent 5.4.4'],
  ['MX that no longer exists', { 'd.example': { mx: ['10 gone.example'] } }, 'permanent 5.4.4'],
  ['MX lookup times out', { 'd.example': 'ETIMEOUT' }, 'temporary 4.4.3'],
  ['MX lookup fails', { 'd.example': 'ESERVFAIL' }, 'temporary 4.4.3'],
  ['an unknown error is temporary', { 'd.example': 'EWHATEVER' }, 'temporary 4.4.3'],
  [
    'one address unknown, one known',
    { 'd.example': { mx: ['10 slow.example', '20 b.example'] } },
    'b.example[1.1.1.2]',
  ],
  ['all addresses unknown', { 'd.example': { mx: ['10 slow.example', '20 gone.example'] } }, 'temporary 4.4.3'],
  ['private addresses only', { 'd.example': { mx: ['10 inside.example'] } }, 'permanent 5.4.4'],
  [
    'private addresses beside public ones',
    { 'd.example': { mx: ['10 inside.example', '20 b.example'] } },
    'b.example[1.1.1.2]',
  ],
  ['best MX is me', { 'd.example': { mx: ['10 me.example', '20 b.example'] } }, 'permanent 5.4.6'],
  ['equal to me', { 'd.example': { mx: ['10 me.example', '10 b.example'] } }, 'permanent 5.4.6'],
  ['better than me', { 'd.example': { mx: ['20 me.example', '10 b.example', '30 a.example'] } }, 'b.example[1.1.1.2]'],
  ['best MX has my address', { 'd.example': { mx: ['10 nat.example', '20 b.example'] } }, 'permanent 5.4.6'],
  ['better than my address', { 'd.example': { mx: ['10 b.example', '20 nat.example'] } }, 'b.example[1.1.1.2]'],
  [
    'my address, but better ones unknown',
    { 'd.example': { mx: ['10 slow.example', '20 nat.example'] } },
    'temporary 4.4.3',
  ],
  ['the domain is me', {}, 'permanent 5.4.6', 'me.example'],
  ['address literal', {}, '8.8.8.8[8.8.8.8]', '[8.8.8.8]'],
  ['IPv6 literal', {}, '2606::2[2606::2]', '[IPv6:2606::2]'],
  ['literal inside', {}, 'permanent 5.4.4', '[127.0.0.1]'],
  ['mapped literal inside', {}, 'permanent 5.4.4', '[IPv6:::ffff:127.0.0.1]'],
  ['broken literal', {}, 'permanent 5.1.2', '[x]'],
  ['no domain', {}, 'permanent 5.1.2', ''],
  ['not a name', {}, 'permanent 5.1.2', 'a b'],
  ['an address without brackets', {}, 'permanent 5.1.2', '127.0.0.1'],
  ['too long a label', {}, 'permanent 5.1.2', `${'x'.repeat(64)}.example`],
  [
    'IDN',
    { 'xn--bcher-kva.example': { a: ['1.1.1.4'] } },
    'xn--bcher-kva.example[1.1.1.4]',
    'b\u00c3\u00bccher.example',
  ],
]

describe('mail exchangers', () => {
  for (const [what, dns, expected, domain] of table) {
    it(what, async () => {
      assert.equal(await find({ ...hosts, ...dns }, domain), expected)
    })
  }

  it('allows private addresses by setting', async () => {
    const dns = { ...hosts, 'd.example': { mx: ['10 inside.example'] } }
    assert.equal(
      await find(dns, 'd.example', { privateTargets: 'allow' }),
      'inside.example[10.1.2.3] inside.example[127.0.0.1]',
    )
  })

  it('shuffles equals and nothing else', async () => {
    const dns = {
      ...hosts,
      'd.example': { mx: ['5 b.example', '10 x.example', '10 y.example'] },
      'x.example': { a: ['1.0.0.1'] },
      'y.example': { a: ['1.0.0.2'] },
    }
    const seen = new Set<string>()
    for (let count = 0; count < 100; count++) seen.add(await find(dns))
    assert.deepEqual([...seen].sort(), [
      'b.example[1.1.1.2] x.example[1.0.0.1] y.example[1.0.0.2]',
      'b.example[1.1.1.2] y.example[1.0.0.2] x.example[1.0.0.1]',
    ])
  })

  it('asks about a bounded number of exchangers and keeps a bounded number of addresses', async () => {
    const names = Array.from({ length: 100 }, (_, index) => `m${index}.example`)
    const many = Array.from({ length: 100 }, (_, index) => `1.1.2.${index}`)
    const entries = names.map((name) => [name, { a: many }] as const)
    const resolver = new TableResolver({
      'd.example': { mx: names.map((name) => `10 ${name}`) },
      ...Object.fromEntries(entries),
    })
    const result = await findTargets(resolver, random, policy, 'd.example')
    assert.equal(result.kind === 'targets' && result.targets.length, 60)
    assert.equal(resolver.questions.length, 11)
  })
})

describe('public addresses', () => {
  const inside =
    '0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 127.0.0.1 127.255.255.255 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.168.1.1 198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:10.0.0.1 ::ffff:7f00:1 64:ff9b::a00:1 64:ff9b:1::1 2002:7f00:1:: 2001:db8::1 fc00::1 fd12::1 fe80::1 fec0::1 ff02::1 fe80::1%eth0 localhost 0x7f.1 127.1 2130706433'
  const outside =
    '1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 192.169.0.1 223.255.255.255 2606:4700::1111 ::ffff:1.1.1.1 64:ff9b::101:101 2002:101:101::1 2a00::1'
  for (const address of inside.split(' ')) it(`${address} is not`, () => assert.equal(isPublicAddress(address), false))
  for (const address of outside.split(' ')) it(`${address} is`, () => assert.equal(isPublicAddress(address), true))
})
