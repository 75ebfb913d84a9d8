import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import type { Attempt, Destination } from '../../../services/contract/delivery.ts'
import type { QmtpTransportLimits } from '../../../services/queue/delivery/qmtp-transport.ts'
import { QmtpTransport } from '../../../services/queue/delivery/qmtp-transport.ts'
import { attemptTo, bodyOf, outcomesOf, testWorld } from './delivery-support.ts'
import { FakeQmtpServer } from './fake-qmtp-server.ts'

const servers: FakeQmtpServer[] = []
const transports: QmtpTransport[] = []

async function server(port = 0): Promise<FakeQmtpServer> {
  const made = await new FakeQmtpServer().listen(port)
  servers.push(made)
  return made
}

function transport(limits: Partial<QmtpTransportLimits> = {}): QmtpTransport {
  const made = new QmtpTransport(testWorld(), { cluster: 'mx.example', instance: '00', limits })
  transports.push(made)
  return made
}

function poolOf(...peers: readonly { readonly port: number }[]): Destination {
  return { key: 'pool:P', kind: 'qmtp', hosts: peers.map(({ port }) => ({ host: '127.0.0.1', port })) }
}

const id = '01JDB0000000000000000000AA'
const ours = `Received: from x ([127.0.0.1])\r\n  by mx.example with QMTP id ${id}; 23 Nov 2026 03:25:59 -0000\r\n`

function idOf(count: number): string {
  return `01JDABCDEFGH0123456789AB${String(count).padStart(2, '0')}`
}

function attempt(destination: Destination, changes: Partial<Attempt> = {}): Attempt {
  return attemptTo(destination, { id, body: bodyOf(`${ours}Subject: x\r\n\r\nhi\r\n`), ...changes })
}

afterEach(async () => {
  for (const made of transports.splice(0)) made.close()
  for (const made of servers.splice(0)) await made.close()
})

