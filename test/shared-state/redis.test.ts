/** The contract against a real redis-server, two edges with a connection each, and what is on the server afterwards. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { NotedHints } from '../../services/contract/shared-state.ts'
import { hintName } from '../../services/runtime/shared-state-key.ts'
import { RedisServer } from '../support/redis-server.ts'
import { answerOf, known, reachedClient, sleep } from './clients.ts'
import { hostileSubjects, sharedStateContract } from './contract.ts'

sharedStateContract('a Redis server', async (test) => {
  const { port } = await RedisServer.start(test)
  return { one: await reachedClient(test, port), two: await reachedClient(test, port), pass: sleep }
})

it('a link on which many calls have waited in vain is ended once', async (test) => {
  const server = await RedisServer.start(test)
  const state = await reachedClient(test, server.port, { deadlineMs: 300 })
  const warnings: string[] = []
  const warned = ({ name }: Error) => warnings.push(name)
  process.on('warning', warned)
  test.after(() => process.off('warning', warned))
  server.freeze()
  const asked = Array.from({ length: 40 }, (_, number) =>
    answerOf<true>((answered) => state.keepContents([`content ${number}`], 1000, answered)),
  )
  for (const { kind } of await Promise.all(asked)) assert.equal(kind, 'gone')
  await sleep(20)
  assert.deepEqual(warnings, [])
  server.thaw()
})

describe('keys on the Redis server', () => {
  it('have our prefix, a fixed alphabet, a bounded length, and a time to live', async (test) => {
    const server = await RedisServer.start(test)
    const state = await reachedClient(test, server.port)
    for (const subject of hostileSubjects) {
      await known((answered) => state.takeRate({ name: 'r', events: 5, perMs: 600_000 }, subject, 1, answered))
      await known((answered) => state.takeSlot({ name: 's', slotsMax: 5, ttlMs: 60_000 }, subject, subject, answered))
      const triplet = { network: subject, sender: subject, recipient: subject }
      await known((answered) => state.greylist({ delayMs: 1, retryMs: 60_000, keepMs: 9 }, triplet, answered))
      const more = { good: 1, bad: 1 }
      await known((answered) => state.addReputation({ name: 'c', halfLifeMs: 60_000 }, subject, more, answered))
      await known((answered) => state.keepContents([subject], 60_000, answered))
    }
    await known((answered) => state.noteHints(hostileSubjects, 60_000, answered))
    const keys = (await server.command(['KEYS', '*'])).split('\n')
    assert.equal(keys.length, hostileSubjects.length * 5 + 1)
    for (const key of keys) {
      assert.match(
        key,
        /^qmq:\{mail\.example\.com\}:(rate:r|slot:s|grey:triplet|reputation:c|content:id|hints:all):[\w-]{43}$/,
      )
    }
    const names = (await server.command(['ZRANGE', keys.find((key) => key.includes('hints')) ?? '', '0', '-1'])).split(
      '\n',
    )
    assert.equal(names.length, hostileSubjects.length)
    for (const name of names) assert.match(name, /^[\w-]{43}$/)
    const script = "for _, k in ipairs(redis.call('KEYS', '*')) do if redis.call('PTTL', k) < 0 then return k end end"
    assert.equal(await server.command(['EVAL', script, '0']), '')
  })

  it('of hints go on from the last one when the clock of the server has gone back', async (test) => {
    const server = await RedisServer.start(test)
    const state = await reachedClient(test, server.port)
    const since = (mark: number) => known<NotedHints>((answered) => state.hintsSince(mark, answered))
    const note = (hint: string) => known((answered) => state.noteHints([hint], 60_000, answered))
    await note('a')
    await server.command(['ZADD', await server.command(['KEYS', '*hints*']), '9e12', 'of-tomorrow'])
    const { mark } = await since(0)
    await note('b')
    assert.deepEqual((await since(mark)).names, [hintName('b')])
  })

  it('that another program left behind, of whatever type, count as nothing', async (test) => {
    const server = await RedisServer.start(test)
    const state = await reachedClient(test, server.port)
    const rate = { name: 'r', events: 5, perMs: 600_000 }
    const asks = [
      () => known((answered) => state.takeRate(rate, 'x', 5, answered)),
      () => known((answered) => state.takeSlot({ name: 's', slotsMax: 5, ttlMs: 60_000 }, 'x', 'h', answered)),
      () =>
        known((answered) =>
          state.greylist(
            { delayMs: 50, retryMs: 60_000, keepMs: 9 },
            { network: 'n', sender: '', recipient: '' },
            answered,
          ),
        ),
      () =>
        known((answered) =>
          state.addReputation({ name: 'c', halfLifeMs: 600_000 }, 'x', { good: 1, bad: 2 }, answered),
        ),
    ]
    const fresh = await Promise.all(asks.map((ask) => ask()))
    const keys = (await server.command(['KEYS', '*'])).split('\n')
    assert.equal(keys.length, 4)
    const poisons: readonly (readonly [string, ...string[]])[] = [
      ['SET', 'nan nan'],
      ['SET', '-inf inf'],
      ['SET', 'passed?'],
      ['HSET', 'good', 'nan'],
      ['HSET', 'at', '1e999'],
      ['LPUSH', 'x'],
      ['SADD', 'x'],
    ]
    for (const [command, ...words] of poisons) {
      for (const key of keys) {
        await server.command(['DEL', key])
        await server.command([command, key, ...words])
      }
      assert.deepEqual(await Promise.all(asks.map((ask) => ask())), fresh, command)
    }
    for (const key of keys) {
      await server.command(['DEL', key])
      await server.command(['ZADD', key, 'inf', 'x'])
    }
    const [taken, , stage] = await Promise.all(asks.map((ask) => ask()))
    assert.deepEqual([taken, stage], [fresh[0], fresh[2]])
  })
})
