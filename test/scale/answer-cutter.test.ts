/** A wire on which answers are lost: both ends are reset, the server has done its work, and everything else passes. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { test } from 'node:test'
import { freePortRange } from '../support/free-ports.ts'
import { haveTools } from '../support/tools.ts'
import { AnswerCutter } from './answer-cutter.ts'
import { qmtpAnswers } from './answers.ts'
import { Fuse } from './fuse.ts'

/** What a client that sends `words`, one after each answer, is told until the end. */
async function told(port: number, words: readonly string[]): Promise<{ answers: string; error: string }> {
  const socket = connect(port, '127.0.0.1')
  const left = [...words]
  let [answers, error] = ['', '']
  socket.on('data', (piece) => {
    answers += piece.toString('latin1')
    const next = left.shift()
    if (next === undefined) socket.end()
    else socket.write(next)
  })
  socket.on('error', (one: NodeJS.ErrnoException) => {
    error = one.code ?? ''
  })
  socket.write(left.shift() ?? '')
  await new Promise<void>((resolve) => socket.on('close', () => resolve()))
  return { answers, error }
}

test('an answer is lost after so many have passed', async (context) => {
  if (!(await haveTools(context, ['nft']))) return
  const port = await freePortRange(1)
  const heard: string[] = []
  const ends: string[] = []
  const server = createServer((socket) => {
    socket.on('error', (error: NodeJS.ErrnoException) => ends.push(error.code ?? ''))
    socket.on('data', (piece) => {
      heard.push(piece.toString('latin1'))
      socket.write('2:K1,')
    })
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const fuse = new Fuse()
  const cutter = await AnswerCutter.start([{ port, fuse, counter: qmtpAnswers }])
  context.after(() => server.close())
  try {
    assert.deepEqual(await told(port, ['a', 'b']), { answers: '2:K1,2:K1,', error: '' })
    fuse.arm(1)
    assert.deepEqual(await told(port, ['c', 'd', 'e']), { answers: '2:K1,', error: 'ECONNRESET' })
    assert.deepEqual(heard, ['a', 'b', 'c', 'd'])
    assert.deepEqual(fuse.tally, { armed: 1, lost: 1 })
    assert.deepEqual(await told(port, ['f']), { answers: '2:K1,', error: '' })
    assert.deepEqual(ends, ['ECONNRESET'])
  } finally {
    await cutter.close()
  }
  assert.deepEqual(await told(port, ['g']), { answers: '2:K1,', error: '' }, 'the wire is as it was')
})
