import assert from 'node:assert/strict'
import fs from 'node:fs'
import net from 'node:net'
import { test } from 'node:test'
import { bounceOptionsOf, QmailBouncePolicy } from '../../services/bounce/bounce-policy.ts'
import type { Attempt, Outcome, Transport } from '../../services/contract/delivery.ts'
import type { Layout } from '../../services/contract/layout.ts'
import type { LedgerEvent } from '../../services/contract/ledger.ts'
import { permanent, temporary } from '../../services/protocol/failure.ts'
import { encodeQmtpHead, encodeQmtpTail } from '../../services/protocol/qmtp.ts'
import { QueueInstance } from '../../services/queue/instance.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import { layoutOf, shippedConf } from '../support/shipped-layout.ts'
import { type Cleanup, temporaryDirectory } from '../support/temporary-directory.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }

/** A transport that records its attempts and answers as told. */
class Recorder implements Transport {
  readonly attempts: { to: string; id: string; sender: string; recipients: readonly string[]; body: string }[] = []
  answer: (recipient: string) => Outcome = () => ({ kind: 'delivered', to: 'recorder', text: 'ok' })
  waiting: (() => void)[] | undefined

  attempt(attempt: Attempt, done: (outcomes: readonly Outcome[]) => void): void {
    const { id, sender, recipients, body, destination } = attempt
    Promise.resolve(body.slice(0, body.bytes)).then((bytes) => {
      this.attempts.push({ to: destination.key, id, sender, recipients, body: bytes.toString('latin1') })
      const settle = (): void => done(recipients.map((recipient) => this.answer(recipient)))
      if (this.waiting === undefined) settle()
      else this.waiting.push(settle)
    }, assert.fail)
  }

  close(): void {}
}

interface Running {
  readonly instance: QueueInstance
  readonly transport: Recorder
  readonly ledger: LedgerEvent[]
  readonly port: number
}

function layoutWith(deliver: string): Layout {
  return layoutOf(shippedConf.replace(/deliver: "smtp:[^"]*"/, `deliver: ${deliver}`))
}

async function start(
  t: Cleanup,
  state: string,
  id: string,
  options: { layout?: Layout; reserve?: number } = {},
): Promise<Running> {
  const ledger: LedgerEvent[] = []
  const transport = new Recorder()
  const compiled = options.layout ?? layoutOf(shippedConf)
  const layout = {
    ...compiled,
    instances: compiled.instances.map((one) => (one.id === id ? { ...one, port: 0 } : one)),
  }
  fs.mkdirSync(`${state}/instances/${id}`, { recursive: true })
  const instance = new QueueInstance(systemWorld(silent), {
    layout,
    id,
    state,
    ledger: { record: (event) => ledger.push(event) },
    transports: { smtp: transport, qmtp: transport, maildir: transport },
    bouncePolicyOf: (cluster, pool) => new QmailBouncePolicy(bounceOptionsOf(cluster, pool)),
    onFatal: (why) => assert.fail(why),
    handoverDoors: () => Promise.reject(new Error('nothing is handed over here')),
    limits: { diskReserveBytes: options.reserve ?? 1024 * 1024, diskCheckMs: 20, stopWaitMs: 100 },
  })
  await instance.start()
  t.after(() => instance.stop().catch(() => {}))
  return { instance, transport, ledger, port: instance.address?.port ?? 0 }
}

const id = '01JDABCDEFGH0123456789ABCD'

function packageBytes(given: { id?: string; sender?: string; recipients: readonly string[]; text?: string }): Buffer {
  const trace =
    given.id === undefined
      ? ''
      : `Received: from c ([192.0.2.1])\r\n  by mail.example.com with SMTP id ${given.id}; 1 Jan 2026 00:00:00 -0000\r\n`
  const body = `${trace}${given.text ?? 'Subject: test\r\n\r\nhello\r\n'}`
  return Buffer.from(
    encodeQmtpHead('crlf', body.length) + body + encodeQmtpTail(given.sender ?? 's@sender.example', given.recipients),
    'latin1',
  )
}

/** Sends packages over one connection and gives what came back until the server closes. */
function exchange(port: number, ...packages: readonly Buffer[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => {
      for (const bytes of packages) socket.write(bytes)
      socket.end()
    })
    let text = ''
    socket.setEncoding('latin1')
    socket.on('data', (piece: string) => {
      text += piece
    })
    socket.on('end', () => resolve(text))
    socket.on('error', reject)
  })
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let round = 0; round < 500; round++) {
    if (holds()) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  assert.fail(`not within 5 s: ${what}`)
}

