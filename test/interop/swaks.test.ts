/** swaks as the client: plain, STARTTLS, TLS from the first byte, and refusals it must see as such. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { type Finished, run } from '../support/child.ts'
import { clusterConf, clusterPorts, startCluster } from '../support/cluster.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { haveTools, tool } from '../support/tools.ts'
import { arrivals, bodyOf } from './peers.ts'

const to = 'sink@customer1.example'

async function swaks(port: number, args: readonly string[]): Promise<Finished> {
  const envelope = ['--server', '127.0.0.1', '--port', String(port), '--from', 'swaks@example.net']
  return await run(tool('swaks'), [...envelope, ...args])
}

test('swaks delivers over every listener', { timeout: 120_000 }, async (context: TestContext) => {
  if (!(await haveTools(context, ['swaks', 'openssl']))) return
  const sink = await arrivals(context)
  const ports = await clusterPorts()
  const conf = clusterConf(ports, { deliver: `smtp:127.0.0.1:${sink.port}` })
  await startCluster(context, temporaryDirectory(context), conf)
  const body = 'one\n.dot\n..two\nend'

  await context.test('SMTP', async () => {
    const finished = await swaks(ports.smtp, ['--to', to, '--body', body])
    assert.equal(finished.code, 0, finished.stdout)
    await sink.reaches(1)
    assert.equal(bodyOf(sink.mails[0]?.data ?? Buffer.alloc(0)).trim(), body.replaceAll('\n', '\r\n'))
  })

  await context.test('pipelined, two recipients', async () => {
    const finished = await swaks(ports.smtp, ['--pipeline', '--to', `${to},second@customer1.example`, '--body', body])
    assert.equal(finished.code, 0, finished.stdout)
    await sink.reaches(2)
  })

  await context.test('STARTTLS on the submission port', async () => {
    const finished = await swaks(ports.submission, ['--tls', '--to', to, '--body', body])
    assert.equal(finished.code, 0, finished.stdout)
    assert.match(finished.stdout, /=== TLS started with cipher TLSv1\.[23]/)
    const before = sink.mails.length
    await sink.reaches(Math.max(before, 3))
    assert.match(sink.mails.at(-1)?.data.toString('latin1') ?? '', /^Received: .*\bE?SMTPS\b/ms)
  })

  await context.test('TLS from the first byte', async () => {
    const finished = await swaks(ports.smtps, ['--tlsc', '--to', to, '--body', body])
    assert.equal(finished.code, 0, finished.stdout)
    assert.match(finished.stdout, /=== TLS started/)
    await sink.reaches(4)
  })

  await context.test('the largest message is announced', async () => {
    const finished = await swaks(ports.smtp, ['--to', to, '--quit-after', 'EHLO'])
    assert.match(finished.stdout, /250[- ]SIZE \d+/)
  })
})
