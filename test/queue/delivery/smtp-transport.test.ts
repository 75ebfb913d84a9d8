import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, afterEach, describe, it } from 'node:test'
import type { SmtpTransportOptions } from '../../../services/queue/delivery/smtp-transport.ts'
import { SmtpTransport } from '../../../services/queue/delivery/smtp-transport.ts'
import type { World } from '../../../services/runtime/world.ts'
import { attemptTo, bodyOf, mxOf, outcomesOf, smtpTo, testWorld, until } from './delivery-support.ts'
import type { ServerScript } from './scripted-smtp-server.ts'
import { ScriptedSmtpServer } from './scripted-smtp-server.ts'

const servers: ScriptedSmtpServer[] = []
const transports: SmtpTransport[] = []

async function server(script: ServerScript = {}): Promise<ScriptedSmtpServer> {
  const made = await new ScriptedSmtpServer(script).listen()
  servers.push(made)
  return made
}

function transport(options: Partial<SmtpTransportOptions> = {}, world: World = testWorld()): SmtpTransport {
  const made = new SmtpTransport(world, { helloName: 'me.example', ...options })
  transports.push(made)
  return made
}

afterEach(async () => {
  for (const made of transports.splice(0)) made.close()
  for (const made of servers.splice(0)) await made.close()
})