test('queue: a package is answered K, delivered once, and a repetition is answered K without a second copy', async (t) => {
  const { instance, transport, port, ledger } = await start(t, temporaryDirectory(t), '01')
  const bytes = packageBytes({ id, recipients: ['a@customer1.example', 'b@customer1.example'] })
  const reply = await exchange(port, bytes)
  assert.match(reply, new RegExp(`^[0-9]+:Kok [0-9]+ qp ${id},[0-9]+:Kok [0-9]+ qp ${id},$`))
  await until('delivered', () => instance.audit().delivered === 2)
  assert.equal(transport.attempts.length, 1)
  assert.match(
    transport.attempts[0]!.body,
    /^Received: from unknown \(\[127\.0\.0\.1\]\)\r\n {2}by mail\.example\.com with QMTP id /,
  )
  assert.match(await exchange(port, bytes, bytes), /^([0-9]+:Kok [0-9]+ qp [0-9A-Z]+,){4}$/)
  assert.equal(transport.attempts.length, 1)
  assert.equal(ledger.filter((event) => event.event === 'repeated').length, 2)
  assert.deepEqual(
    { ...instance.audit(), quarantined: 0 },
    {
      instance: '01',
      accepted: 2,
      delivered: 2,
      bounced: 0,
      discarded: 0,
      queued: 0,
      takenOver: 0,
      handedOver: 0,
      balanced: true,
      quarantined: 0,
    },
  )
})

test('queue: the same id with other recipients is another package', async (t) => {
  const { instance, port } = await start(t, temporaryDirectory(t), '01')
  await exchange(port, packageBytes({ id, recipients: ['a@customer1.example'] }))
  await exchange(port, packageBytes({ id, recipients: ['b@customer1.example'] }))
  await until('both', () => instance.audit().delivered === 2)
})

test('queue: a repetition is recognised after a kill and after a stop', async (t) => {
  const state = temporaryDirectory(t)
  const bytes = packageBytes({ id, recipients: ['a@customer1.example'] })
  const first = await start(t, state, '01')
  await exchange(first.port, bytes)
  await until('delivered', () => first.instance.audit().delivered === 1)
  const killed = await start(t, state, '01')
  assert.match(await exchange(killed.port, bytes), /Kok/)
  await killed.instance.stop()
  const stopped = await start(t, state, '01')
  assert.match(await exchange(stopped.port, bytes), /Kok/)
  assert.equal(stopped.instance.audit().accepted, 1)
  assert.equal(killed.transport.attempts.length + stopped.transport.attempts.length, 0)
})

