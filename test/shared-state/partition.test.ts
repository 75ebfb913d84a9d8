/** A Redis server on another host, and a network that parts it from here: what was given up stays given up when the network heals. */

import assert from 'node:assert/strict'
import { it } from 'node:test'
import { NetworkHosts } from '../support/network-hosts.ts'
import { RedisServer } from '../support/redis-server.ts'
import { haveTools } from '../support/tools.ts'
import { answerOf, known, redisClient, sleep, until } from './clients.ts'
import { ownTls } from './own-tls.ts'

const contents = ['one', 'two', 'three', 'four', 'five', 'six']
/** Longer than the kernel waits until it sends again what had no answer. */
const sentAgainMs = 4000

for (const secure of [false, true]) {
  const how = secure ? ', over TLS' : ''
  it(`a content that nobody could take while the server was cut off is still there afterwards${how}`, async (test) => {
    if (!(await haveTools(test, ['ip', 'redis-server']))) return
    const hosts = NetworkHosts.make(test, 1)
    const host = hosts.address(1)
    const own = secure ? ownTls(test, host) : undefined
    const place = { starter: hosts.starter(1), host, ...(own === undefined ? {} : { tls: own.files }) }
    const redis = await RedisServer.start(test, place)
    const proof = own === undefined ? {} : { tls: { authority: own.authority } }
    const access = async () => ({ host, port: redis.port, ...proof })
    const { state } = redisClient(test, redis.port, { access, deadlineMs: 300 })
    await until(() => state.reach === 'cluster')
    await known((answered) => state.keepContents(contents, 60_000, answered))
    hosts.cutOff()
    const takes = contents.map((id) => answerOf<ReadonlySet<string>>((answered) => state.takeContents([id], answered)))
    for (const answer of await Promise.all(takes)) assert.equal(answer.kind, 'gone')
    await until(() => state.reach === 'process')
    hosts.rejoin()
    await until(() => state.reach === 'cluster')
    await sleep(sentAgainMs)
    const left = await known<ReadonlySet<string>>((answered) => state.takeContents(contents, answered))
    assert.deepEqual([...left].toSorted(), contents.toSorted())
  })
}