describe('SMTP transport', () => {
  it('writes MAIL, RCPT and DATA in one piece where PIPELINING is offered', async () => {
    const peer = await server()
    const attempt = attemptTo(smtpTo(peer.port), { recipients: ['b@two.example', 'c@two.example'] })
    assert.deepEqual(await outcomesOf(transport(), attempt), ['ok 250 2.0.0 queued', 'ok 250 2.0.0 queued'])
    assert.deepEqual(peer.pieces, [
      'EHLO me.example|',
      'MAIL FROM:<a@one.example> BODY=8BITMIME|RCPT TO:<b@two.example>|RCPT TO:<c@two.example>|DATA|',
    ])
    assert.equal(peer.messages[0]?.wire, 'Subject: x\r\n\r\n..hello\r\n')
  })

  it('waits for each reply where it is not', async () => {
    const peer = await server({ ehlo: '250 test' })
    assert.deepEqual(await outcomesOf(transport(), attemptTo(smtpTo(peer.port))), ['ok 250 2.0.0 queued'])
    assert.deepEqual(peer.pieces, [
      'EHLO me.example|',
      'MAIL FROM:<a@one.example>|',
      'RCPT TO:<b@two.example>|',
      'DATA|',
    ])
  })

  it('speaks HELO to an old server', async () => {
    const peer = await server({ ehlo: '' })
    assert.deepEqual(await outcomesOf(transport(), attemptTo(smtpTo(peer.port))), ['ok 250 2.0.0 queued'])
    assert.equal(peer.pieces[1], 'HELO me.example|')
  })

  it('keeps the connection for the next message, and only so many messages', async () => {
    const peer = await server()
    const made = transport({ limits: { messagesPerConnectionMax: 3 } })
    for (let count = 0; count < 5; count++) {
      const body = bodyOf(`n: ${count}\r\n`)
      assert.deepEqual(await outcomesOf(made, attemptTo(smtpTo(peer.port), { body })), ['ok 250 2.0.0 queued'])
    }
    assert.deepEqual(
      peer.messages.map(({ connection }) => connection),
      [1, 1, 1, 2, 2],
    )
    await until('QUIT of the used connection', () => peer.quits.includes(1))
  })

  it('uses the freed connection for an attempt made while the outcome is told', async () => {
    const peer = await server()
    const made = transport()
    await new Promise<void>((resolve) => {
      made.attempt(attemptTo(smtpTo(peer.port)), () => made.attempt(attemptTo(smtpTo(peer.port)), () => resolve()))
    })
    assert.equal(peer.connections, 1)
  })

  it('closes a connection nobody used for a while', async () => {
    const peer = await server()
    const made = transport({ limits: { idleTimeoutMs: 200 } })
    await outcomesOf(made, attemptTo(smtpTo(peer.port)))
    await until('QUIT', () => peer.quits.length === 1)
  })

  it('goes to a fresh connection once where a kept one dies before MAIL is answered', async () => {
    const peer = await server({ drop: { at: 'MAIL', transaction: 2 }, dropsMax: 1 })
    const made = transport()
    await outcomesOf(made, attemptTo(smtpTo(peer.port)))
    assert.deepEqual(await outcomesOf(made, attemptTo(smtpTo(peer.port))), ['ok 250 2.0.0 queued'])
    assert.deepEqual(
      peer.messages.map(({ connection }) => connection),
      [1, 2],
    )
  })

  it('does not try again by itself where a fresh connection dies there', async () => {
    const peer = await server({ drop: { at: 'MAIL', transaction: 1 } })
    assert.match(String(await outcomesOf(transport(), attemptTo(smtpTo(peer.port)))), /^temporary 4\.4\.2 connection/)
    assert.equal(peer.connections, 1)
  })

  it('says that a duplicate is possible where the connection is lost after the final dot', async () => {
    const peer = await server({ drop: { at: 'DOT', transaction: 1 } })
    const outcomes = await outcomesOf(transport(), attemptTo(smtpTo(peer.port)))
    assert.match(
      String(outcomes),
      /^temporary 4\.4\.2 connection .*; the message may have arrived, a duplicate is possible$/,
    )
    assert.equal(peer.connections, 1)
  })

  it('answers each recipient apart, every line of a reply kept', async () => {
    const peer = await server({
      rcpt: (address) => (address.startsWith('<b') ? '550-5.1.1 no|550 5.1.1 really not' : '250 ok'),
    })
    const attempt = attemptTo(smtpTo(peer.port), { recipients: ['b@two.example', 'c@two.example'] })
    assert.deepEqual(await outcomesOf(transport(), attempt), [
      'permanent 5.1.1 550 5.1.1 no really not',
      'ok 250 2.0.0 queued',
    ])
  })

  it('survives a reply line of a megabyte', async () => {
    const peer = await server({ mail: `550 ${'x'.repeat(1_000_000)}` })
    assert.match(
      String(await outcomesOf(transport(), attemptTo(smtpTo(peer.port)))),
      /^temporary 4\.5\.0 .* reply line too long$/,
    )
  })

  it('is answered by its timeouts where the server falls silent', async () => {
    const peer = await server({ dot: () => undefined })
    const made = transport({ limits: { finalDotTimeoutMs: 50 } })
    assert.match(
      String(await outcomesOf(made, attemptTo(smtpTo(peer.port)))),
      /^temporary 4\.4\.2 timeout in final-dot; the message may/,
    )
    const mute = await server({ greeting: '220-wait' })
    const other = transport({ limits: { greetingTimeoutMs: 50 } })
    assert.equal(String(await outcomesOf(other, attemptTo(smtpTo(mute.port)))), 'temporary 4.4.2 timeout in greeting')
  })

  it('reports a closed port', async () => {
    const peer = await server()
    const { port } = peer
    await peer.close()
    const outcomes = await outcomesOf(transport(), attemptTo(smtpTo(port)))
    assert.equal(String(outcomes), 'temporary 4.4.1 cannot connect (ECONNREFUSED)')
  })

  it('sends a large body that comes from the disk, in step with the server, in both forms', async () => {
    const line = `${'0123456789'.repeat(7)}\n`
    for (const form of ['lf', 'crlf'] as const) {
      const peer = await server()
      const text = (form === 'lf' ? line : line.replace('\n', '\r\n')).repeat(40_000)
      const attempt = attemptTo(smtpTo(peer.port), { body: bodyOf(text, form, true) })
      assert.deepEqual(await outcomesOf(transport(), attempt), ['ok 250 2.0.0 queued'])
      assert.ok(peer.messages[0]?.wire === line.replace('\n', '\r\n').repeat(40_000))
    }
  })

  it('refuses bare line ends for good, and the half message never ends', async () => {
    const peer = await server()
    const made = transport()
    for (const text of ['a\r\n.\n.\r\nMAIL FROM:<x@y>\r\n', 'a\rb\r\n', `${'x'.repeat(300_000)}\r\nend\r`]) {
      const outcomes = await outcomesOf(made, attemptTo(smtpTo(peer.port), { body: bodyOf(text) }))
      assert.match(String(outcomes), /^permanent 5\.6\.0 message holds a bare CR or LF/)
    }
    assert.deepEqual(peer.messages, [])
    assert.deepEqual(await outcomesOf(made, attemptTo(smtpTo(peer.port))), ['ok 250 2.0.0 queued'])
  })

  it('calls a body it cannot read our own temporary fault, and the half message never ends', async () => {
    const peer = await server()
    const body = { form: 'crlf', bytes: 10, slice: () => Promise.reject(new Error('EIO')) } as const
    const outcomes = await outcomesOf(transport(), attemptTo(smtpTo(peer.port), { body }))
    assert.equal(String(outcomes), 'temporary 4.3.0 stored message could not be read')
    assert.deepEqual(peer.messages, [])
  })

  it('refuses by size without a word sent, fresh or kept', async () => {
    const peer = await server({ ehlo: '250-test|250 SIZE 10' })
    const made = transport()
    for (let count = 0; count < 2; count++) {
      const outcomes = await outcomesOf(made, attemptTo(smtpTo(peer.port)))
      assert.equal(String(outcomes), "permanent 5.3.4 message exceeds the server's limit of 10 bytes")
    }
    assert.deepEqual(peer.pieces, ['EHLO me.example|'])
  })

  it('after close, refuses for now and leaves no connection behind', async () => {
    const peer = await server()
    const made = transport()
    await outcomesOf(made, attemptTo(smtpTo(peer.port)))
    made.close()
    assert.equal(String(await outcomesOf(made, attemptTo(smtpTo(peer.port)))), 'temporary 4.3.2 delivery is stopping')
    await until('QUIT', () => peer.quits.length === 1)
  })
})

