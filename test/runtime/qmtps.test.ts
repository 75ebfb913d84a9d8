/**
 * QMTP over TLS between an edge and a queue instance, on real sockets with real certificates: who is let in, who is believed, what
 * the edge answers its client where nobody is, and that a rotation under load loses and drops nothing.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { type TestContext, test } from 'node:test'
import tls from 'node:tls'
import type { Outcome } from '../../services/contract/delivery.ts'
import { tierIdentity, writeIdentity } from '../../services/contract/identity.ts'
import { QmtpTransport } from '../../services/queue/delivery/qmtp-transport.ts'
import { silentLog } from '../../services/runtime/silent-log.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import { credentialsDirectory, type TierCredentials } from '../../services/runtime/tier-credentials.ts'
import { Client, eventually } from '../edge/edge-support.ts'
import { dayMs, TestAuthority, type Wanted, writeCredentials } from '../support/test-authority.ts'
import {
  cluster,
  edgeName,
  impostor,
  listening,
  offer,
  queueName,
  type Shown,
  stranger,
  TlsCluster,
} from '../support/tls-cluster.ts'

const taken = /^0:,\d+:Kok /
const expired = { startsAt: Date.now() - 2 * dayMs, endsAt: Date.now() - dayMs }
const early = { startsAt: Date.now() + dayMs, endsAt: Date.now() + 2 * dayMs }
const otherQueue = writeIdentity(tierIdentity(cluster, 'queue', '02'))
const person = writeIdentity({ kind: 'role', cluster, role: 'admin' })
const foreign = writeIdentity(tierIdentity('other.example', 'edge', 'e1'))

async function mailTo(t: TestContext, smtp: number): Promise<string> {
  const client = await Client.greeted(t, smtp)
  const { last } = await client.mail('s@sender.example', ['r@customer.example'], 'Subject: x\r\n\r\nhello')
  client.destroy()
  return `${last?.code} ${last?.enhanced}`
}

test('an edge and an instance that prove themselves carry mail', async (t) => {
  const tlsCluster = await TlsCluster.make(t)
  const instance = await tlsCluster.startQueue(await tlsCluster.credentials('queue', '01'))
  const { edge, smtp } = await tlsCluster.startEdge(await tlsCluster.credentials('edge', 'e1'))
  await eventually(() => edge.state().phase === 'ready')
  assert.match(await mailTo(t, smtp), /^250 /)
  assert.equal(instance.audit().accepted, 1)
  assert.equal(instance.phase, 'ready')
})

test('an instance takes mail of no client but those of its own cluster', async (t) => {
  const tlsCluster = await TlsCluster.make(t)
  const { authority, port, logged } = tlsCluster
  const other = await TestAuthority.make(t, 2)
  const instance = await tlsCluster.startQueue(await tlsCluster.credentials('queue', '01'))
  for (const name of [edgeName, otherQueue, writeIdentity(tierIdentity(cluster, 'control', 'c1'))]) {
    assert.match(await offer(stranger(port, await authority.issue([name]))), taken, name)
  }
  assert.equal(instance.audit().accepted, 3)
  const cases: readonly (readonly [string, RegExp, Shown | undefined])[] = [
    ['no certificate', /client certificate refused|peer did not return a certificate/, undefined],
    ['another authority', /client certificate refused/, await other.issue([edgeName])],
    ['expired', /client certificate refused: certificate has expired/, await authority.issue([edgeName], expired)],
    [
      'not valid yet',
      /client certificate refused: certificate is not yet valid/,
      await authority.issue([edgeName], early),
    ],
    ['a person', /role\/admin, who is not wanted here/, await authority.issue([person], { use: 'person' })],
    ['another cluster', /other.example.*not wanted here/, await authority.issue([foreign])],
    ['two names', /not wanted here/, await authority.issue([edgeName, queueName])],
    ['no name', /of nobody, who is not wanted here/, await authority.issue([])],
  ]
  for (const [what, why, shown] of cases) {
    logged.length = 0
    assert.equal(await offer(stranger(port, shown)), '', what)
    await eventually(() => logged.length > 0)
    assert.match(logged.join(), why, what)
  }
  assert.equal(instance.audit().accepted, 3)
})

test('without TLS only the networks named for it are served, and never others than those of the layout', async (t) => {
  const strict = await TlsCluster.make(t)
  const instance = await strict.startQueue(await strict.credentials('queue', '01'))
  assert.equal(await offer(net.connect(strict.port, '127.0.0.1')), '')
  assert.match(strict.logged.join(), /speaks without TLS, and its address is not among those that may/)
  const near = { port: strict.port, host: '127.0.0.1', localAddress: '127.0.0.2' }
  assert.equal(await offer(tls.connect({ ...near, rejectUnauthorized: false })), '')
  assert.match(strict.logged.at(-1) ?? '', /127\.0\.0\.2.*not in the layout/)
  const { certificate: cert, key } = await strict.authority.issue([edgeName])
  assert.equal(await offer(tls.connect({ ...near, rejectUnauthorized: false, cert, key })), '', 'a good certificate')
  assert.equal(instance.audit().accepted, 0)
  const open = await TlsCluster.make(t, ['127.0.0.1/32'])
  await open.startQueue(await open.credentials('queue', '01'))
  assert.match(
    await offer(net.connect(open.port, '127.0.0.1')),
    /^\d+:Kok /,
    'and no welcome, which QMTP does not have',
  )
  assert.equal(await offer(stranger(open.port, undefined)), '', 'TLS is not begun to go without a certificate')
})

test('an edge gives mail to nobody who is not the instance it means: 451', async (t) => {
  const other = await TestAuthority.make(t, 2)
  type Case = readonly [what: string, why: RegExp, name: string, wanted?: Wanted, by?: TestAuthority]
  const cases: readonly Case[] = [
    ["an edge's certificate", /edge\/e1, who is not wanted here/, edgeName],
    ['another instance', /queue\/02, who is not wanted here/, otherQueue],
    ['another authority', /unable to get local issuer|unable to verify/, queueName, {}, other],
    ['expired', /certificate has expired/, queueName, expired],
    ['not valid yet', /not yet valid/, queueName, early],
    ['a person', /unsuitable certificate purpose|unsupported certificate purpose/, person, { use: 'person' }],
    ['another cluster', /who is not wanted here/, writeIdentity(tierIdentity('other.example', 'queue', '01'))],
  ]
  for (const [what, why, name, wanted, by] of cases) {
    const tlsCluster = await TlsCluster.make(t)
    const shown = await (by ?? tlsCluster.authority).issue([name], wanted)
    const seen = await impostor(t, tlsCluster.port, shown)
    const { edge, smtp } = await tlsCluster.startEdge(await tlsCluster.credentials('edge', 'e1'))
    await eventually(() => seen.clients > 1)
    assert.equal(await mailTo(t, smtp), '451 4.3.0', what)
    assert.equal(seen.heard, '', what)
    const { phase, why: said = '' } = edge.state()
    assert.equal(phase, 'refusing')
    assert.match(said, why, what)
  }
})

test('an edge never speaks to an instance in the clear where the layout wants TLS', async (t) => {
  const tlsCluster = await TlsCluster.make(t)
  let heard = Buffer.alloc(0)
  const server = net.createServer((socket) => {
    socket.on('data', (chunk) => {
      heard = Buffer.concat([heard, chunk])
      socket.write('0:,4:Kok ,')
    })
  })
  await listening(t, server, tlsCluster.port)
  const { smtp } = await tlsCluster.startEdge(await tlsCluster.credentials('edge', 'e1'))
  await eventually(() => heard.length > 0)
  assert.equal(await mailTo(t, smtp), '451 4.3.0')
  assert.ok(!heard.includes('hello') && !heard.includes('customer.example'))
})

test('who has no usable certificate says so, and mail is answered 451', async (t) => {
  const tlsCluster = await TlsCluster.make(t)
  const noQueue = await tlsCluster.startQueue(await tlsCluster.credentialsAsTheyAre('queue', '01'))
  assert.equal(noQueue.phase, 'refusing')
  assert.match(noQueue.why ?? '', /^no other process can connect: .*tls\/01\/ca\.pem/)
  const { edge, smtp } = await tlsCluster.startEdge(await tlsCluster.credentials('edge', 'e1'))
  await eventually(() => /^no queue instance can be reached: ./.test(edge.state().why ?? ''))
  assert.equal(await mailTo(t, smtp), '451 4.3.0')
  const without = await TlsCluster.make(t)
  await without.startQueue(await without.credentials('queue', '01'))
  const bare = await without.startEdge(await without.credentialsAsTheyAre('edge', 'e1'))
  await eventually(() => /tls\/e1\/ca\.pem/.test(bare.edge.state().why ?? ''))
  assert.equal(await mailTo(t, bare.smtp), '451 4.3.0')
  const none = await without.startEdge()
  await eventually(() => /started without certificates/.test(none.edge.state().why ?? ''))
  assert.equal(await mailTo(t, none.smtp), '451 4.3.0')
})

test('a hop to another instance goes to that one or nowhere', async (t) => {
  const tlsCluster = await TlsCluster.make(t)
  const instance = await tlsCluster.startQueue(await tlsCluster.credentials('queue', '01'))
  const credentials = await tlsCluster.credentials('queue', '02')
  const limits = { patienceMs: 300, reconnectMinMs: 10, reconnectMaxMs: 20 }
  const transport = new QmtpTransport(systemWorld(silentLog), { cluster, instance: '02', credentials, limits })
  t.after(() => transport.close())
  const text = Buffer.from('Subject: hop\r\n\r\nhello\r\n')
  const attempt = (name: string, id: string) =>
    new Promise<readonly Outcome[]>((resolve) => {
      const hosts = [{ host: '127.0.0.1', port: tlsCluster.port, instance: name }]
      const about = { id, sender: 's@sender.example', recipients: ['r@customer.example'], birthAt: Date.now() }
      const body = { form: 'crlf', bytes: text.length, slice: () => text } as const
      transport.attempt({ ...about, body, destination: { key: 'pool:CUSTOMER', kind: 'qmtp', hosts } }, resolve)
    })
  const [good] = await attempt('01', '01JDABCDEFGH0123456789ABCD')
  assert.equal(good?.kind, 'delivered')
  const [bad] = await attempt('03', '01JDABCDEFGH0123456789ABCE')
  assert.equal(bad?.kind === 'failed' && bad.failure.class, 'temporary')
  assert.match(JSON.stringify(bad), /queue\/01, who is not wanted here/)
  assert.equal(instance.audit().accepted, 1)
})

test('a key that cannot be read keeps the old certificate in use', async (t) => {
  const tlsCluster = await TlsCluster.make(t)
  const credentials = await tlsCluster.credentials('queue', '01')
  const instance = await tlsCluster.startQueue(credentials)
  const shown = await tlsCluster.authority.issue([edgeName])
  const next = await tlsCluster.authority.issue([queueName])
  writeCredentials(credentialsDirectory(tlsCluster.state, '01'), tlsCluster.authority.certificate, {
    certificate: next.certificate,
    key: Buffer.from('nonsense'),
  })
  await credentials.reload()
  assert.match(await offer(stranger(tlsCluster.port, shown)), taken)
  assert.equal(instance.phase, 'ready')
  assert.match(tlsCluster.logged.join(), /certificate not replaced, the one in force stays/)
})

test('a rotation under load loses nothing and drops no session', async (t) => {
  const tlsCluster = await TlsCluster.make(t)
  const { authority: old, port, state } = tlsCluster
  const next = await TestAuthority.make(t, 2)
  const both = Buffer.concat([old.certificate, next.certificate])
  const places = [
    { id: '01', name: queueName, credentials: await tlsCluster.credentials('queue', '01') },
    { id: 'e1', name: edgeName, credentials: await tlsCluster.credentials('edge', 'e1') },
  ]
  const [queue, own] = places.map(({ credentials }) => credentials) as [TierCredentials, TierCredentials]
  const instance = await tlsCluster.startQueue(queue)
  const { edge, smtp } = await tlsCluster.startEdge(own)
  await eventually(() => edge.state().phase === 'ready')
  const retired = await old.issue([edgeName])
  let wanted = true
  let sent = 0
  const replies = new Set<string>()
  const load = Array.from({ length: 4 }, async () => {
    const client = await Client.greeted(t, smtp)
    while (wanted) {
      const { last } = await client.mail('s@sender.example', ['r@customer.example'], `Subject: ${sent++}\r\n\r\nx`)
      replies.add(String(last?.code))
    }
    client.destroy()
  })
  const step = async (ca: Buffer, by: TestAuthority | undefined) => {
    for (const { id, name, credentials } of places) {
      const usable = credentials.usable()
      assert.ok(usable.kind === 'usable')
      const pair = by === undefined ? usable.credentials : await by.issue([name])
      writeCredentials(credentialsDirectory(state, id), ca, pair)
      await credentials.reload()
    }
    const now = sent
    await eventually(() => sent > now + 20)
    // Another edge process that comes up now.
    const late = await tlsCluster.startEdge(own)
    await eventually(() => late.edge.state().phase === 'ready')
    assert.match(await mailTo(t, late.smtp), /^250 /)
    sent++
  }
  await step(both, undefined)
  await step(both, next)
  await step(next.certificate, undefined)
  wanted = false
  await Promise.all(load)
  assert.deepEqual([...replies], ['250'])
  assert.equal(instance.audit().accepted, sent)
  assert.ok(!tlsCluster.logged.some((line) => /link lost|refused/.test(line)), tlsCluster.logged.join('\n'))
  assert.equal(await offer(stranger(port, retired)), '', 'the old one is trusted no more')
  assert.match(await offer(stranger(port, await next.issue([edgeName]))), taken)
})

test('a client that begins a handshake and does not go on with it is let go', async (t) => {
  const tlsCluster = await TlsCluster.make(t)
  await tlsCluster.startQueue(await tlsCluster.credentials('queue', '01'), { hurried: true })
  const socket = net.connect(tlsCluster.port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(Buffer.from([0x16]))
  socket.resume()
  await once(socket, 'close')
  assert.match(tlsCluster.logged.join(), /its handshake takes too long/)
})
