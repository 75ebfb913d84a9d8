import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { encodeQmtpHead, encodeQmtpTail } from '../../services/protocol/qmtp.ts'
import { QmtpLink, type QmtpLinkLimits, type QmtpLinkOutcome } from '../../services/runtime/qmtp-link.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import type { Connection, ConnectionHandler, World } from '../../services/runtime/world.ts'
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

/** A world whose only connection the test plays by hand, and whose time it sets. */
function handWorld() {
  const state = { now: 0, roomy: true, destroyed: false, corks: 0, handler: undefined as ConnectionHandler | undefined }
  const soon: (() => void)[] = []
  const errors: string[] = []
  const connection = {
    write: () => state.roomy,
    cork: () => state.corks++,
    uncork: () => state.corks--,
    destroy: () => {
      state.destroyed = true
    },
  } as unknown as Connection
  const base = systemWorld(quiet)
  const world: World = {
    ...base,
    log: { ...quiet, error: (event) => errors.push(event) },
    clock: {
      now: () => 0,
      monotonic: () => state.now,
      after: () => ({ cancel() {} }),
      soon: (task) => void soon.push(task),
    },
    network: {
      listen: () => Promise.reject(new Error('nobody listens')),
      connect: (_, handler) => {
        state.handler = handler
        return connection
      },
    },
  }
  return { world, state, errors, run: () => soon.splice(0).forEach((task) => void task()) }
}

describe('the patience of a QMTP link', () => {
  const bytes = 25 * 1024 * 1024
  const minute = 60_000

  function slowLink(roomy: boolean) {
    const { world, state, run } = handWorld()
    const link = new QmtpLink(world, { host: '192.0.2.1', port: 209 }, { ...limits, replyTimeoutMs: minute })
    const outcomes: QmtpLinkOutcome[] = []
    const offered = {
      bytes,
      recipientCount: 1,
      writeTo: (connection: Connection) => connection.write('x'),
      settled: (outcome: QmtpLinkOutcome) => void outcomes.push(outcome),
    }
    state.roomy = roomy
    link.offer(offered)
    state.handler?.onOpen()
    run()
    const at = (now: number): boolean => {
      state.now = now
      link.check()
      return state.destroyed
    }
    return { link, state, outcomes, offered, run, at }
  }

  it('runs from the last byte of a big package on a slow line', () => {
    const { state, outcomes, at } = slowLink(false)
    assert.equal(at(5 * minute), false)
    state.now = 6 * minute
    state.handler?.onDrain()
    assert.equal(at(6.9 * minute), false)
    state.handler?.onData(Buffer.from('3:Kok,'))
    assert.equal(outcomes[0]?.kind, 'answered')
  })

  it('ends where the line does not move, and where the reply does not come', () => {
    const stuck = slowLink(false)
    assert.equal(stuck.at(7 * minute), false)
    assert.equal(stuck.at(8 * minute), true)
    const silent = slowLink(false)
    silent.state.now = minute
    silent.state.handler?.onDrain()
    assert.equal(silent.at(2 * minute), false)
    assert.equal(silent.at(3.2 * minute), true)
  })

  it('is the plain reply timeout for what a fast line has taken', () => {
    const { link, state, outcomes, offered, run, at } = slowLink(true)
    state.handler?.onData(Buffer.from('3:Kok,'))
    assert.equal(outcomes.length, 1)
    link.offer({ ...offered, bytes: 1000 })
    run()
    assert.equal(at(minute - 1), false)
    assert.equal(at(minute + 100), true)
  })
})

describe('a QMTP link in trouble', () => {
  it('loses the connection where a package cannot be written, and every package is settled once', () => {
    const { world, state, errors, run } = handWorld()
    const link = new QmtpLink(world, { host: '192.0.2.1', port: 209 }, limits)
    const settled: string[] = []
    const offer = (name: string, writes: boolean): boolean =>
      link.offer({
        bytes: 10,
        recipientCount: 1,
        writeTo: () => {
          if (!writes) throw new Error('unforeseen')
          return true
        },
        settled: (outcome) => {
          settled.push(`${name} ${outcome.kind}`)
          if (name === 'a') throw new Error('the owner fails')
        },
      })
    for (const name of ['a', 'b']) offer(name, true)
    state.handler?.onOpen()
    run()
    offer('c', false)
    run()
    assert.equal(state.destroyed, true)
    state.handler?.onClose(undefined)
    assert.deepEqual(settled, ['a unclear', 'b unclear', 'c unclear'])
    assert.deepEqual(errors, ['connection handler failed', 'connection handler failed'])
    assert.equal(link.load, 0)
  })

  it('goes on where the owner of one package fails at its answer', async (test) => {
    const script = [{ expect: 'c@y,,' }, { expect: 'c@y,,' }, { send: '3:Kok,'.repeat(4) }]
    const link = await linkTo(test, [script])
    const broken = { bytes: wire.length, recipientCount: 2, writeTo: (to: Connection) => to.write(wire) }
    link.offer({
      ...broken,
      settled: () => {
        throw new Error('the owner fails')
      },
    })
    assert.equal((await send(link)).kind, 'answered')
  })
})
