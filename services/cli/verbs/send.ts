/** `qmq send`: submits test messages to the edge as a mail program would, and prints the id each got. */

import fs from 'node:fs'
import { byteStringOf, displayText } from '../../protocol/byte-string.ts'
import { errorText } from '../../protocol/failure.ts'
import { mailDate } from '../../protocol/mail-date.ts'
import { ClusterClient } from '../cluster-client.ts'
import { submitTargetOf } from '../edge-listener.ts'
import { composeMessage, idOfReply, type Submission, SubmitConnection } from '../submit.ts'
import { type Context, countOption, type ExitCode, type Input, textOption, type Verb } from '../verb.ts'

export const sendVerb: Verb = {
  name: 'send',
  summary: 'send a test message through the edge and print its id',
  options: [
    ['--to <address...>', 'recipients, default the first mailbox of the cluster'],
    ['--from <address>', 'sender, default the last mailbox of the cluster; "" for the empty sender'],
    ['--file <path>', 'a whole message, header and text'],
    ['--template <path>', 'the same, with {from} {to} {date} {number} replaced'],
    ['--count <number>', 'how many, default 1'],
  ],
  run: send,
}

interface Sent {
  readonly id: string
  readonly code: number
  readonly text: string
}

async function send(context: Context, input: Input): Promise<ExitCode> {
  const count = countOption(input, 'count', 1)
  if (count === undefined) {
    context.complain('--count is a whole number from 1 on')
    return 2
  }
  const client = await ClusterClient.open(context)
  client.close()
  const mailboxes = client.layout.pools.flatMap((pool) => pool.mailboxes)
  const to = Array.isArray(input.options['to']) ? input.options['to'].map(String) : mailboxes.slice(0, 1)
  const from = textOption(input, 'from') ?? mailboxes.at(-1)
  if (to.length === 0 || from === undefined) {
    context.complain('this cluster has no mailboxes: name --from and --to')
    return 2
  }
  const named = textOption(input, 'file') ?? textOption(input, 'template')
  if (named !== undefined && fs.statSync(named).size === 0) {
    context.complain(`${named} is empty: there is no message in it`)
    return 2
  }
  const connection = new SubmitConnection(context.world, submitTargetOf(client.layout))
  let refused = 0
  try {
    for (let number = 1; number <= count; number++) {
      const sent = await sendOne(connection, submissionOf(context, input, { from, to, number }))
      if (sent.id === '') refused++
      show(context, sent)
    }
  } catch (error) {
    context.complain(`not sent: ${errorText(error)}`)
    return 1
  } finally {
    connection.quit()
  }
  return refused === 0 ? 0 : 1
}

async function sendOne(connection: SubmitConnection, submission: Submission): Promise<Sent> {
  const outcomes = await connection.send(submission)
  const taken = outcomes.find((outcome) => outcome.kind === 'delivered')
  const failed = outcomes.find((outcome) => outcome.kind === 'failed')
  if (taken === undefined) return { id: '', code: failed?.failure.code ?? 451, text: failed?.failure.text ?? '' }
  const text = failed === undefined ? taken.text : `${taken.text}; refused: ${failed.failure.text}`
  return { id: idOfReply(taken.text) ?? '', code: 250, text }
}

function submissionOf(
  context: Context,
  input: Input,
  parts: { readonly from: string; readonly to: readonly string[]; readonly number: number },
): Submission {
  const { from, to, number } = parts
  const date = mailDate(context.world.clock.now())
  const [file, template] = [textOption(input, 'file'), textOption(input, 'template')]
  const envelope = { sender: byteStringOf(from), recipients: to.map(byteStringOf) }
  if (file !== undefined) return { ...envelope, message: fs.readFileSync(file) }
  if (template === undefined) {
    const text = `Message ${number}, sent by qmq send.`
    return { ...envelope, message: composeMessage({ from, to, subject: `Test ${number}`, date, text }) }
  }
  const values = new Map([
    ['from', from],
    ['to', to.join(', ')],
    ['date', date],
    ['number', String(number)],
  ])
  const filled = fs
    .readFileSync(template, 'latin1')
    .replace(/\{(from|to|date|number)\}/g, (whole, name: string) => byteStringOf(values.get(name) ?? whole))
  return { ...envelope, message: Buffer.from(filled, 'latin1') }
}

function show(context: Context, sent: Sent): void {
  if (context.output === 'json') context.print(JSON.stringify(sent))
  else if (sent.id === '') context.complain(`refused: ${displayText(sent.text)}`)
  else context.print(context.output === 'wide' ? `${sent.id} ${displayText(sent.text)}` : sent.id)
}
