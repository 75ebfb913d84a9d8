/** The tests' own client and server agree on bytes: dots, empty texts, refusals, connections that break. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { MailClient } from './mail-client.ts'
import { MailSink, type ReceivedMail } from './mail-sink.ts'
import { scriptedServer } from './scripted-server.ts'

async function startSink(context: TestContext): Promise<{ mails: ReceivedMail[]; port: number }> {
  const mails: ReceivedMail[] = []
  const sink = await MailSink.start({
    received: (mail) => mails.push(mail),
    refuse: (recipient) => (recipient.startsWith('no') ? '550 5.1.1 no' : undefined),
  })
  context.after(() => sink.close())
  return { mails, port: sink.port }
}

test('texts arrive byte for byte', async (context) => {
  const { mails, port } = await startSink(context)
  const client = await MailClient.connect(port)
  const texts = [
    '',
    '.\r\n',
    '..\r\n.x\r\n',
    'a\r\n.\r\n\r\n.',
    '\r\n',
    '\xff\x00\r\n',
    `${'x'.repeat(200_000)}\r\n.\r\n`,
  ]
  for (const text of texts) {
    const whole = text === '' || text.endsWith('\r\n') ? text : `${text}\r\n`
    const data = Buffer.from(whole, 'latin1')
    const reply = await client.send({ sender: 's@x', recipients: ['a@x', 'b@x'], data })
    assert.equal(reply.code, 250)
    assert.equal(mails.at(-1)?.data.toString('latin1'), whole)
  }
  assert.deepEqual(mails.at(-1)?.recipients, ['a@x', 'b@x'])
  await client.quit()
})

test('a refused recipient is told, and the connection lives on', async (context) => {
  const { mails, port } = await startSink(context)
  const client = await MailClient.connect(port)
  const data = Buffer.from('x\r\n')
  const refused = await client.send({ sender: '', recipients: ['nobody@x'], data })
  assert.deepEqual([refused.code, refused.text], [550, '5.1.1 no'])
  assert.equal((await client.send({ sender: '', recipients: ['a@x'], data })).code, 250)
  assert.equal(mails.length, 1)
  client.destroy()
})

test('a connection that breaks rejects the send under way', async (context) => {
  const server = await scriptedServer(context, [
    [
      { send: '220 hello\r\n' },
      { expect: 'EHLO' },
      { send: '250-x\r\n250 PIPELINING\r\n' },
      { expect: 'DATA\r\n' },
      { send: '250 ok\r\n250 ok\r\n354 go\r\n' },
      { expect: '\r\n.\r\n' },
      { close: 'reset' },
    ],
  ])
  const client = await MailClient.connect(server.port)
  await assert.rejects(client.send({ sender: 's@x', recipients: ['a@x'], data: Buffer.from('x\r\n') }), /closed/)
  assert.match(server.received[0] ?? '', /MAIL FROM:<s@x>\r\nRCPT TO:<a@x>\r\nDATA\r\nx\r\n\.\r\n$/)
})
