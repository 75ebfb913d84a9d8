/** A Redis server that speaks TLS only: reached where its certificate is for the address it was dialled by, and by nobody else. */

import assert from 'node:assert/strict'
import { it, type TestContext } from 'node:test'
import { certificate } from '../support/certificate.ts'
import { RedisServer } from '../support/redis-server.ts'
import { known, redisClient, until } from './clients.ts'
import { ownTls } from './own-tls.ts'

const unansweredUntilGone = 5

async function serverNamed(test: TestContext, ...names: string[]): Promise<{ redis: RedisServer; authority: Buffer }> {
  const { files, authority } = ownTls(test, ...names)
  return { redis: await RedisServer.start(test, { tls: files }), authority }
}

function clientOf(test: TestContext, host: string, port: number, authority: Buffer) {
  return redisClient(test, port, { access: async () => ({ host, port, tls: { authority } }), deadlineMs: 500 }).state
}

for (const host of ['127.0.0.1', 'localhost']) {
  it(`is reached by ${host} where its certificate says so`, async (test) => {
    const { redis, authority } = await serverNamed(test, '127.0.0.1', 'localhost')
    const state = clientOf(test, host, redis.port, authority)
    await until(() => state.reach === 'cluster')
    await known((answered) => state.keepContents(['x'], 60_000, answered))
  })

  it(`is not reached by ${host} where its certificate is for another`, async (test) => {
    const { redis, authority } = await serverNamed(test, '127.0.0.2', 'other.example')
    const state = clientOf(test, host, redis.port, authority)
    await until(() => state.reach === 'process' && /altnames/.test(state.status.why ?? ''))
  })
}

it('is not reached where another authority signed', async (test) => {
  const { redis } = await serverNamed(test, '127.0.0.1')
  const state = clientOf(test, '127.0.0.1', redis.port, certificate(test, 'IP:127.0.0.1').certificate)
  await until(() => /self-signed|certificate/.test(state.status.why ?? ''))
  assert.equal(state.reach, 'process')
})

it('is reached again after it was killed, and after it stood still', async (test) => {
  const { redis, authority } = await serverNamed(test, '127.0.0.1')
  const state = clientOf(test, '127.0.0.1', redis.port, authority)
  await until(() => state.reach === 'cluster')
  await redis.kill()
  await until(() => /ECONNREFUSED/.test(state.status.why ?? ''))
  await redis.restart()
  await until(() => state.reach === 'cluster')
  redis.freeze()
  for (let number = 0; number < unansweredUntilGone; number++) state.keepContents(['x'], 60_000, () => {})
  await until(() => state.reach === 'process')
  redis.thaw()
  await until(() => state.reach === 'cluster')
})