test('queue: a refused recipient becomes one bounce on the bounce pool, a deferred one waits by qmail’s schedule', async (t) => {
  const { instance, transport, port } = await start(t, temporaryDirectory(t), '01')
  transport.answer = (recipient) => {
    if (recipient === 'no@customer1.example')
      return { kind: 'failed', to: 'smtp mx', failure: permanent('peer', '5.1.1', 'no such user', 550) }
    if (recipient === 'later@customer1.example')
      return { kind: 'failed', to: 'smtp mx', failure: temporary('peer', '4.2.2', 'mailbox full', 452) }
    return { kind: 'delivered', to: 'recorder', text: 'ok' }
  }
  const recipients = ['yes@customer1.example', 'no@customer1.example', 'later@customer1.example']
  await exchange(port, packageBytes({ id, recipients }))
  await until('one delivered', () => instance.audit().delivered === 1)
  await until('deferral written', () => instance.list(1)[0]?.recipients[2]?.attempts === 1)
  const waiting = instance.list(10)[0]!
  assert.deepEqual(
    waiting.recipients.map((one) => one.status),
    ['delivered', 'bouncing', 'pending'],
  )
  assert.equal(waiting.recipients[2]!.dueAt - waiting.birthAt, 400_000)
  assert.equal(transport.attempts.length, 1, 'no bounce before the last recipient is settled')
  transport.answer = (recipient) =>
    recipient === 'later@customer1.example'
      ? { kind: 'failed', to: 'smtp mx', failure: permanent('peer', '5.2.2', 'mailbox full', 552) }
      : { kind: 'delivered', to: 'recorder', text: 'ok' }
  instance.tryNow()
  await until('bounced', () => instance.audit().bounced === 2)
  const bounce = transport.attempts.at(-1)!
  assert.equal(bounce.to, 'pool:BOUNCES')
  assert.deepEqual([bounce.sender, bounce.recipients], ['', ['s@sender.example']])
  assert.match(
    bounce.body,
    /<no@customer1\.example>:\r\n[\s\S]*no such user[\s\S]*<later@customer1\.example>:\r\n[\s\S]*mailbox full/,
  )
  assert.equal(instance.audit().balanced, true)
  assert.equal(instance.audit().queued, 0)
})

test('queue: a bounce that cannot be handed over keeps its message queued until it can', async (t) => {
  const { instance, transport, port } = await start(t, temporaryDirectory(t), '01')
  let reachable = false
  transport.answer = (recipient) => {
    if (recipient.endsWith('customer1.example'))
      return { kind: 'failed', to: '', failure: permanent('peer', '5.1.1', 'no') }
    if (reachable) return { kind: 'delivered', to: 'recorder', text: 'ok' }
    return { kind: 'failed', to: '', failure: temporary('peer', '4.4.1', 'bounce host away') }
  }
  await exchange(port, packageBytes({ id, recipients: ['a@customer1.example'] }))
  await until('a hand-over was tried', () => transport.attempts.length === 2)
  assert.deepEqual([instance.audit().queued, instance.audit().bounced], [1, 0])
  reachable = true
  await until('bounced', () => instance.audit().bounced === 1)
  const ids = new Set(transport.attempts.slice(1).map((attempt) => attempt.id))
  assert.equal(ids.size, 1, 'every hand-over of a bounce carries the same id')
})

test('queue: on the bounce host a failed bounce becomes a double bounce, and that one’s failure is discarded and counted', async (t) => {
  const { instance, transport, port, ledger } = await start(t, temporaryDirectory(t), '90')
  transport.answer = () => ({ kind: 'failed', to: '', failure: permanent('peer', '5.1.1', 'no such user', 550) })
  await exchange(port, packageBytes({ id, sender: '', recipients: ['s@sender.example'] }))
  await until('discarded', () => instance.audit().discarded === 1)
  assert.deepEqual(
    transport.attempts.map((attempt) => [attempt.sender, attempt.recipients[0]]),
    [
      ['', 's@sender.example'],
      ['#@[]', 'postmaster@example.com'],
    ],
  )
  const { accepted, bounced, discarded, queued, balanced } = instance.audit()
  assert.deepEqual([accepted, bounced, discarded, queued, balanced], [2, 1, 1, 0, true])
  assert.equal(ledger.filter((event) => event.event === 'discarded').length, 1)
})

test('queue: two messages of one id that both fail are both reported', async (t) => {
  const { instance, transport, port } = await start(t, temporaryDirectory(t), '01')
  transport.answer = (recipient) =>
    recipient.endsWith('customer1.example')
      ? { kind: 'failed', to: '', failure: permanent('peer', '5.1.1', 'no such user', 550) }
      : { kind: 'delivered', to: 'recorder', text: 'ok' }
  await exchange(port, packageBytes({ id, recipients: ['a@customer1.example'] }))
  await exchange(port, packageBytes({ id, recipients: ['b@customer1.example'] }))
  await until('both bounced', () => instance.audit().bounced === 2)
  const bounces = transport.attempts.filter((attempt) => attempt.sender === '')
  assert.equal(new Set(bounces.map((bounce) => bounce.id)).size, 2)
})

