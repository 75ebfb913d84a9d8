/** Postfix on both sides: it relays to our edge, and it is our next hop; STARTTLS towards us where we offer it. */

import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { clusterConf, clusterPorts, startCluster } from '../support/cluster.ts'
import { freePorts } from '../support/free-ports.ts'
import { MailClient } from '../support/mail-client.ts'
import { Postfix } from '../support/postfix.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { haveTools } from '../support/tools.ts'
import { arrivals, bodyOf } from './peers.ts'

const messages = 100

async function startPostfix(context: TestContext, port: number, settings: Record<string, string>): Promise<Postfix> {
  const directory = temporaryDirectory(context, 'qmq-postfix')
  const postfix = await Postfix.start({ directory, port, settings })
  context.after(() => postfix.stop())
  return postfix
}

test('Postfix -> edge -> queue -> Postfix -> next hop', { timeout: 180_000 }, async (context) => {
  if (!(await haveTools(context, ['postfix', 'postsuper', 'openssl']))) return
  const sink = await arrivals(context)
  const ports = await clusterPorts()
  const [before, after] = (await freePorts(2)) as [number, number]
  await startPostfix(context, after, { relayhost: `[127.0.0.1]:${sink.port}`, relay_domains: 'customer1.example' })
  const sender = await startPostfix(context, before, {
    relayhost: `[127.0.0.1]:${ports.smtp}`,
    smtp_tls_security_level: 'may',
  })
  const directory = join(temporaryDirectory(context), 'qmq')
  mkdirSync(directory)
  const conf = clusterConf(ports, { deliver: `smtp:127.0.0.1:${after}` })
  const cluster = await startCluster(context, directory, conf)

  const client = await MailClient.connect(sender.port)
  const bodies = new Map<string, string>()
  for (let index = 0; index < messages; index++) {
    const recipient = `user${index}@customer1.example`
    const body = `message ${index}\r\n.dot\r\n${'8bit \xe4\xf6\xfc '.repeat(index)}\r\n`
    const data = Buffer.from(`From: <a@example.net>\r\nSubject: ${index}\r\n\r\n${body}`, 'latin1')
    const reply = await client.send({ sender: 'a@example.net', recipients: [recipient], data })
    assert.equal(reply.code, 250, reply.text)
    bodies.set(recipient, body)
  }
  await client.quit()
  await sink.reaches(messages, 120_000)
  for (const mail of sink.mails) {
    assert.equal(bodyOf(mail.data), bodies.get(mail.recipients[0] ?? ''))
    assert.equal(mail.sender, 'a@example.net')
  }
  assert.equal(new Set(sink.mails.flatMap((mail) => mail.recipients)).size, messages)
  const { answer } = await cluster.ask(['audit'])
  assert.equal((answer as { balanced: boolean }).balanced, true)
})

test('Postfix refuses, the sender learns it through the bounce host', { timeout: 120_000 }, async (context) => {
  if (!(await haveTools(context, ['postfix', 'postsuper']))) return
  const bounces = await arrivals(context)
  const ports = await clusterPorts()
  const [after] = (await freePorts(1)) as [number]
  await startPostfix(context, after, { smtpd_recipient_restrictions: 'reject', smtpd_delay_reject: 'yes' })
  const conf = clusterConf(ports, {
    deliver: `smtp:127.0.0.1:${after}`,
    bounces: { deliver: `"smtp:127.0.0.1:${bounces.port}"` },
  })
  await startCluster(context, temporaryDirectory(context), conf)
  const client = await MailClient.connect(ports.smtp)
  const data = Buffer.from('Subject: refused\r\n\r\ntext\r\n')
  const mail = { sender: 'author@example.net', recipients: ['nobody@customer1.example'], data }
  assert.equal((await client.send(mail)).code, 250)
  await client.quit()
  await bounces.reaches(1)
  const bounce = bounces.mails[0]
  assert.equal(bounce?.sender, '')
  assert.deepEqual(bounce?.recipients, ['author@example.net'])
  assert.match(bounce?.data.toString('latin1') ?? '', /nobody@customer1\.example[\s\S]*554/)
})
