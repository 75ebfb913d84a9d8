import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { makeTransactionId, transactionIdPattern } from '../../services/contract/transaction-id.ts'
import { Transaction } from '../../services/edge/transaction.ts'
import { Client, eventually, startEdge } from './edge-support.ts'
import { FakeInstance } from './fake-instance.ts'

const text = 'Subject: x\r\n\r\nhello'

describe('handing a message over', { concurrency: true }, () => {
  it('answers 250 with the id after the instance has answered K', async (test) => {
    const instance = await FakeInstance.start(test)
    const { port, ledger } = await startEdge(test, { ports: { '00': instance.port } })
    const client = await Client.greeted(test, port)
    const { codes, last } = await client.mail('a@x.example', ['b@example.com', 'c@example.com'], text)
    assert.deepEqual(codes, [250, 250, 250, 354])
    const id = /^ok [0-9]+ qp (\S+)$/.exec(last?.lines[0] ?? '')?.[1] ?? ''
    assert.match(id, transactionIdPattern)
    const [arrival] = instance.arrivals
    assert.equal(arrival?.id, id)
    assert.equal(arrival?.form, 'crlf')
    assert.deepEqual([arrival?.sender, arrival?.recipients], ['a@x.example', ['b@example.com', 'c@example.com']])
    assert.match(
      arrival?.text ?? '',
      /^Received: from client\.example \(\[127\.0\.0\.1\]\)\r\n {2}by mail\.example\.com with ESMTP id \S+; .* -0000\r\nSubject: x\r\n\r\nhello\r\n$/,
    )
    assert.deepEqual(
      ledger.map(({ id, event, sender, recipients, bytes, to }) => ({ id, event, sender, recipients, bytes, to })),
      [
        {
          id,
          event: 'received',
          sender: 'a@x.example',
          recipients: ['b@example.com', 'c@example.com'],
          bytes: text.length + 2,
          to: `qmtp 127.0.0.1:${instance.port}`,
        },
      ],
    )
  })

  it('splits by pool, one id per package', async (test) => {
    const internal = await FakeInstance.start(test)
    const customer = await FakeInstance.start(test)
    const { port } = await startEdge(test, { ports: { '00': internal.port, '01': customer.port } })
    const client = await Client.greeted(test, port)
    const { last } = await client.mail('a@x', ['b@example.com', 'c@customer.example', 'd@example.com'], text)
    assert.equal(last?.code, 250)
    assert.deepEqual(internal.arrivals[0]?.recipients, ['b@example.com', 'd@example.com'])
    assert.deepEqual(customer.arrivals[0]?.recipients, ['c@customer.example'])
    const id = last?.lines[0]?.split(' ').at(-1)
    assert.deepEqual([internal.arrivals[0]?.id, customer.arrivals[0]?.id], [`${id}-0`, `${id}-1`])
  })

  it('asks the same instance with the same bytes after a lost acknowledgement', async (test) => {
    const first = await FakeInstance.start(test, (_, number) => (number === 0 ? 'drop' : 'K'))
    const second = await FakeInstance.start(test, (_, number) => (number === 0 ? 'drop' : 'K'))
    const backup = await FakeInstance.start(test)
    const ports = { '01': first.port, '02': second.port, '99': backup.port }
    const { port } = await startEdge(test, { ports })
    const client = await Client.greeted(test, port)
    const { last } = await client.mail('a@x', ['b@customer.example'], text)
    assert.equal(last?.code, 250)
    const [asked, other] = first.arrivals.length > 0 ? [first, second] : [second, first]
    assert.equal(asked.arrivals.length, 2)
    assert.deepEqual(asked.arrivals[0], asked.arrivals[1])
    assert.equal(other.arrivals.length + backup.arrivals.length, 0)
  })

  it('asks the same instance after it came back from the dead', async (test) => {
    const only = await FakeInstance.start(test, () => 'silent')
    const backup = await FakeInstance.start(test)
    const { port } = await startEdge(test, {
      ports: { '00': only.port, '99': backup.port },
      handoff: { unclearRetryMs: 5000 },
    })
    const client = await Client.greeted(test, port)
    const answer = client.mail('a@x', ['b@example.com'], text)
    await eventually(() => only.arrivals.length === 1)
    await only.close()
    only.behaviour = () => 'K'
    await new Promise((resolve) => setTimeout(resolve, 300))
    await only.open()
    assert.equal((await answer).last?.code, 250)
    assert.deepEqual(only.arrivals[1], only.arrivals[0])
    assert.equal(backup.arrivals.length, 0)
  })

  it('gives up with 451 when it stays unclear, and never asks another', async (test) => {
    const only = await FakeInstance.start(test, () => 'drop')
    const backup = await FakeInstance.start(test)
    const { port, ledger } = await startEdge(test, {
      ports: { '00': only.port, '99': backup.port },
      handoff: { unclearRetryMs: 400 },
    })
    const client = await Client.greeted(test, port)
    const { last } = await client.mail('a@x', ['b@example.com'], text)
    assert.deepEqual([last?.code, last?.enhanced], [451, '4.3.0'])
    assert.ok(only.arrivals.length >= 2)
    assert.equal(new Set(only.arrivals.map((arrival) => arrival.id)).size, 1)
    assert.equal(backup.arrivals.length, 0)
    assert.equal(ledger[0]?.event, 'refused')
  })

  it('takes a reply that does not come for an unclear outcome', async (test) => {
    const only = await FakeInstance.start(test, (_, number) => (number === 0 ? 'silent' : 'K'))
    const backup = await FakeInstance.start(test)
    const { port } = await startEdge(test, {
      ports: { '00': only.port, '99': backup.port },
      handoff: { replyTimeoutMs: 200 },
    })
    const client = await Client.greeted(test, port)
    const { last } = await client.mail('a@x', ['b@example.com'], text)
    assert.equal(last?.code, 250)
    assert.deepEqual(only.arrivals[1], only.arrivals[0])
    assert.equal(only.connections, 2)
    assert.equal(backup.arrivals.length, 0)
  })

  it('goes to the other instance where the connection is refused', async (test) => {
    const second = await FakeInstance.start(test)
    const { port } = await startEdge(test, { ports: { '02': second.port } })
    const client = await Client.greeted(test, port)
    for (let count = 0; count < 4; count++) {
      assert.equal((await client.mail('a@x', ['b@customer.example'], text)).last?.code, 250)
    }
    assert.equal(second.arrivals.length, 4)
  })

  it('goes to the other instance after Z, then to the backup, then answers 451 with the reason', async (test) => {
    const first = await FakeInstance.start(test, () => 'Z')
    const second = await FakeInstance.start(test, () => 'Z')
    const backup = await FakeInstance.start(test)
    const { port } = await startEdge(test, { ports: { '01': first.port, '02': second.port, '99': backup.port } })
    const client = await Client.greeted(test, port)
    const counts = () => [first.arrivals.length, second.arrivals.length, backup.arrivals.length]
    assert.equal((await client.mail('a@x', ['b@customer.example'], text)).last?.code, 250)
    assert.deepEqual(counts(), [1, 1, 1])
    backup.behaviour = () => 'Z'
    const { last } = await client.mail('a@x', ['b@customer.example'], text)
    assert.deepEqual([last?.code, last?.lines[0]], [451, 'said Z (#4.3.0)'])
    assert.deepEqual(counts(), [2, 2, 2])
  })

  it('answers 451 where nobody is there, and 250 when somebody is again', async (test) => {
    const instance = await FakeInstance.start(test)
    await instance.close()
    const { port } = await startEdge(test, { ports: { '00': instance.port } })
    const client = await Client.greeted(test, port)
    const { last } = await client.mail('a@x', ['b@example.com'], text)
    assert.deepEqual([last?.code, last?.enhanced], [451, '4.3.0'])
    await instance.open()
    await new Promise((resolve) => setTimeout(resolve, 300))
    assert.equal((await client.mail('a@x', ['b@example.com'], text)).last?.code, 250)
  })

  it('passes a refusal on', async (test) => {
    const instance = await FakeInstance.start(test, () => 'D')
    const { port } = await startEdge(test, { ports: { '00': instance.port } })
    const client = await Client.greeted(test, port)
    const { last } = await client.mail('a@x', ['b@example.com'], text)
    assert.deepEqual([last?.code, last?.enhanced, last?.lines[0]], [554, '5.1.1', 'said D (#5.1.1)'])
  })

  it('remembers what was committed, so that the next try sends only the rest, once', async (test) => {
    const internal = await FakeInstance.start(test)
    const customer = await FakeInstance.start(test, () => 'Z')
    const { port } = await startEdge(test, { ports: { '00': internal.port, '01': customer.port } })
    const client = await Client.greeted(test, port)
    const mail = () => client.mail('a@x', ['b@example.com', 'c@customer.example'], text)
    assert.equal((await mail()).last?.code, 451)
    assert.equal((await mail()).last?.code, 451)
    assert.equal(internal.arrivals.length, 1)
    customer.behaviour = () => 'K'
    assert.equal((await client.mail('a@x', ['b@example.com'], `${text}!`)).last?.code, 250)
    assert.equal(internal.arrivals.length, 2)
    assert.equal((await mail()).last?.code, 250)
    assert.equal(internal.arrivals.length, 2)
    assert.deepEqual(customer.arrivals.at(-1)?.recipients, ['c@customer.example'])
    assert.equal((await mail()).last?.code, 250)
    assert.equal(internal.arrivals.length, 3)
  })

  it('turns K beside D into 451, and the next try into 554', async (test) => {
    const instance = await FakeInstance.start(test, ({ recipients }) => (recipients.length === 2 ? 'KD' : 'D'))
    const { port } = await startEdge(test, { ports: { '00': instance.port } })
    const client = await Client.greeted(test, port)
    const mail = () => client.mail('a@x', ['b@example.com', 'c@example.com'], text)
    assert.equal((await mail()).last?.code, 451)
    assert.equal((await mail()).last?.code, 554)
    assert.deepEqual(instance.arrivals[1]?.recipients, ['c@example.com'])
  })

  it('carries the message to its end when the client has gone', async (test) => {
    const instance = await FakeInstance.start(test, () => 'silent')
    const running = await startEdge(test, { ports: { '00': instance.port } })
    const client = await Client.greeted(test, running.port)
    const gone = client.mail('a@x', ['b@example.com'], text)
    await eventually(() => instance.arrivals.length === 1)
    client.destroy()
    await gone
    instance.behaviour = () => 'K'
    await eventually(() => running.ledger.some(({ event }) => event === 'received'), 8000)
    assert.deepEqual(instance.arrivals[1], instance.arrivals[0])
    assert.equal(running.edge.budget.bytes, 0)
  })

  it('keeps to the window and sends the rest after replies', async (test) => {
    const instance = await FakeInstance.start(test, () => 'silent')
    const { port, edge } = await startEdge(test, {
      ports: { '00': instance.port },
      handoff: { windowPackages: 3, replyTimeoutMs: 500, unclearRetryMs: 5000 },
    })
    const clients = await Promise.all(Array.from({ length: 8 }, () => Client.greeted(test, port)))
    const answers = clients.map((client, index) => client.mail('a@x', ['b@example.com'], `${text} ${index}`))
    await eventually(() => edge.handOver.underWay === 8 && instance.arrivals.length === 3)
    await new Promise((resolve) => setTimeout(resolve, 50))
    assert.equal(instance.arrivals.length, 3)
    instance.behaviour = () => 'K'
    const ends = await Promise.all(answers)
    // The first three become unclear and are offered again; the others waited for the next connection.
    assert.deepEqual(new Set(ends.map(({ last }) => last?.code)), new Set([250]))
    assert.equal(instance.arrivals.length, 11)
  })

  it('gives packages of a dead connection that were never sent to another instance', async (test) => {
    const only = await FakeInstance.start(test, (_, number) => (number === 0 ? 'silent' : 'K'))
    const backup = await FakeInstance.start(test)
    const { port, edge } = await startEdge(test, {
      ports: { '00': only.port, '99': backup.port },
      handoff: { windowPackages: 1, unclearRetryMs: 5000 },
    })
    const clients = await Promise.all([Client.greeted(test, port), Client.greeted(test, port)])
    const first = clients[0]?.mail('a@x', ['b@example.com'], 'first')
    await eventually(() => only.arrivals.length === 1)
    const second = clients[1]?.mail('a@x', ['b@example.com'], 'second')
    await eventually(() => edge.handOver.underWay === 2)
    await only.close()
    await eventually(() => backup.arrivals.length === 1)
    await only.open()
    assert.equal((await first)?.last?.code, 250)
    assert.equal((await second)?.last?.code, 250)
    assert.deepEqual(
      only.arrivals.map(({ text }) => text.endsWith('first\r\n')),
      [true, true],
    )
    assert.deepEqual(
      backup.arrivals.map(({ text }) => text.endsWith('second\r\n')),
      [true],
    )
  })

  it('follows a new layout', async (test) => {
    const before = await FakeInstance.start(test)
    const after = await FakeInstance.start(test)
    const { port, edge } = await startEdge(test, { ports: { '00': before.port } })
    const client = await Client.greeted(test, port)
    await client.mail('a@x', ['b@example.com'], text)
    const { smallLayout } = await import('./small-layout.ts')
    edge.apply({ ...smallLayout({ ports: { '00': after.port } }), epoch: 2 })
    assert.equal((await client.mail('a@x', ['b@example.com'], text)).last?.code, 250)
    assert.deepEqual([before.arrivals.length, after.arrivals.length, edge.state().epoch], [1, 1, 2])
  })

  it('carries a big message unchanged', async (test) => {
    const instance = await FakeInstance.start(test)
    const { port } = await startEdge(test, { ports: { '00': instance.port } })
    const client = await Client.greeted(test, port)
    const lines = Array.from({ length: 9000 }, (_, index) => `line ${index} ${'x'.repeat(90)}`)
    const big = ['Subject: big', '', ...lines].join('\r\n')
    assert.equal((await client.mail('a@x', ['b@example.com'], big)).last?.code, 250)
    assert.ok(instance.arrivals[0]?.text.endsWith(`-0000\r\n${big}\r\n`))
  })

  it('hashes no text that cannot be one it remembers', async (test) => {
    const internal = await FakeInstance.start(test)
    const customer = await FakeInstance.start(test, () => 'Z')
    const { edge } = await startEdge(test, { ports: { '00': internal.port, '01': customer.port } })
    const recipients = [
      { address: 'b@example.com', pool: 'INTERNAL' },
      { address: 'c@customer.example', pool: 'CUSTOMER' },
    ]
    /** Whether the text was looked at before anything was written. */
    const begin = async (given: string, sender = 'a@x'): Promise<boolean> => {
      const transaction = new Transaction(sender, false)
      transaction.id = makeTransactionId(Date.now(), randomBytes(10))
      transaction.recipients.push(...recipients)
      transaction.add(Buffer.from(given))
      let looks = 0
      const { chunks } = transaction
      const get = () => {
        looks++
        return chunks
      }
      Object.defineProperty(transaction, 'chunks', { get })
      return new Promise((resolve) => {
        let looked = false
        edge.handOver.begin(transaction, () => resolve(looked))
        looked = looks > 0
      })
    }
    await eventually(() => edge.handOver.reachesAny)
    assert.equal(await begin('the first'), false)
    assert.equal(await begin('another text'), false)
    assert.equal(await begin('the first', 'b@x'), false)
    assert.equal(await begin('the third'), true)
  })
})