describe('SMTP transport to mail exchangers', () => {
  it('tries the next exchanger after a refused connection and after a greeting that refuses', async () => {
    const busy = await server({ greeting: '421 busy' })
    const good = await server()
    // One port for all: the refusing hosts are other loopback addresses where nobody or the busy server listens.
    const world = testWorld({
      'two.example': { mx: ['20 good.example', '5 dead.example.', '10 gone.example'] },
      'dead.example': { a: ['127.0.0.9'] },
      'good.example': { a: ['127.0.0.1'] },
    })
    const made = transport({ privateTargets: 'allow', exchangerPort: good.port }, world)
    assert.deepEqual(await outcomesOf(made, attemptTo(mxOf('two.example'))), ['ok 250 2.0.0 queued'])
    assert.deepEqual(await outcomesOf(made, attemptTo(mxOf('two.example'))), ['ok 250 2.0.0 queued'])
    assert.equal(good.connections, 1)
    assert.equal(world.resolver.questions.filter((question) => question === 'mx two.example').length, 1)
    const other = transport({ privateTargets: 'allow', exchangerPort: busy.port }, world)
    assert.equal(String(await outcomesOf(other, attemptTo(mxOf('two.example')))), 'temporary 4.0.0 421 busy')
  })

  it('never connects to addresses that are not public, unless the setting allows it', async () => {
    const peer = await server()
    const world = testWorld({ 'two.example': { a: ['127.0.0.1', '::1', '::ffff:127.0.0.1', '10.0.0.1'] } })
    const made = transport({ exchangerPort: peer.port }, world)
    const refused = await outcomesOf(made, attemptTo(mxOf('two.example')))
    assert.match(String(refused), /^permanent 5\.4\.4 .* no public address$/)
    assert.equal(peer.connections, 0)
  })

  it('tries only addresses of the family it sends from', async () => {
    const peer = await server()
    const world = testWorld({ 'two.example': { a: ['::1', '127.0.0.1'] }, 'six.example': { a: ['::1'] } })
    const made = transport({ privateTargets: 'allow', exchangerPort: peer.port, sourceAddress: '127.0.0.1' }, world)
    assert.deepEqual(await outcomesOf(made, attemptTo(mxOf('two.example'))), ['ok 250 2.0.0 queued'])
    assert.match(String(await outcomesOf(made, attemptTo(mxOf('six.example')))), /^temporary 4\.4\.1 no address/)
  })

  it('does not wait for a DNS that never answers', async () => {
    const world = {
      ...testWorld(),
      resolver: { mailExchangers: () => new Promise<never>(() => {}), addresses: async () => [] },
    }
    const made = transport({ limits: { resolveTimeoutMs: 30 } }, world)
    const outcomes = await Promise.all([
      outcomesOf(made, attemptTo(mxOf('two.example'))),
      outcomesOf(made, attemptTo(mxOf('two.example'))),
    ])
    for (const outcome of outcomes) assert.match(String(outcome), /^temporary 4\.4\.3 .* in time$/)
  })
})