test('queue: a bounce the bounce host refuses for good goes again without the quoted message', async (t) => {
  const { instance, transport, port } = await start(t, temporaryDirectory(t), '01')
  transport.answer = (recipient) => {
    if (recipient.endsWith('customer1.example'))
      return { kind: 'failed', to: '', failure: permanent('peer', '5.1.1', 'no') }
    const short = !transport.attempts.at(-1)!.body.includes('quoted words')
    if (short) return { kind: 'delivered', to: 'recorder', text: 'ok' }
    return { kind: 'failed', to: '', failure: permanent('peer', '5.3.4', 'too big') }
  }
  const text = 'Subject: x\r\n\r\nquoted words\r\n'
  await exchange(port, packageBytes({ id, recipients: ['a@customer1.example'], text }))
  await until('bounced', () => instance.audit().bounced === 1)
  assert.equal(transport.attempts.length, 3)
})

test('queue: a package committed before is K also while the queue refuses', async (t) => {
  const state = temporaryDirectory(t)
  const first = await start(t, state, '01')
  const bytes = packageBytes({ id, recipients: ['a@customer1.example'] })
  await exchange(first.port, bytes)
  await first.instance.stop()
  const full = await start(t, state, '01', { reserve: Number.MAX_SAFE_INTEGER / 2 })
  await until('refusing', () => full.instance.phase === 'refusing')
  assert.match(await exchange(full.port, bytes), /^[0-9]+:Kok /)
  assert.match(await exchange(full.port, packageBytes({ recipients: ['b@customer1.example'] })), /^[0-9]+:Z/)
})

test('queue: a stop in the middle of deliveries leaves a journal the next life opens in balance', async (t) => {
  const state = temporaryDirectory(t)
  const first = await start(t, state, '01')
  first.transport.waiting = []
  for (let count = 0; count < 5; count++)
    await exchange(first.port, packageBytes({ recipients: [`r${count}@customer1.example`] }))
  await until('attempts run', () => first.transport.waiting!.length === 5)
  const stopping = first.instance.stop()
  setTimeout(() => {
    for (const settle of first.transport.waiting!.splice(0)) settle()
  }, 101)
  await stopping
  const second = await start(t, state, '01')
  await until('all delivered', () => second.instance.audit().queued === 0)
  assert.deepEqual([second.instance.audit().accepted, second.instance.audit().balanced], [5, true])
})

test('queue: show finds every message of a transaction', async (t) => {
  const { instance, port } = await start(t, temporaryDirectory(t), '01', { layout: layoutWith('hold') })
  await exchange(port, packageBytes({ id: `${id}-0`, recipients: ['a@customer1.example'] }))
  await until('queued', () => instance.audit().queued === 1)
  for (const asked of [id, `${id}-0`]) {
    const found = await instance.show(asked)
    assert.match(found[0]?.header ?? '', /Subject: test$/)
  }
  assert.deepEqual(await instance.show(`${id}-1`), [])
})

test('queue: held mail waits until the layout lets it go', async (t) => {
  const held = layoutWith('hold')
  const { instance, transport, port } = await start(t, temporaryDirectory(t), '01', { layout: held })
  await exchange(port, packageBytes({ id, recipients: ['a@customer1.example'] }))
  await until('queued', () => instance.audit().queued === 1)
  assert.equal(transport.attempts.length, 0)
  instance.apply(layoutWith('"smtp:127.0.0.1:2626"'))
  await until('delivered', () => instance.audit().delivered === 1)
  assert.equal(transport.attempts[0]!.to, 'smtp:127.0.0.1:2626')
})

