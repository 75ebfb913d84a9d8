/** Control directories: qmail's own forms, each defect of the historical generator turned into a test, and their difference. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Layout } from '../../../services/contract/layout.ts'
import { diffControl } from '../../../services/control/layout/control-difference.ts'
import { controlFiles } from '../../../services/control/layout/control-files.ts'
import { rulesText } from '../../../services/control/layout/tcp-rules.ts'
import { layoutOf, shippedConf, shippedLayout } from '../../support/shipped-layout.ts'

function places(layout: Layout): string[] {
  return [...layout.edges, ...layout.instances].map((place) => place.id)
}

function fileLines(layout: Layout, id: string, name: string, flavour?: 's/qmail'): string[] {
  const text = controlFiles(layout, id, flavour).get(`control/${name}`)
  return text === undefined ? [] : text.split('\n').slice(0, -1)
}

test('queuelifetime is in seconds: a day is 86400, not 1440', () => {
  const layout = layoutOf(shippedConf.replace('lifetime: 7d', 'lifetime: 24h'))
  assert.deepEqual(fileLines(layout, '01', 'queuelifetime'), ['86400'])
  assert.deepEqual(fileLines(layout, '00', 'queuelifetime'), ['604800'])
})

test('queuelifetime and concurrencyremote are written for every instance', () => {
  const layout = shippedLayout(1)
  for (const { id } of layout.instances) {
    assert.equal(fileLines(layout, id, 'queuelifetime').length, 1)
    assert.deepEqual(fileLines(layout, id, 'concurrencyremote'), ['500'])
  }
})

test('instances 08 and 09 have routes, rules and files like any other', () => {
  const layout = layoutOf(shippedConf.replace('ids: 01-09', 'ids: 08-09'))
  assert.ok(fileLines(layout, 'e1', 'qmtproutes').includes('customer1.example:127.0.0.1;20908'))
  assert.deepEqual(fileLines(layout, '09', 'me'), ['mail.example.com'])
})

test('me is never empty', () => {
  const layout = shippedLayout(1)
  for (const id of places(layout)) assert.deepEqual(fileLines(layout, id, 'me'), ['mail.example.com'], id)
})

test('rcpthosts is never absent or empty: no place is an open relay', () => {
  const layout = shippedLayout(1)
  for (const id of places(layout)) assert.ok(fileLines(layout, id, 'rcpthosts').length > 0, id)
  assert.deepEqual(fileLines(layout, 'e1', 'rcpthosts'), ['example.com', 'customer1.example', '.customer1.example'])
  assert.deepEqual(fileLines(layout, '01', 'rcpthosts'), ['customer1.example', '.customer1.example'])
  assert.deepEqual(fileLines(layout, '80', 'rcpthosts'), ['mail.example.com'])
})

test('a listener for QMTP lets the cluster in and nobody else', () => {
  for (const { id } of shippedLayout(1).instances) {
    const rules = fileLines(shippedLayout(1), id, 'rules.qmtpd.txt')
    assert.deepEqual(rules, ['127.:allow,RELAYCLIENT=""', '::1:allow,RELAYCLIENT=""', ':deny'])
  }
  assert.equal(fileLines(shippedLayout(1), 'e1', 'rules.smtpd.txt').at(-1), ':allow')
})

test('the bounce route is a route and not a remark, and the bounce host has none', () => {
  const layout = shippedLayout(1)
  for (const id of places(layout)) {
    const bounce = fileLines(layout, id, 'qmtproutes').filter((line) => line.startsWith('!@'))
    assert.deepEqual(bounce, id === '90' ? [] : ['!@:127.0.0.1;20990'], id)
  }
  for (const id of places(layout)) {
    for (const [name, text] of controlFiles(layout, id)) {
      if (/routes|rcpthosts/.test(name)) assert.doesNotMatch(text, /#/, `${id} ${name}`)
    }
  }
})

test('the bounce host reaches customers without passing an instance that would send the notice back', () => {
  const layout = shippedLayout(1)
  assert.deepEqual(fileLines(layout, '90', 'smtproutes'), [
    'customer1.example:127.0.0.1:2626',
    '.customer1.example:127.0.0.1:2626',
  ])
  assert.deepEqual(fileLines(layout, '90', 'qmtproutes'), ['example.com:127.0.0.1;20900'])
})

test('no instance routes its own domains back to itself', () => {
  const many = layoutOf(shippedConf.replace('count: 2', 'count: 9'))
  const absent = layoutOf(shippedConf.replace('ids: 00', 'ids: 00\n    count: 0'))
  for (const layout of [many, absent]) {
    for (const { id, host, port, role } of layout.instances) {
      const own = fileLines(layout, id, 'qmtproutes').filter((line) => line.endsWith(`:${host};${port}`))
      assert.deepEqual(own, [], `${id} ${role}`)
    }
  }
})

test('both forms of a route with a port are written, each for its qmail', () => {
  assert.ok(fileLines(shippedLayout(1), '01', 'smtproutes').includes('customer1.example:127.0.0.1:2626'))
  assert.ok(fileLines(shippedLayout(1), '01', 'smtproutes', 's/qmail').includes('customer1.example:127.0.0.1;2626'))
  const standard = layoutOf(shippedConf.replace('127.0.0.1:2626', '[2001:db8::25]:25'))
  assert.ok(fileLines(standard, '01', 'smtproutes').includes('customer1.example:[2001:db8::25]'))
})

test('local mail is local, with subdomains through virtualdomains', () => {
  const layout = layoutOf(shippedConf.replace('[example.com]', '[example.com, .example.com]'))
  assert.deepEqual(fileLines(layout, '00', 'locals'), ['example.com'])
  assert.deepEqual(fileLines(layout, '00', 'virtualdomains'), ['.example.com:alias'])
  assert.deepEqual(fileLines(layout, '80', 'locals'), ['#'])
  assert.deepEqual(fileLines(layout, '80', 'virtualdomains'), [])
})

test('next hops of the operator come first; mx is an empty relay', () => {
  const hops = 'next-hops: { a.customer1.example: mx, b.example: "smtp:[::1]:26", c.example: "qmtp:c.example:209" }'
  const layout = layoutOf(shippedConf.replace('lifetime: 7d', `lifetime: 7d\n    ${hops}`))
  assert.deepEqual(fileLines(layout, '01', 'smtproutes').slice(0, 2), ['a.customer1.example:', 'b.example:[::1]:26'])
  assert.equal(fileLines(layout, '01', 'qmtproutes')[0], 'c.example:c.example;209')
})

test('a pool on hold tries nothing', () => {
  const layout = layoutOf(shippedConf.replace('deliver: "smtp:127.0.0.1:2626"', 'deliver: hold'))
  assert.deepEqual(fileLines(layout, '01', 'concurrencyremote'), ['0'])
  assert.deepEqual(fileLines(layout, '80', 'concurrencyremote'), ['500'])
})

test('a pool of which nothing runs is reached through the backup', () => {
  const layout = layoutOf(shippedConf.replace('count: 2', 'count: 0'))
  assert.ok(fileLines(layout, 'e1', 'qmtproutes').includes('customer1.example:127.0.0.1;20999'))
  assert.ok(fileLines(layout, '99', 'smtproutes').includes('customer1.example:127.0.0.1:2626'))
})

test('bounces and double bounces have their addresses, deliveries their source', () => {
  const layout = layoutOf(shippedConf.replace('role: bounce', 'role: bounce\n    source-address: 192.0.2.90'))
  assert.deepEqual(fileLines(layout, '90', 'domainips'), ['*:192.0.2.90'])
  assert.deepEqual(fileLines(layout, '80', 'domainips'), [])
  assert.deepEqual(fileLines(layout, '90', 'doublebounceto'), ['postmaster'])
  assert.deepEqual(fileLines(layout, '90', 'doublebouncehost'), ['example.com'])
  assert.deepEqual(fileLines(layout, '90', 'bouncehost'), ['mail.example.com'])
})

test('every file ends its last line, has no blanks at line ends, and no two routes of one key', () => {
  const layout = shippedLayout(1)
  for (const id of places(layout)) {
    for (const [name, text] of controlFiles(layout, id)) {
      assert.match(text, /^(?:[^\n]*[^\n\t ]\n)+$/, `${id} ${name}`)
    }
    const keys = [...fileLines(layout, id, 'smtproutes'), ...fileLines(layout, id, 'qmtproutes')].map(
      (line) => line.split(':')[0],
    )
    assert.equal(new Set(keys).size, keys.length, id)
  }
})

test('a place the layout does not have is an error', () => {
  assert.throws(() => controlFiles(shippedLayout(1), '42'), /no instance or edge 42/)
})

test('rules for tcprules', () => {
  const text = rulesText(
    ['10.0.0.0/8', '192.0.2.0/24', '192.0.2.7/32', '172.16.0.0/12', '2001:db8::/32', '::1/128'],
    'deny',
  )
  const addresses = text.split('\n').map((line) => line.replace(/:(?:allow.*|deny)$/, ''))
  assert.deepEqual(addresses, ['10.', '192.0.2.', '192.0.2.7', '172.16.0.0/12', '2001:db8::/32', '::1', '', ''])
})

test('the difference of two directories writes, removes and leaves', () => {
  const wanted = controlFiles(shippedLayout(1), '01')
  const fresh = diffControl(new Map(), wanted)
  assert.deepEqual([...fresh.write.keys()], [...wanted.keys()])
  const existing = new Map([...wanted, ['control/me', 'old.example\n'], ['control/percenthack', 'x\n']])
  const difference = diffControl(existing, wanted)
  assert.deepEqual([...difference.write], [['control/me', 'mail.example.com\n']])
  assert.deepEqual(difference.remove, ['control/percenthack'])
  assert.equal(difference.same.length, wanted.size - 1)
  assert.deepEqual(diffControl(wanted, wanted).write.size, 0)
})
