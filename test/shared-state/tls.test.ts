/** A Redis server that speaks TLS only: reached where its certificate is for the address it was dialled by, and by nobody else. */

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { it, type TestContext } from 'node:test'
import { certificate } from '../support/certificate.ts'
import { RedisServer } from '../support/redis-server.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { known, redisClient, until } from './clients.ts'

/** The server's certificate is its own authority. */
async function serverNamed(test: TestContext, names: string): Promise<{ redis: RedisServer; authority: Buffer }> {
  const pair = certificate(test, names)
  const directory = temporaryDirectory(test, 'redis-tls')
  const file = (name: string, content: Buffer) => {
    writeFileSync(join(directory, name), content)
    return join(directory, name)
  }
  const own = file('cert.pem', pair.certificate)
  const tls = { certificate: own, key: file('key.pem', pair.key), authority: own }
  return { redis: await RedisServer.start(test, { tls }), authority: pair.certificate }
}

function clientOf(test: TestContext, host: string, port: number, authority: Buffer) {
  return redisClient(test, port, { access: async () => ({ host, port, tls: { authority } }) }).state
}

for (const host of ['127.0.0.1', 'localhost']) {
  it(`is reached by ${host} where its certificate says so`, async (test) => {
    const { redis, authority } = await serverNamed(test, 'IP:127.0.0.1,DNS:localhost')
    const state = clientOf(test, host, redis.port, authority)
    await until(() => state.reach === 'cluster')
    await known((answered) => state.keepContents(['x'], 60_000, answered))
  })

  it(`is not reached by ${host} where its certificate is for another`, async (test) => {
    const { redis, authority } = await serverNamed(test, 'IP:127.0.0.2,DNS:other.example')
    const state = clientOf(test, host, redis.port, authority)
    await until(() => state.reach === 'process' && /altnames/.test(state.status.why ?? ''))
  })
}

it('is not reached where another authority signed', async (test) => {
  const { redis } = await serverNamed(test, 'IP:127.0.0.1')
  const state = clientOf(test, '127.0.0.1', redis.port, certificate(test, 'IP:127.0.0.1').certificate)
  await until(() => /self-signed|certificate/.test(state.status.why ?? ''))
  assert.equal(state.reach, 'process')
})