test('queue: a new layout during an attempt delivers nobody twice', async (t) => {
  const { instance, transport, port } = await start(t, temporaryDirectory(t), '01')
  transport.waiting = []
  await exchange(port, packageBytes({ id, recipients: ['a@customer1.example'] }))
  await until('an attempt runs', () => transport.waiting!.length === 1)
  instance.apply(layoutWith('"smtp:127.0.0.1:2627"'))
  instance.apply(layoutWith('"smtp:127.0.0.1:2628"'))
  for (const settle of transport.waiting.splice(0)) settle()
  await until('delivered', () => instance.audit().delivered === 1)
  assert.equal(transport.attempts.length, 1)
})

test('queue: an undelivered message survives a kill and is delivered by the next life', async (t) => {
  const state = temporaryDirectory(t)
  const first = await start(t, state, '01')
  first.transport.waiting = []
  await exchange(
    first.port,
    packageBytes({ id, recipients: ['a@customer1.example'], text: 'Subject: x\r\n\r\nkept\r\n' }),
  )
  const second = await start(t, state, '01')
  await until('delivered', () => second.instance.audit().delivered === 1)
  assert.match(second.transport.attempts[0]!.body, /\r\n\r\nkept\r\n$/)
})

test('queue: a body damaged on disk is held and named, never delivered', async (t) => {
  const state = temporaryDirectory(t)
  const first = await start(t, state, '01', { layout: layoutWith('hold') })
  await exchange(
    first.port,
    packageBytes({ id, recipients: ['a@customer1.example'], text: `Subject: x\r\n\r\n${'y'.repeat(500)}\r\n` }),
  )
  await until('queued', () => first.instance.audit().queued === 1)
  await first.instance.stop()
  const file = `${state}/instances/01/journal/0000000001.segment`
  const bytes = fs.readFileSync(file)
  bytes[bytes.length - 100] = 0
  fs.writeFileSync(file, bytes)
  const second = await start(t, state, '01')
  await until('held', () => second.ledger.some((event) => event.event === 'quarantined'))
  assert.equal(second.transport.attempts.length, 0)
  assert.deepEqual([second.instance.audit().queued, second.instance.audit().balanced], [1, true])
})

test('queue: with the disk nearly full packages are answered Z, and K again when there is room', async (t) => {
  const { port, instance } = await start(t, temporaryDirectory(t), '01', { reserve: Number.MAX_SAFE_INTEGER / 2 })
  await until('refusing', () => instance.phase === 'refusing')
  const reply = await exchange(port, packageBytes({ id, recipients: ['a@customer1.example'] }))
  assert.match(reply, /^[0-9]+:Zdisk nearly full \(#4\.3\.0\),$/)
  assert.equal(instance.audit().accepted, 0)
})

test('queue: half a package is dropped, a malformed one ends the session, and neither is queued', async (t) => {
  const { port, instance } = await start(t, temporaryDirectory(t), '01')
  const good = packageBytes({ recipients: ['a@customer1.example'] })
  assert.match(await exchange(port, good, good.subarray(0, good.length - 1)), /^[0-9]+:Kok [^,]+,$/)
  assert.equal(await exchange(port, Buffer.from('5:xbody,1:s,4:1:r,,')), '')
  await until('delivered', () => instance.audit().delivered === 1)
  assert.equal(instance.audit().accepted, 1)
})

test('queue: a client the layout does not name is refused', async (t) => {
  const open = layoutOf(shippedConf)
  const closed = { ...open, instances: open.instances.map((one) => ({ ...one, acceptFrom: ['192.0.2.0/24'] })) }
  const { port } = await start(t, temporaryDirectory(t), '01', { layout: closed })
  const reply = await exchange(port, packageBytes({ recipients: ['a@customer1.example'] })).catch((error: unknown) =>
    String(error),
  )
  assert.ok(reply === '' || reply.includes('ECONNRESET') || reply.includes('EPIPE'), reply)
})