describe('SMTP transport and TLS', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'qmq-smtp-'))
  after(() => rmSync(directory, { recursive: true }))
  const keyFile = path.join(directory, 'key.pem')
  const certFile = path.join(directory, 'cert.pem')
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'].concat([
      '-subj',
      '/CN=test',
      '-keyout',
      keyFile,
      '-out',
      certFile,
    ]),
    { stdio: 'ignore' },
  )
  const pair = { key: readFileSync(keyFile, 'utf8'), cert: readFileSync(certFile, 'utf8') }
  const offer = '250-test|250-PIPELINING|250 STARTTLS'

  it('uses TLS where it is offered, and keeps the secure connection', async () => {
    const peer = await server({ ehlo: offer, tls: pair })
    const made = transport()
    for (let count = 0; count < 3; count++) {
      assert.deepEqual(await outcomesOf(made, attemptTo(smtpTo(peer.port))), ['ok 250 2.0.0 queued'])
    }
    assert.deepEqual(
      peer.messages.map(({ secure, connection }) => [secure, connection]),
      [
        [true, 1],
        [true, 1],
        [true, 1],
      ],
    )
  })

  it('sends a large body through TLS', async () => {
    const peer = await server({ ehlo: offer, tls: pair })
    const text = `${'x'.repeat(78)}\r\n`.repeat(20_000)
    const attempt = attemptTo(smtpTo(peer.port), { body: bodyOf(text) })
    assert.deepEqual(await outcomesOf(transport(), attempt), ['ok 250 2.0.0 queued'])
    assert.ok(peer.messages[0]?.wire === text)
  })

  it('falls back to the clear where the handshake fails', async () => {
    const peer = await server({ ehlo: offer })
    assert.deepEqual(await outcomesOf(transport(), attemptTo(smtpTo(peer.port))), ['ok 250 2.0.0 queued'])
    assert.equal(peer.messages[0]?.secure, false)
    assert.equal(peer.connections, 2)
  })

  it('does not where TLS is required', async () => {
    const peer = await server({ ehlo: offer })
    const outcomes = await outcomesOf(transport({ tls: 'required' }), attemptTo(smtpTo(peer.port)))
    assert.match(String(outcomes), /^temporary 4\./)
    assert.deepEqual(peer.messages, [])
    const stripped = await server()
    assert.match(
      String(await outcomesOf(transport({ tls: 'required' }), attemptTo(smtpTo(stripped.port)))),
      /^temporary 4\.7\.4/,
    )
  })

  it('believes nothing a server says in the clear after STARTTLS', async () => {
    const peer = await server({ ehlo: offer, tls: pair, injected: '|250-x|250 FORGED' })
    const outcomes = await outcomesOf(transport({ tls: 'required' }), attemptTo(smtpTo(peer.port)))
    assert.equal(String(outcomes), 'temporary 4.7.5 server spoke in the clear after STARTTLS')
  })
})
