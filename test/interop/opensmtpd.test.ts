/** OpenSMTPD as the next hop: no PIPELINING, its own opinions on line ends and headers. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clusterConf, clusterPorts, startCluster } from '../support/cluster.ts'
import { freePortRange } from '../support/free-ports.ts'
import { MailClient } from '../support/mail-client.ts'
import { openSmtpdProgram, startOpenSmtpd } from '../support/opensmtpd.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { haveTools } from '../support/tools.ts'
import { arrivals, bodyOf } from './peers.ts'

const messages = 50

test('OpenSMTPD takes our mail and passes it on whole', { timeout: 180_000 }, async (context) => {
  if (!(await haveTools(context, [openSmtpdProgram, 'unshare']))) return
  const sink = await arrivals(context)
  const port = await freePortRange(1)
  const peer = await startOpenSmtpd({ directory: temporaryDirectory(context), port, nextHop: sink.port })
  context.after(async () => {
    await peer.stop()
  })
  const ports = await clusterPorts()
  await startCluster(context, temporaryDirectory(context), clusterConf(ports, { deliver: `smtp:127.0.0.1:${port}` }))

  const client = await MailClient.connect(ports.smtp)
  const bodies = new Map<string, string>()
  for (let index = 0; index < messages; index++) {
    const recipient = `user${index}@customer1.example`
    const body = `message ${index}\r\n.dot\r\n..\r\n${'line\r\n'.repeat(index * 20)}`
    const header = `From: <a@example.net>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <${index}@example.net>\r\n`
    const data = Buffer.from(`${header}Subject: ${index}\r\n\r\n${body}`, 'latin1')
    assert.equal((await client.send({ sender: 'a@example.net', recipients: [recipient], data })).code, 250)
    bodies.set(recipient, body)
  }
  await client.quit()
  await sink.reaches(messages, 120_000)
  assert.equal(new Set(sink.mails.flatMap((mail) => mail.recipients)).size, messages)
  for (const mail of sink.mails) assert.equal(bodyOf(mail.data), bodies.get(mail.recipients[0] ?? ''))
})
