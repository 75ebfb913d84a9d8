/** A whole cluster that shares through a real redis-server: what status says of it, what SIGHUP changes, where no secret is. */

import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { it } from 'node:test'
import type { SharedStateStatus } from '../../services/contract/shared-state.ts'
import { run } from '../support/child.ts'
import { clusterConf, clusterPorts, startCluster } from '../support/cluster.ts'
import { RedisServer } from '../support/redis-server.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

interface Answer {
  readonly healthy: boolean
  readonly instances: readonly { readonly id: string; readonly sharedState?: SharedStateStatus }[]
}

it('is degraded while an edge does not reach the server, and takes another word by SIGHUP', async (test) => {
  const users = ['user default on nopass ~* &* +@all', 'user qmq on >the-s3cret ~* +@all']
  const redis = await RedisServer.start(test, { users })
  const directory = temporaryDirectory(test)
  mkdirSync(`${directory}/state`, { mode: 0o700 })
  writeFileSync(`${directory}/state/redis-password`, 'the-s3cret\n', { mode: 0o600 })
  const conf = clusterConf(await clusterPorts(), { deliver: 'hold' })
  const section = `shared-state: { server: "redis://127.0.0.1:${redis.port}", user: qmq, password-file: redis-password }`
  const cluster = await startCluster(test, directory, `${conf}${section}\n`)
  const status = async (code: number, wanted: (answer: Answer) => boolean) => {
    for (;;) {
      const { finished, answer } = await cluster.ask(['status'])
      assert.doesNotMatch(finished.stdout + finished.stderr, /s3cret/)
      if (finished.code === code && wanted(answer as Answer)) return finished
    }
  }
  const edge = (answer: Answer) => answer.instances.find(({ id }) => id === 'e1')?.sharedState
  await status(
    0,
    (answer) => edge(answer)?.reached === true && edge(answer)?.server === `redis://127.0.0.1:${redis.port}`,
  )
  for (const place of ['layout.json', 'edges/e1/layout.json']) {
    const text = readFileSync(`${cluster.state}/${place}`, 'utf8')
    assert.match(text, /"passwordFile": "redis-password"/)
    assert.doesNotMatch(text, /s3cret/)
  }
  const processes = await run('ps', ['-eo', 'args'])
  assert.match(processes.stdout, /edge\/main/)
  assert.doesNotMatch(processes.stdout, /s3cret/)
  await redis.kill()
  const { stderr } = await status(3, (answer) => !answer.healthy && edge(answer)?.reached === false)
  assert.match(stderr, /e1: counts for itself, without redis:\/\/127\.0\.0\.1:[0-9]+: /)
  writeFileSync(cluster.confFile, `${conf}shared-state: embedded\n`)
  cluster.child.process.kill('SIGHUP')
  await status(0, (answer) => answer.healthy && edge(answer) === undefined)
})
