/** Tables for the readers of single values: durations, sizes, addresses, networks, names, ids, next hops. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { readDeliver, writeDeliver } from '../../services/settings/deliver.ts'
import { readDuration, writeDuration } from '../../services/settings/duration.ts'
import { instanceId, readInstanceIds } from '../../services/settings/instance-ids.ts'
import {
  ipBytes,
  readAddress,
  readDomain,
  readHost,
  readMailAddress,
  readNetwork,
} from '../../services/settings/network.ts'
import { nearestName, type Reading, shown } from '../../services/settings/reading.ts'
import { readSize, writeSize } from '../../services/settings/size.ts'

function refusal(reading: Reading<unknown>): string {
  assert.equal(reading.ok, false)
  return reading.ok ? '' : `${reading.message}; ${reading.remedy}`
}

function value<Value>(reading: Reading<Value>): Value {
  assert.ok(reading.ok, reading.ok ? '' : reading.message)
  return reading.value
}

test('durations carry their unit', () => {
  const rows: [string, number][] = [
    ['0s', 0],
    ['250ms', 250],
    ['90s', 90_000],
    ['1m', 60_000],
    ['15m', 900_000],
    ['24h', 86_400_000],
    ['7d', 604_800_000],
  ]
  for (const [text, milliseconds] of rows) {
    assert.equal(value(readDuration(text)), milliseconds)
    assert.equal(writeDuration(milliseconds), text)
  }
})

test('a bare number is no duration, and the refusal says what it would have been', () => {
  for (const input of [1440, '1440']) {
    const words = refusal(readDuration(input))
    assert.match(words, /1440 seconds = 24m/)
    assert.match(words, /24h for 1440 minutes/)
  }
  for (const input of [
    '1.5h',
    '-1s',
    '1 h',
    '1h30m',
    '7D',
    '',
    '99999d',
    's',
    true,
    null,
    [],
    {},
    1e300,
    -3,
    Number.NaN,
  ]) {
    refusal(readDuration(input))
  }
})

test('sizes carry their unit', () => {
  const rows: [string, number][] = [
    ['0B', 0],
    ['512B', 512],
    ['10MB', 10_000_000],
    ['64KiB', 65_536],
    ['25MiB', 26_214_400],
    ['2GiB', 2_147_483_648],
  ]
  for (const [text, bytes] of rows) {
    assert.equal(value(readSize(text)), bytes)
    assert.equal(writeSize(bytes), text)
  }
  assert.match(refusal(readSize(10_485_760)), /10485760 has no unit.*write 10MiB/)
  for (const input of ['25mib', '1.5MiB', '-1B', '25 MiB', '', '999999999999999GiB', true, null, [], -4])
    refusal(readSize(input))
})

test('what is written is read back, for every duration and size', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 3650 * 86_400_000 }), (milliseconds) => {
      assert.equal(value(readDuration(writeDuration(milliseconds))), milliseconds)
    }),
  )
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e14 }), (bytes) => {
      assert.equal(value(readSize(writeSize(bytes))), bytes)
    }),
  )
})

test('ids are decimal: 08 and 09 are eight and nine', () => {
  assert.deepEqual(value(readInstanceIds('08-09')), [8, 9])
  assert.deepEqual(value(readInstanceIds('00')), [0])
  assert.deepEqual(value(readInstanceIds(80)), [80])
  assert.deepEqual(value(readInstanceIds(['01', '05-07', 9])), [1, 5, 6, 7, 9])
  assert.equal(instanceId(9), '09')
  for (const input of ['100', '05-03', '1,2', '0x1', 'x', '', [], [['01']], '01-99-3', -1, 1.5, null, true]) {
    refusal(readInstanceIds(input))
  }
  assert.match(refusal(readInstanceIds(['01-05', '03'])), /03 is written twice/)
})

test('addresses', () => {
  assert.deepEqual(ipBytes('192.0.2.1'), [192, 0, 2, 1])
  assert.deepEqual(ipBytes('::'), new Array(16).fill(0))
  assert.deepEqual(ipBytes('::1')?.at(-1), 1)
  assert.deepEqual(ipBytes('2001:db8::ff')?.slice(0, 4), [0x20, 1, 0x0d, 0xb8])
  assert.deepEqual(ipBytes('::ffff:192.0.2.1')?.slice(10), [255, 255, 192, 0, 2, 1])
  assert.equal(ipBytes('1:2:3:4:5:6:7:8')?.length, 16)
  const bad =
    '1.2.3|1.2.3.4.5|256.1.1.1|01.2.3.4|1.2.3.|:|:::|1::2::3|1:2:3:4:5:6:7|1:2:3:4:5:6:7:8:9|g::|1.2.3.4::|12345::|::1:2:3:4:5:6:7:8|[::1]|::1%lo| ::1|'
  for (const text of bad.split('|')) assert.equal(ipBytes(text), undefined, text)
  assert.equal(value(readAddress('2001:DB8::1')), '2001:db8::1')
  refusal(readAddress('localhost'))
})

test('networks have no bits behind their length', () => {
  assert.equal(value(readNetwork('192.0.2.0/24')), '192.0.2.0/24')
  assert.equal(value(readNetwork('192.0.2.7')), '192.0.2.7/32')
  assert.equal(value(readNetwork('::1')), '::1/128')
  assert.equal(value(readNetwork('0.0.0.0/0')), '0.0.0.0/0')
  assert.equal(value(readNetwork('2001:DB8::/32')), '2001:db8::/32')
  assert.match(refusal(readNetwork('10.1.2.3/8')), /write 10\.0\.0\.0\/8/)
  assert.match(refusal(readNetwork('10.1.191.0/17')), /write 10\.1\.128\.0\/17/)
  assert.match(refusal(readNetwork('2001:db8::1/32')), /write 2001:db8::\/32/)
  assert.match(refusal(readNetwork('::1/64')), /write ::\/64/)
  for (const input of ['10.0.0.0/33', '::/129', '10/8', '10.0.0.0/', '10.0.0.0/08', 'a/8', '1.2.3.0/24/24', 10, null]) {
    refusal(readNetwork(input))
  }
})

test('names', () => {
  assert.equal(value(readHost('Mail.Example.COM')), 'mail.example.com')
  assert.equal(value(readHost('::1')), '::1')
  assert.equal(value(readDomain('.Example.com')), '.example.com')
  assert.equal(value(readMailAddress('Postmaster@Example.COM')), 'Postmaster@example.com')
  for (const input of [
    '',
    '.',
    '..a',
    'a..b',
    '-a.example',
    'a.example.',
    'a b',
    '1.2.3.4',
    'a/b',
    'x'.repeat(64),
    7,
    null,
  ]) {
    refusal(readDomain(input))
  }
  for (const input of [
    'a',
    '@a.example',
    'a@',
    'a@b@c.example',
    '<a@b.example>',
    'a b@c.example',
    'a@.c.example',
    '../x@',
  ]) {
    refusal(readMailAddress(input))
  }
  assert.match(refusal(readDomain('grüße.example')), /xn--/)
})

test('next hops', () => {
  const rows = [
    'maildir',
    'mx',
    'hold',
    'smtp:exchange.example.com:25',
    'smtp:[2001:db8::1]:2525',
    'qmtp:192.0.2.1:20901',
  ]
  for (const text of rows) assert.equal(writeDeliver(value(readDeliver(text))), text)
  assert.deepEqual(value(readDeliver('smtp:a.example')), { kind: 'smtp', host: 'a.example', port: 25 })
  assert.deepEqual(value(readDeliver('qmtp:a.example')), { kind: 'qmtp', host: 'a.example', port: 209 })
  for (const input of [
    '',
    'smtp',
    'smtp:',
    'smtp::25',
    'smtp:a:0',
    'smtp:a:65536',
    'smtp:::1:25',
    'smtp:[a]:25',
    'smtp:[::1',
    'lmtp:a:1',
    'MX',
    5,
  ]) {
    refusal(readDeliver(input))
  }
})

test('a slip of the pen finds the name that was meant', () => {
  const known = ['listen', 'limits', 'relay-from', 'host']
  assert.equal(nearestName('lisen', known), 'listen')
  assert.equal(nearestName('ilstem', known), 'listen')
  assert.equal(nearestName('relay_from', known), 'relay-from')
  assert.equal(nearestName('colour', known), undefined)
  assert.equal(shown('a\u001b[31m\n'), 'a?[31m?')
  assert.ok(shown('x'.repeat(5000)).length <= 60)
})
