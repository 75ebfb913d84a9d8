/** How many acknowledgements have come whole with each piece of what a server says: of QMTP, and of the hand-over over gRPC. */

import { defaultQmtpReplyLimits, QmtpReplyReader } from '../../services/protocol/qmtp.ts'
import { handoverService, readAnswer, type WireResponse } from '../../services/runtime/handover-wire.ts'

export type AnswerCount = (piece: Buffer) => number

export function qmtpAnswers(): AnswerCount {
  const reader = new QmtpReplyReader(defaultQmtpReplyLimits)
  return (piece) => {
    reader.receive(piece)
    let count = 0
    for (let event = reader.next(); event.kind === 'reply'; event = reader.next()) if (event.letter === 'K') count++
    return count
  }
}

const frameHeadBytes = 9
const messageHeadBytes = 5
const dataFrame = 0

/** Frames of HTTP/2; in those of DATA, per stream, a byte, a length of four, a message. */
export function handoverAnswers(): AnswerCount {
  const { responseDeserialize } = handoverService()['HandOver'] as NonNullable<
    ReturnType<typeof handoverService>[string]
  >
  const streams = new Map<number, Buffer>()
  let input: Buffer = Buffer.alloc(0)
  const messagesOf = function* (stream: number): Generator<WireResponse> {
    for (;;) {
      const held = streams.get(stream) ?? Buffer.alloc(0)
      const end = held.length < messageHeadBytes ? Number.POSITIVE_INFINITY : messageHeadBytes + held.readUInt32BE(1)
      if (held.length < end) return
      streams.set(stream, held.subarray(end))
      yield responseDeserialize(held.subarray(messageHeadBytes, end)) as unknown as WireResponse
    }
  }
  return (piece) => {
    input = Buffer.concat([input, piece])
    let count = 0
    for (;;) {
      const end = input.length < frameHeadBytes ? Number.POSITIVE_INFINITY : frameHeadBytes + input.readUIntBE(0, 3)
      if (input.length < end) return count
      const [kind, stream, payload] = [input[3], input.readUInt32BE(5), input.subarray(frameHeadBytes, end)]
      input = input.subarray(end)
      if (kind !== dataFrame) continue
      streams.set(stream, Buffer.concat([streams.get(stream) ?? Buffer.alloc(0), payload]))
      for (const message of messagesOf(stream)) count += takenIn(message)
    }
  }
}

function takenIn(message: WireResponse): number {
  if (!('answers' in message)) return 0
  return message.answers.answers.filter((answer) => readAnswer(answer).kind === 'taken').length
}
