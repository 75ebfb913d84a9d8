import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { certificate } from '../support/certificate.ts'
import { Client, eventually, startEdge } from './edge-support.ts'
import { FakeInstance } from './fake-instance.ts'

const text = 'Subject: x\r\n\r\nhello'

describe('the edge', { concurrency: true }, () => {
  it('greets with the name of the cluster and no version', async (test) => {
    const { port } = await startEdge(test, {})
    const client = await Client.open(test, port)
    assert.deepEqual(await client.reply(), { code: 220, lines: ['mail.example.com ESMTP'] })
    assert.equal((await client.ask('QUIT'))?.code, 221)
    assert.equal(await client.reply(), undefined)
  })

  it('says whether it can reach any instance', async (test) => {
    const instance = await FakeInstance.start(test)
    const { edge } = await startEdge(test, { ports: { '00': instance.port } })
    await eventually(() => edge.state().phase === 'ready')
    await instance.close()
    await eventually(() => edge.state().phase === 'refusing')
    assert.equal(edge.state().why, 'no queue instance can be reached')
  })

  it('refuses relaying, loops, faulty text and size in the session', async (test) => {
    const instance = await FakeInstance.start(test)
    const { port, ledger } = await startEdge(test, {
      ports: { '00': instance.port },
      limits: { messageBytesMax: 10_000 },
    })
    const client = await Client.greeted(test, port)
    assert.equal((await client.ask('MAIL FROM:<a@x> SIZE=10001'))?.code, 552)
    assert.deepEqual((await client.mail('a@x', ['b@elsewhere.example'], text)).codes, [250, 553, 554])
    assert.equal((await client.ask('RSET'))?.code, 250)
    const hops = `${'Received: x\r\n'.repeat(30)}\r\n`
    assert.equal((await client.mail('a@x', ['b@example.com'], hops)).last?.enhanced, '5.4.6')
    const line = `${'x'.repeat(98)}\r\n`
    assert.equal((await client.mail('a@x', ['b@example.com'], line.repeat(101))).last?.code, 552)
    assert.equal((await client.mail('a@x', ['b@example.com'], 'a\nb')).last?.code, 554)
    assert.equal(await client.reply(), undefined)
    assert.equal(instance.arrivals.length, 0)
    assert.deepEqual(new Set(ledger.map(({ event }) => event)), new Set(['refused']))
    assert.equal(ledger.length, 3)
  })

  it('keeps submission for relay clients', async (test) => {
    const instance = await FakeInstance.start(test)
    const kinds = ['smtp', 'submission'] as const
    const strict = await startEdge(test, { kinds })
    const stranger = await Client.greeted(test, strict.ports['submission'] ?? 0)
    assert.equal((await stranger.ask('MAIL FROM:<a@x>'))?.code, 550)
    const open = await startEdge(test, { kinds, relayFrom: ['127.0.0.0/8'], ports: { '80': instance.port } })
    const friend = await Client.greeted(test, open.ports['submission'] ?? 0)
    assert.equal((await friend.mail('a@x', ['b@elsewhere.example'], text)).last?.code, 250)
  })

  it('limits connections, all together and per client', async (test) => {
    const few = await startEdge(test, { limits: { connectionsMax: 2 } })
    const clients = [await Client.greeted(test, few.port), await Client.greeted(test, few.port)]
    const third = await Client.open(test, few.port)
    assert.deepEqual([(await third.reply())?.enhanced, await third.reply()], ['4.3.2', undefined])
    clients[0]?.destroy()
    await eventually(() => few.edge.state().load.queued === 1)
    assert.equal((await (await Client.open(test, few.port)).reply())?.code, 220)
    const own = await startEdge(test, { limits: { connectionsPerClientMax: 1 } })
    await Client.greeted(test, own.port)
    assert.equal((await (await Client.open(test, own.port)).reply())?.enhanced, '4.7.0')
  })

  it('ends sessions that are silent, in commands, in a message, or last too long', async (test) => {
    const limits = { commandTimeoutMs: 200, dataTimeoutMs: 400, sessionTimeoutMs: 3000 }
    const { port, edge } = await startEdge(test, { limits })
    const idle = await Client.greeted(test, port)
    const began = Date.now()
    assert.equal((await idle.reply())?.enhanced, '4.4.2')
    assert.ok(Date.now() - began >= 190 && Date.now() - began < 2000)
    assert.equal(await idle.reply(), undefined)
    const writing = await Client.greeted(test, port)
    writing.send('MAIL FROM:<a@x>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n')
    for (let count = 0; count < 3; count++) await writing.reply()
    const beganText = Date.now()
    assert.equal((await writing.reply())?.code, 421)
    assert.ok(Date.now() - beganText >= 390 && Date.now() - beganText < 2000)
    const busy = await Client.greeted(test, port)
    const beganBusy = Date.now()
    for (let reply = await busy.ask('NOOP'); reply?.code === 250; reply = await busy.ask('NOOP')) {
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    assert.ok(Date.now() - beganBusy >= 2900)
    await eventually(() => edge.state().load.queued === 0)
  })

  it('speaks TLS after STARTTLS and forgets what was said before', async (test) => {
    const instance = await FakeInstance.start(test)
    const { port } = await startEdge(test, { ports: { '00': instance.port } }, certificate(test))
    const client = await Client.greeted(test, port)
    assert.equal((await client.ask('STARTTLS'))?.code, 220)
    await client.startTls()
    assert.equal((await client.ask('MAIL FROM:<a@x>'))?.code, 503)
    const hello = await client.ask('EHLO secure.example')
    assert.equal(hello?.lines.includes('STARTTLS'), false)
    assert.equal((await client.mail('a@x', ['b@example.com'], text)).last?.code, 250)
    assert.match(instance.arrivals[0]?.text ?? '', /from secure\.example .*\r\n.* with ESMTPS id /)
  })

  it('drops a client that slips commands in behind STARTTLS', async (test) => {
    const { port } = await startEdge(test, {}, certificate(test))
    const client = await Client.greeted(test, port)
    assert.equal(await client.ask('STARTTLS\r\nRSET'), undefined)
  })

  it('speaks TLS from the first byte on smtps, and listens there only with a certificate', async (test) => {
    const instance = await FakeInstance.start(test)
    const kinds = ['smtp', 'smtps'] as const
    const relayFrom = ['127.0.0.1/32']
    const { ports } = await startEdge(test, { kinds, relayFrom, ports: { '00': instance.port } }, certificate(test))
    const client = await Client.openTls(test, ports['smtps'] ?? 0)
    assert.equal((await client.reply())?.code, 220)
    await client.ask('EHLO c.example')
    assert.equal((await client.mail('a@x', ['b@example.com'], text)).last?.code, 250)
    assert.match(instance.arrivals[0]?.text ?? '', / with ESMTPS id /)
    const plain = await startEdge(test, { kinds })
    assert.deepEqual(Object.keys(plain.ports), ['smtp'])
  })

  it('answers a client that has finished sending before the verdict', async (test) => {
    const instance = await FakeInstance.start(test)
    const { port } = await startEdge(test, { ports: { '00': instance.port } })
    const client = await Client.greeted(test, port)
    client.send('MAIL FROM:<a@x>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n')
    for (let count = 0; count < 3; count++) await client.reply()
    client.send(`${text}\r\n.\r\n`)
    client.end()
    assert.equal((await client.reply())?.code, 250)
    assert.equal(await client.reply(), undefined)
  })

  it('answers what was sent ahead of the verdict after it, in order', async (test) => {
    const instance = await FakeInstance.start(test)
    const { port } = await startEdge(test, { ports: { '00': instance.port } })
    const client = await Client.greeted(test, port)
    client.send('MAIL FROM:<a@x>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n')
    for (let count = 0; count < 3; count++) await client.reply()
    client.send(`${text}\r\n.\r\nMAIL FROM:<>\r\n`)
    await new Promise((resolve) => setImmediate(resolve))
    client.send('RCPT TO:<c@example.com>\r\nQUIT\r\n')
    const codes: (number | undefined)[] = []
    for (let count = 0; count < 5; count++) codes.push((await client.reply())?.code)
    assert.deepEqual(codes, [250, 250, 250, 221, undefined])
  })

  it('reads no further while too much is held, and refuses the one that waits too long', {
    timeout: 20_000,
  }, async (test) => {
    const instance = await FakeInstance.start(test, () => 'silent')
    const { port, edge } = await startEdge(test, {
      ports: { '00': instance.port },
      limits: { bufferedBytesMax: 200_000, dataTimeoutMs: 20_000, commandTimeoutMs: 20_000 },
      handoff: { replyTimeoutMs: 20_000 },
    })
    const big = ['X: y', '', ...Array.from({ length: 1500 }, () => 'x'.repeat(98))].join('\r\n')
    const holder = await Client.greeted(test, port)
    const held = holder.mail('a@x', ['b@example.com'], big)
    await eventually(() => instance.arrivals.length === 1)
    const waiter = await Client.greeted(test, port)
    const refused = waiter.mail('a@x', ['b@example.com'], big.repeat(4))
    await eventually(() => edge.budget.exceeded)
    await new Promise((resolve) => setTimeout(resolve, 200))
    assert.ok(edge.budget.bytes < 200_000 + 65_536)
    const third = await Client.greeted(test, port)
    assert.deepEqual((await third.mail('a@x', ['b@example.com'], text)).codes, [250, 250, 451])
    const { last } = await refused
    assert.deepEqual([last?.code, last?.enhanced], [451, '4.3.1'])
    instance.behaviour = () => 'K'
    await instance.close()
    await instance.open()
    assert.equal((await held).last?.code, 250)
    assert.equal(edge.budget.bytes, 0)
  })

  it('stops: the idle are sent away, a message under way is finished', async (test) => {
    const instance = await FakeInstance.start(test)
    const { port, edge } = await startEdge(test, { ports: { '00': instance.port } })
    const idle = await Client.greeted(test, port)
    const writing = await Client.greeted(test, port)
    writing.send('MAIL FROM:<a@x>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n')
    for (let count = 0; count < 3; count++) await writing.reply()
    const stopped = edge.stop()
    assert.deepEqual([(await idle.reply())?.enhanced, await idle.reply()], ['4.3.2', undefined])
    idle.end()
    writing.send(`${text}\r\n.\r\n`)
    assert.equal((await writing.reply())?.code, 250)
    assert.equal((await writing.reply())?.code, 421)
    assert.equal(await writing.reply(), undefined)
    writing.end()
    await stopped
    assert.equal(instance.arrivals.length, 1)
    assert.equal(edge.state().phase, 'stopping')
    const late = await Client.open(test, port)
    assert.equal(await late.reply(), undefined)
  })

  it('survives a client that leaves at any point', async (test) => {
    const instance = await FakeInstance.start(test)
    const { port, edge } = await startEdge(test, { ports: { '00': instance.port } })
    const all = `EHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n${text}\r\n.\r\nQUIT\r\n`
    for (let length = 0; length <= all.length; length += 3) {
      const client = await Client.open(test, port)
      await client.reply()
      client.send(all.slice(0, length))
      if (length % 2 === 0) client.destroy()
      else client.end()
    }
    await eventually(() => edge.state().load.queued === 0 && edge.handOver.underWay === 0)
    assert.equal(edge.budget.bytes, 0)
    const client = await Client.greeted(test, port)
    assert.equal((await client.mail('a@x', ['b@example.com'], text)).last?.code, 250)
  })
})
