/** What edges remember together, decided without a server: who is asked when, and what an answer that is missing costs. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { SharedState } from '../../services/contract/shared-state.ts'
import { gone } from '../../services/contract/shared-state.ts'
import { type Committed, CommittedContents } from '../../services/edge/committed-contents.ts'
import { Contents } from '../../services/edge/content.ts'
import { Transaction } from '../../services/edge/transaction.ts'
import { LocalSharedState } from '../../services/runtime/local-shared-state.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'

const limits = { rememberedContentMax: 100, rememberedContentMs: 60_000 }
const silent = { debug() {}, info() {}, warn() {}, error() {} }

/** A server in this process, with a switch: `down` answers nobody, and `asked` names the calls that reached it. */
class Server {
  readonly asked: string[] = []
  isDown = false
  readonly #store = new LocalSharedState(systemWorld(silent).clock)

  client(): SharedState {
    return new Proxy(this.#store, {
      get: (store, name: keyof SharedState) => {
        if (name === 'reach') return this.isDown ? 'process' : 'cluster'
        return (...words: unknown[]) => {
          if (this.isDown) return (words.at(-1) as (answer: unknown) => void)(gone('down'))
          this.asked.push(name)
          return (store[name] as (...all: unknown[]) => unknown).apply(store, words)
        }
      },
    })
  }
}

function message(text: string): { contents: Contents; hashed: () => boolean } {
  const transaction = new Transaction('a@x', false)
  transaction.add(Buffer.from(text))
  let read = 0
  Object.defineProperty(transaction, 'chunks', { get: () => [Buffer.from(text)].slice(0, ++read) })
  return { contents: new Contents(transaction), hashed: () => read > 0 }
}

function find(edge: CommittedContents, contents: Contents, addresses: readonly string[]): string[] {
  let found: Committed | undefined
  edge.find(contents, addresses, 0, (committed) => {
    found = committed
  })
  if (found === undefined) throw new Error('not answered within the call')
  return [...found.keys()]
}

function edges(): { server: Server; one: CommittedContents; two: CommittedContents } {
  const server = new Server()
  const edge = () => new CommittedContents(server.client(), limits)
  return { server, one: edge(), two: edge() }
}

describe('contents that edges remember together', () => {
  it('are found by the other edge once it has heard the hint, and by one edge only', () => {
    const { one, two } = edges()
    const { contents } = message('hello')
    one.remember([contents.of('b@y')], 0)
    assert.deepEqual(find(two, message('hello').contents, ['b@y']), [])
    two.check(1)
    assert.deepEqual(find(two, message('hello').contents, ['b@y', 'c@y']), ['b@y'])
    assert.deepEqual(find(one, contents, ['b@y']), [])
  })

  it('cost the usual message nothing: no question, no hash', () => {
    const { server, one, two } = edges()
    one.remember([message('hello').contents.of('b@y')], 0)
    two.check(1)
    server.asked.length = 0
    for (const [text, address] of [
      ['hello', 'z@y'],
      ['hello, world', 'b@y'],
    ] as const) {
      const usual = message(text)
      assert.deepEqual(find(two, usual.contents, [address]), [])
      assert.equal(usual.hashed(), false)
    }
    assert.deepEqual(server.asked, [])
    const same = message('hullo')
    assert.deepEqual(find(two, same.contents, ['b@y']), [])
    assert.deepEqual([same.hashed(), server.asked], [true, ['takeContents']])
  })

  it('are each edge own affair while the server is gone', () => {
    const { server, one, two } = edges()
    server.isDown = true
    one.remember([message('hello').contents.of('b@y')], 0)
    two.check(1)
    assert.deepEqual(find(two, message('hello').contents, ['b@y']), [])
    assert.deepEqual(find(one, message('hello').contents, ['b@y']), ['b@y'])
    server.isDown = false
    // The server never had it: this edge's own memory still counts.
    assert.deepEqual(find(one, message('hello').contents, ['b@y']), ['b@y'])
  })

  it('that were used while it was gone do not swallow the same message sent anew', () => {
    const { server, one, two } = edges()
    const content = message('hello').contents.of('b@y')
    one.remember([content], 0)
    two.check(1)
    server.isDown = true
    assert.deepEqual(find(one, message('hello').contents, ['b@y']), ['b@y'])
    one.used([content])
    server.isDown = false
    one.check(2)
    assert.deepEqual(find(one, message('hello').contents, ['b@y']), [])
    assert.deepEqual(find(two, message('hello').contents, ['b@y']), [])
  })

  it('that another edge has taken and used do not count here any more', () => {
    const { one, two } = edges()
    const content = message('hello').contents.of('b@y')
    one.remember([content], 0)
    two.check(1)
    assert.deepEqual(find(two, message('hello').contents, ['b@y']), ['b@y'])
    two.used([content])
    assert.deepEqual(find(one, message('hello').contents, ['b@y']), [])
  })

  it('are remembered again by the edge whose try failed again', () => {
    const { one, two } = edges()
    const content = message('hello').contents.of('b@y')
    one.remember([content], 0)
    two.check(1)
    assert.deepEqual(find(two, message('hello').contents, ['b@y']), ['b@y'])
    two.remember([content], 1)
    assert.deepEqual(find(one, message('hello').contents, ['b@y']), ['b@y'])
  })
})
