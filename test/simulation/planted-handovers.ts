/**
 * Faults that a programmer could make in a hand-over, planted at its doors: between the source and its link, or between the port and
 * the taker. Each breaks one rule of the hand-over, and the judge must notice.
 */

import type { HandoverAnswer, HandoverLink, HandoverOffer, HandoverTaker } from '../../services/contract/handover.ts'
import { envelopeHash, readEnvelope } from '../../services/queue/handover/envelope.ts'
import type { HandoverDoors } from '../../services/queue/handover/handover.ts'
import { encodeRecord, sealRecord } from '../../services/queue/journal/record.ts'
import { sha256 } from '../../services/runtime/digest.ts'

type Doors = (doors: HandoverDoors) => HandoverDoors

function changedLink(change: (link: HandoverLink) => Partial<HandoverLink>): Doors {
  return ({ dial, listen }) => ({
    listen,
    dial: (to, hello) => {
      const link = dial(to, hello)
      return { offer: (offer, answered) => link.offer(offer, answered), close: () => link.close(), ...change(link) }
    },
  })
}

function changedTaker(change: (taker: HandoverTaker) => HandoverTaker['take']): Doors {
  return ({ dial, listen }) => ({
    dial,
    listen: (at, taker) => listen(at, { refuse: (hello) => taker.refuse(hello), take: change(taker) }),
  })
}

function surely({ envelope, body }: HandoverOffer): HandoverAnswer {
  return { kind: 'taken', envelope: envelopeHash(envelope), body: sha256(body) }
}

/** The message is over at its source before the target has answered. */
export const movedBeforeAnswer = changedLink((link) => ({
  offer: (offer, answered) => {
    link.offer(offer, () => {})
    answered(surely(offer))
  },
}))

/** The target answers before the message is durable there. */
export const takenBeforeDurable = changedTaker((taker) => (hello, offer, answered) => {
  taker.take(hello, offer, () => {})
  answered(surely(offer))
})

/** An answer that did not come is taken for a no, and the next target is asked. */
export const otherTargetWhenUnclear = changedLink((link) => ({
  offer: (offer, answered) =>
    link.offer(offer, (answer) => answered(answer.kind === 'taken' ? answer : { kind: 'absent', why: 'surely' })),
}))

/** The target takes the message as if it had been accepted there. */
export const originForgotten = changedTaker((taker) => (hello, offer, answered) => {
  const { envelope } = offer
  taker.take(hello, { ...offer, envelope: withoutOrigin(offer, hello.target) }, (answer) => {
    answered(answer.kind === 'taken' ? { ...answer, envelope: envelopeHash(envelope) } : answer)
  })
})

function withoutOrigin({ envelope, number, bodyBytes }: HandoverOffer, target: string): Buffer {
  const read = readEnvelope(envelope)
  if (read === undefined) return envelope
  const encoded = encodeRecord({ ...read.record, origin: { instance: target, number } }, bodyBytes, read.bodyCrc)
  sealRecord(encoded, { segment: 0, salt: 0, batch: 0, recordsLeft: 0 })
  return encoded
}

let lives = 0

/** What a target has taken is forgotten when its process starts again. */
export const keyForgotten: Doors = ({ dial, listen }) => ({
  dial,
  listen: (at, taker) => {
    const life = 1_000_000 * ++lives
    const take: HandoverTaker['take'] = (hello, offer, answered) =>
      taker.take(hello, { ...offer, number: offer.number + life }, answered)
    return listen(at, { refuse: (hello) => taker.refuse(hello), take })
  },
})
