import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { encodeQmtpHead, encodeQmtpTail } from '../../services/protocol/qmtp.ts'
import { QmtpLink, type QmtpLinkLimits, type QmtpLinkOutcome } from '../../services/runtime/qmtp-link.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import { type ScriptStep, scriptedServer } from '../support/scripted-server.ts'
import type { Cleanup } from '../support/temporary-directory.ts'

const limits: QmtpLinkLimits = {
  connectTimeoutMs: 1000,
  replyTimeoutMs: 1000,
  reconnectMinMs: 10,
  reconnectMaxMs: 20,
  windowPackages: 100,
  windowBytes: 100_000,
}
const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const wire = `${encodeQmtpHead('lf', 5)}hello${encodeQmtpTail('a@x', ['b@y', 'c@y'])}`

async function linkTo(test: Cleanup, scripts: readonly ScriptStep[][]): Promise<QmtpLink> {
  const server = await scriptedServer(test, scripts)
  const link = new QmtpLink(systemWorld(quiet), { host: '127.0.0.1', port: server.port }, limits)
  test.after(() => link.destroy())
  return link
}

function send(link: QmtpLink): Promise<QmtpLinkOutcome> {
  return new Promise((resolve, reject) => {
    const taken = link.offer({
      bytes: wire.length,
      recipientCount: 2,
      writeTo: (connection) => connection.write(wire),
      settled: resolve,
    })
    if (!taken) reject(new Error('not taken'))
  })
}

describe('a QMTP link', { concurrency: true }, () => {
  it('gives one answer per recipient, whatever parts they come in', async (test) => {
    const link = await linkTo(test, [
      [{ expect: 'c@y,,' }, { send: '3:Ko' }, { waitMs: 20 }, { send: 'k,5:Dno' }, { waitMs: 20 }, { send: 'no,' }],
    ])
    assert.deepEqual(await send(link), {
      kind: 'answered',
      answers: [
        { letter: 'K', text: 'ok' },
        { letter: 'D', text: 'nono' },
      ],
    })
    assert.equal(link.load, 0)
  })

  const unclear: readonly [name: string, script: ScriptStep[]][] = [
    ['too few answers', [{ expect: 'c@y,,' }, { send: '3:Kok,' }, { close: 'end' }]],
    ['a malformed answer', [{ expect: 'c@y,,' }, { send: '3:Kok)' }]],
    ['an answer of another kind', [{ expect: 'c@y,,' }, { send: '3:Xok,' }]],
    ['an answer without end', [{ expect: 'c@y,,' }, { send: '99999999:K' }]],
    ['a reset', [{ expect: 'c@y,,' }, { close: 'reset' }]],
    ['the end of the session after the first bytes', [{ expect: 'hel' }, { close: 'end' }]],
  ]
  for (const [name, script] of unclear) {
    it(`takes ${name} for an unclear outcome`, async (test) => {
      const link = await linkTo(test, [script])
      assert.equal((await send(link)).kind, 'unclear')
    })
  }

  it('ends a session that answers before it is asked, and connects again', async (test) => {
    const link = await linkTo(test, [[{ send: '3:Kok,' }], [{ expect: 'c@y,,' }, { send: '3:Kok,3:Kok,' }]])
    link.start()
    while (link.lastError === '') await new Promise((resolve) => setTimeout(resolve, 5))
    assert.equal(link.lastError, 'a reply to nothing')
    while (!link.accepting) await new Promise((resolve) => setTimeout(resolve, 5))
    assert.equal((await send(link)).kind, 'answered')
    assert.equal(link.lastError, '')
  })

  it('gives back unsent what a server that is not there was offered', async () => {
    const link = new QmtpLink(systemWorld(quiet), { host: '127.0.0.1', port: 1 }, limits)
    assert.equal((await send(link)).kind, 'not-sent')
    assert.equal(link.accepting, false)
    link.close()
    assert.equal(link.load, 0)
  })

  it('lets what is in flight be answered when it closes, and takes no more', async (test) => {
    const link = await linkTo(test, [[{ expect: 'c@y,,' }, { waitMs: 50 }, { send: '3:Kok,3:Kok,' }]])
    link.start()
    while (!link.open) await new Promise((resolve) => setTimeout(resolve, 5))
    const outcome = send(link)
    await new Promise((resolve) => setImmediate(resolve))
    link.close()
    await assert.rejects(send(link))
    assert.equal((await outcome).kind, 'answered')
  })
})