describe('QMTP transport', () => {
  it('sends the stored bytes in their own form, with raw addresses, over one connection', async () => {
    const peer = await server()
    const made = transport()
    const recipients = ['odd "one@two.example', 'c@two.example']
    for (const form of ['crlf', 'lf'] as const) {
      const text = form === 'lf' ? `${ours}\nx\n`.replaceAll('\r\n', '\n') : `${ours}\r\nx\r\n`
      const outcomes = await outcomesOf(
        made,
        attempt(poolOf(peer), { recipients, body: bodyOf(text, form, form === 'lf') }),
      )
      assert.deepEqual(outcomes, ['ok ok 1 qp 2', 'ok ok 1 qp 2'])
      const heard = peer.packages.at(-1)
      assert.deepEqual(
        [heard?.form, heard?.text, heard?.sender, heard?.recipients],
        [form, text, 'a@one.example', recipients],
      )
    }
    assert.equal(peer.connections, 1)
  })

  it('puts a Received line with its id before a message that has none, or another', async () => {
    const peer = await server()
    const made = transport()
    const other = ours.replace(id, '01JDB0000000000000000000ZZ')
    for (const [text, form] of [
      ['Subject: x\n\nhi\n', 'lf'],
      [`${other}\r\nhi\r\n`, 'crlf'],
      ['', 'crlf'],
    ] as const) {
      await outcomesOf(made, attempt(poolOf(peer), { body: bodyOf(text, form) }))
      const heard = peer.packages.at(-1)
      assert.equal(heard?.id, id)
      assert.ok(heard?.text.endsWith(text))
      assert.equal(heard?.text.split('\n').length, text.split('\n').length + 2)
    }
  })

  it('keeps every reply apart, word by word', async () => {
    const peer = await server()
    peer.script = () => ['Kfine', 'Zqq temporary problem (#4.3.0)', 'Dsorry, no (#5.7.1)', 'Dno\u001b[2J\r\nnumber']
    const recipients = ['a@x', 'b@x', 'c@x', 'd@x']
    assert.deepEqual(await outcomesOf(transport(), attempt(poolOf(peer), { recipients })), [
      'ok fine',
      'temporary 4.3.0 qq temporary problem (#4.3.0)',
      'permanent 5.7.1 sorry, no (#5.7.1)',
      'permanent 5.0.0 no?[2J?number',
    ])
  })

  it('asks the same host again where the connection is lost before the reply, and no other', async () => {
    const first = await server()
    const second = await server()
    for (const peer of [first, second]) peer.script = (count) => (count === 1 ? 'drop' : 'ok')
    assert.deepEqual(await outcomesOf(transport(), attempt(poolOf(first, second))), ['ok ok 1 qp 2'])
    const counts = [first.packages.length, second.packages.length].sort()
    assert.deepEqual(counts, [0, 2])
    const heard = [...first.packages, ...second.packages]
    assert.equal(heard[0]?.text, heard[1]?.text)
    assert.equal(heard[0]?.id, id)
  })

  it('leaves an unclear attempt to the queue after a while, and then asks the same host', async () => {
    const first = await server()
    const second = await server()
    for (const peer of [first, second]) peer.script = () => 'drop'
    const made = transport({ unclearRetryMs: 0 })
    assert.match(
      String(await outcomesOf(made, attempt(poolOf(first, second)))),
      /^temporary 4\.4\.2 no reply .* may have arrived/,
    )
    const [bound, other] = first.packages.length > 0 ? [first, second] : [second, first]
    for (const peer of [first, second]) peer.script = () => 'ok'
    for (let count = 0; count < 3; count++) {
      bound.script = () => (count < 2 ? 'drop' : 'ok')
      await outcomesOf(made, attempt(poolOf(first, second)))
    }
    assert.deepEqual([bound.packages.length, other.packages.length], [4, 0])
    for (let count = 0; count < 20; count++) await outcomesOf(made, attempt(poolOf(first, second), { id: idOf(count) }))
    assert.ok(other.packages.length > 0, 'other messages go to either host')
  })

  it('asks the same host again after a crash forgot who was asked', async () => {
    const peers = [await server(), await server()]
    for (const peer of peers) peer.script = () => 'drop'
    for (let life = 0; life < 4; life++) {
      await outcomesOf(transport({ unclearRetryMs: 0 }), attempt(poolOf(...peers), { id: idOf(7) }))
    }
    assert.deepEqual(peers.map((peer) => peer.packages.length).sort(), [0, 4])
  })

  it('is free again where the destination no longer has the host', async () => {
    const first = await server()
    first.script = () => 'drop'
    const second = await server()
    const made = transport({ unclearRetryMs: 0 })
    await outcomesOf(made, attempt(poolOf(first)))
    assert.deepEqual(await outcomesOf(made, attempt(poolOf(second))), ['ok ok 1 qp 2'])
  })

  it('goes to another host where nothing could be sent', async () => {
    const dead = await server()
    const { port } = dead
    await dead.close()
    const peer = await server()
    for (let count = 0; count < 4; count++) {
      assert.deepEqual(await outcomesOf(transport(), attempt(poolOf({ port }, peer))), ['ok ok 1 qp 2'])
    }
  })

  it('waits for a host that comes back, not for one that does not', async () => {
    const dead = await server()
    const { port } = dead
    await dead.close()
    const waiting = outcomesOf(transport(), attempt(poolOf({ port })))
    await new Promise((resolve) => setTimeout(resolve, 200))
    await server(port)
    assert.deepEqual(await waiting, ['ok ok 1 qp 2'])
    const gone = await outcomesOf(transport({ patienceMs: 0 }), attempt(poolOf({ port: 1 })))
    assert.match(String(gone), /^temporary 4\.4\.1 no QMTP server takes mail/)
    const nobody = await outcomesOf(transport({ patienceMs: 0 }), attempt(poolOf()))
    assert.match(String(nobody), /^temporary 4\.4\.1 no QMTP server takes mail/)
  })

  it('ends an attempt whose reply never comes', async () => {
    const peer = await server()
    peer.script = () => 'silent'
    const outcomes = await outcomesOf(transport({ replyTimeoutMs: 100, unclearRetryMs: 0 }), attempt(poolOf(peer)))
    assert.match(String(outcomes), /^temporary 4\.4\.2 no reply/)
  })

  it('spreads attempts over equal hosts and pipelines them', async () => {
    const peers = [await server(), await server()]
    const made = transport()
    const attempts = Array.from({ length: 40 }, (_, count) =>
      outcomesOf(made, attempt(poolOf(...peers), { id: idOf(count) })),
    )
    for (const outcomes of await Promise.all(attempts)) assert.deepEqual(outcomes, ['ok ok 1 qp 2'])
    for (const peer of peers) {
      assert.ok(peer.packages.length >= 10, `${peer.packages.length} of 40`)
      assert.equal(peer.connections, 1)
    }
  })

  it('holds no more loaded bodies than its limit', async () => {
    const peer = await server()
    peer.script = () => 'ok'
    const made = transport({ loadedBytesMax: 250 })
    let held = 0
    let heldMax = 0
    const bytes = Buffer.from(`${ours}${'x'.repeat(20)}`)
    const runs = Array.from({ length: 10 }, () => {
      const slice = async (at: number, length: number) => {
        if (length > 1) heldMax = Math.max(heldMax, ++held)
        await new Promise((resolve) => setTimeout(resolve, 5))
        return bytes.subarray(at, at + length)
      }
      const body = { form: 'crlf', bytes: bytes.length, slice } as const
      return outcomesOf(made, attempt(poolOf(peer), { body })).then(() => held--)
    })
    await Promise.all(runs)
    assert.equal(peer.packages.length, 10)
    assert.ok(heldMax <= 2, `${heldMax} bodies at a time`)
  })

  it('calls a body it cannot read our own temporary fault', async () => {
    const peer = await server()
    const body = { form: 'crlf', bytes: 10, slice: () => Promise.reject(new Error('EIO')) } as const
    const outcomes = await outcomesOf(transport(), attempt(poolOf(peer), { body }))
    assert.equal(String(outcomes), 'temporary 4.3.0 stored message could not be read')
  })

  it('after close, refuses for now and answers what waits', async () => {
    const made = transport()
    const waiting = outcomesOf(made, attempt(poolOf()))
    made.close()
    assert.match(String(await waiting), /^temporary 4\.3\.2/)
    assert.match(String(await outcomesOf(made, attempt(poolOf()))), /^temporary 4\.3\.2/)
  })

  it('binds attempts of one message apart, each with its recipients', async () => {
    const peers = [await server(), await server()]
    const made = transport({ unclearRetryMs: 0, patienceMs: 300 })
    const one = attempt(poolOf(...peers), { recipients: ['a@two.example'] })
    const other = attempt(poolOf(...peers), { recipients: ['b@two.example'] })
    for (const peer of peers) peer.script = () => 'drop'
    await outcomesOf(made, one)
    const [bound, free] = peers[0]!.packages.length > 0 ? [peers[0]!, peers[1]!] : [peers[1]!, peers[0]!]
    for (const peer of peers) peer.script = () => 'ok'
    assert.deepEqual(await outcomesOf(made, other), ['ok ok 1 qp 2'])
    await bound.close()
    await new Promise((resolve) => setTimeout(resolve, 100))
    assert.match(String(await outcomesOf(made, one)), /^temporary 4\.4\.1/)
    assert.equal(free.packages.length, 0)
  })
})
