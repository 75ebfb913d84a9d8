import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SmtpTransport } from '../../../services/queue/delivery/smtp-transport.ts'
import type { Connection, ConnectionHandler, World } from '../../../services/runtime/world.ts'
import { attemptTo, smtpTo, testWorld } from './delivery-support.ts'

/** A connection whose other end the test plays by hand; `write` answers what `roomy` says. */
class HandConnection implements Connection {
  readonly remote = { host: '192.0.2.1', port: 25 }
  readonly local = { host: '192.0.2.2', port: 9 }
  readonly secure = undefined
  handler: ConnectionHandler | undefined
  roomy = true
  writes: string[] = []
  depth = 0
  corkedWrites = 0
  ended = false
  destroyed = false

  write(data: Buffer | string): boolean {
    this.writes.push(typeof data === 'string' ? data : data.toString('latin1'))
    if (this.depth > 0) this.corkedWrites++
    return this.roomy
  }
  cork(): void {
    this.depth++
  }
  uncork(): void {
    this.depth--
  }
  pause(): void {}
  resume(): void {}
  startTls(): void {}
  end(): void {
    this.ended = true
  }
  destroy(): void {
    this.destroyed = true
  }
  say(text: string): void {
    this.handler?.onData(Buffer.from(`${text.replaceAll('|', '\r\n')}\r\n`))
  }
}

function worldWith(connection: HandConnection): World {
  const network = {
    listen: () => Promise.reject(new Error('nobody listens')),
    connect: (_: unknown, handler: ConnectionHandler) => {
      connection.handler = handler
      return connection
    },
  }
  return { ...testWorld(), network }
}

describe('SMTP link', () => {
  it('reads no more of the body than the server takes', () => {
    const connection = new HandConnection()
    const transport = new SmtpTransport(worldWith(connection), { helloName: 'me.example' })
    let asked = 0
    const piece = Buffer.from('x'.repeat(78).concat('\r\n').repeat(4096))
    const body = {
      form: 'crlf',
      bytes: 100 * piece.length,
      slice: (_: number, length: number) => {
        asked++
        return piece.subarray(0, length)
      },
    } as const
    let outcome = ''
    transport.attempt(attemptTo(smtpTo(25), { body }), (outcomes) => {
      outcome = outcomes[0]?.kind ?? ''
    })
    connection.handler?.onOpen()
    connection.say('220 hi')
    connection.say('250-x|250 PIPELINING')
    connection.roomy = false
    connection.say('250 ok|250 ok|354 go')
    assert.equal(asked, 1)
    connection.handler?.onDrain()
    assert.equal(asked, 2)
    connection.roomy = true
    connection.handler?.onDrain()
    assert.ok(asked >= 100)
    assert.ok(connection.writes.at(-1)?.endsWith('.\r\n'))
    assert.equal(connection.depth, 0)
    assert.equal(outcome, '')
    connection.say('250 done')
    assert.equal(outcome, 'delivered')
  })

  it('writes a small message and its final dot in one corked piece', () => {
    const connection = new HandConnection()
    const transport = new SmtpTransport(worldWith(connection), { helloName: 'me.example' })
    transport.attempt(attemptTo(smtpTo(25)), () => {})
    connection.handler?.onOpen()
    connection.say('220 hi')
    connection.say('250-x|250 PIPELINING')
    connection.say('250 ok|250 ok|354 go')
    assert.equal(connection.corkedWrites, 2)
    assert.deepEqual(connection.writes.slice(-2), ['Subject: x\r\n\r\n..hello\r\n', '.\r\n'])
  })

  /** As a network does: a handler that throws loses its connection. */
  function lose(connection: HandConnection, event: () => void): void {
    try {
      event()
    } catch (error) {
      connection.destroyed = true
      connection.handler?.onClose(error as Error)
    }
  }

  function broken(later: boolean) {
    const connection = new HandConnection()
    const transport = new SmtpTransport(worldWith(connection), { helloName: 'me.example' })
    const bytes = Buffer.from('Subject: x\r\n\r\nhello\r\n')
    const slice = () => (later ? Promise.resolve(bytes) : bytes)
    const outcomes: string[] = []
    transport.attempt(attemptTo(smtpTo(25), { body: { form: 'crlf', bytes: bytes.length, slice } }), (given) => {
      for (const one of given) outcomes.push(one.kind === 'failed' ? `${one.failure.class} ${one.to}` : one.kind)
    })
    connection.handler?.onOpen()
    connection.say('220 hi')
    connection.say('250-x|250 PIPELINING')
    connection.say('250 ok|250 ok')
    connection.write = () => {
      throw new Error('unforeseen')
    }
    return { connection, outcomes }
  }

  it('fails its delivery for now, once, where something unforeseen goes wrong', () => {
    const { connection, outcomes } = broken(false)
    lose(connection, () => connection.say('354 go'))
    assert.equal(connection.destroyed, true)
    assert.deepEqual(outcomes, ['temporary smtp 127.0.0.1[192.0.2.1]:25'])
  })

  it('does so where it was reading the stored message', async () => {
    const { connection, outcomes } = broken(true)
    connection.say('354 go')
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(connection.destroyed, true)
    connection.handler?.onClose(undefined)
    assert.deepEqual(outcomes, ['temporary smtp 127.0.0.1[192.0.2.1]:25'])
  })
})
