/** `qmq drill` on a running cluster: mail goes on without coordination and over a killed instance, and refusals say why. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { DrillReport } from '../../services/cli/drill/drill-report.ts'
import type { InstanceState } from '../../services/contract/operations.ts'
import { type Cluster, clusterConf, clusterPorts, startCluster } from '../support/cluster.ts'
import { MailSink } from '../support/mail-sink.ts'
import { NatsServer } from '../support/nats-server.ts'
import { RedisServer } from '../support/redis-server.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

const timeout = 120_000

async function customerCluster(test: TestContext): Promise<Cluster> {
  const sink = await MailSink.start({ received() {} })
  test.after(() => sink.close())
  const conf = clusterConf(await clusterPorts(), { deliver: `smtp:127.0.0.1:${sink.port}` })
  return await startCluster(test, temporaryDirectory(test), conf)
}

test('a drill holds on a whole cluster, whatever is taken away', { timeout }, async (t) => {
  const cluster = await customerCluster(t)
  const drill = async (...words: string[]): Promise<DrillReport> => {
    const { finished, answer } = await cluster.ask(['drill', ...words, '--yes', '--probes', '3'])
    assert.equal(finished.code, 0, finished.stdout + finished.stderr)
    const report = answer as DrillReport
    assert.deepEqual([report.held, report.problems, report.missing], [true, [], []])
    assert.deepEqual([report.felt, report.back, report.balanced], [true, true, true])
    for (const { sent } of report.phases) assert.ok(sent > 0)
    assert.equal(
      report.phases.reduce((sum, { accepted }) => sum + accepted, 0),
      report.arrived,
    )
    return report
  }
  const down = await drill('nats-down', '--for', '1s')
  assert.equal(down.drill, 'nats-down')
  assert.equal(down.phases[1]?.sent, down.phases[1]?.accepted)
  const pidOf = async (id: string): Promise<number | undefined> => {
    const { answer } = await cluster.ask(['status'])
    return (answer as { instances: { id: string; pid?: number }[] }).instances.find((one) => one.id === id)?.pid
  }
  const before = await pidOf('01')
  assert.equal((await drill('kill', '01', '--to', 'sink@customer1.example')).drill, 'kill 01')
  assert.notEqual(await pidOf('01'), before)
  await drill('kill', 'e1')
})

test('NATS and Redis are played gone one by one, and are there afterwards', { timeout }, async (t) => {
  const redis = await RedisServer.start(t)
  const nats = await NatsServer.start()
  t.after(() => nats.remove())
  const conf = clusterConf(await clusterPorts(), { deliver: 'hold', coordination: `nats://${nats.address}` })
  const cluster = await startCluster(t, temporaryDirectory(t), `${conf}shared-state: redis://127.0.0.1:${redis.port}\n`)
  const reached = async (): Promise<boolean | undefined> => {
    const { answer } = await cluster.ask(['status'])
    const edge = (answer as { instances: InstanceState[] }).instances.find(({ id }) => id === 'e1')
    return edge?.sharedState?.reached
  }
  while (!(await reached())) {}
  for (const fault of ['nats-down', 'redis-down']) {
    const { finished, answer } = await cluster.ask(['drill', fault, '--for', '2s', '--yes', '--probes', '2'])
    assert.equal(finished.code, 0, finished.stdout + finished.stderr)
    const { held, felt, phases } = answer as DrillReport
    assert.deepEqual([held, felt, phases[1]?.accepted], [true, true, phases[1]?.sent])
  }
  assert.equal(await reached(), true)
})

test('a drill does nothing where it may not, and says why', { timeout }, async (t) => {
  const cluster = await customerCluster(t)
  const refused = async (code: number, why: RegExp, ...words: string[]): Promise<void> => {
    const finished = await cluster.qmq(['drill', ...words])
    assert.equal(finished.code, code, finished.stdout + finished.stderr)
    assert.match(finished.stderr, why)
    assert.equal(finished.stdout, '')
  }
  await refused(2, /00 01 .*do without coordination for 10 s.*\nNothing was done: say --yes/, 'nats-down')
  await refused(2, /SIGKILL to queue 01, process \d+; .*\nNothing was done/, 'kill', '01')
  await refused(2, /no instance 77; it has .*01 02/, 'kill', '77', '--yes')
  await refused(2, /--for is from 1s to 1m/, 'nats-down', '--for', '2m', '--yes')
  await refused(2, /10 has no unit/, 'nats-down', '--for', '10', '--yes')
  await refused(2, /--probes is a whole number from 1 to/, 'nats-down', '--probes', '0', '--yes')
  await refused(1, /redis-down: e1: nothing here depends on shared-state/, 'redis-down', '--yes', '--probes', '1')
  await cluster.stop()
  await refused(3, /a drill begins on a whole cluster: no `qmq up` is running/, 'nats-down', '--yes')
})
