/** Acknowledgements are counted with the piece that completes them, however the stream is cut. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HandoverAnswer } from '../../services/contract/handover.ts'
import { handoverService, type WireResponse, writeAnswer } from '../../services/runtime/handover-wire.ts'
import { cuttings } from '../support/split.ts'
import { handoverAnswers, qmtpAnswers } from './answers.ts'

function total(input: Buffer, counter: typeof qmtpAnswers): number[] {
  return cuttings(input).map((pieces) => {
    const count = counter()
    return pieces.reduce((sum, piece) => sum + count(piece), 0)
  })
}

test('of QMTP the K count, not Z and D', () => {
  const input = Buffer.from('10:Kaccepted!,5:Znono,4:Dbad,2:K1,')
  assert.ok(total(input, qmtpAnswers).every((sum) => sum === 2))
  assert.equal(qmtpAnswers()(input.subarray(0, 12)), 0, 'not whole yet')
})

/** As HTTP/2 has them. */
function frame(kind: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = kind
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

function message(response: WireResponse): Buffer {
  const body = handoverService()['HandOver']?.responseSerialize(response) ?? Buffer.alloc(0)
  const head = Buffer.alloc(5)
  head.writeUInt32BE(body.length, 1)
  return Buffer.concat([head, body])
}

function answers(...kinds: readonly HandoverAnswer[]): Buffer {
  return message({ answers: { answers: kinds.map((kind, index) => writeAnswer(index + 1, kind)) } })
}

test('of a hand-over what was taken counts, over streams that share a connection and messages that share frames', () => {
  const taken: HandoverAnswer = { kind: 'taken', envelope: 'e', body: 'b' }
  const [first, second] = [answers(taken, { kind: 'refused', why: 'full' }, taken), answers(taken)]
  const input = Buffer.concat([
    frame(4, 0, Buffer.alloc(6)),
    frame(1, 1, Buffer.from('headers')),
    frame(0, 1, message({ welcome: {} })),
    frame(0, 1, first.subarray(0, 7)),
    frame(0, 3, answers({ kind: 'absent', why: 'never seen' })),
    frame(0, 1, Buffer.concat([first.subarray(7), second])),
    frame(0, 3, answers(taken)),
  ])
  assert.ok(total(input, handoverAnswers).every((sum) => sum === 4))
})
