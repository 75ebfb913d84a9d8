/** The mail of a run: few letters, every kind of sender and recipient, each recipient's address used once. */

import { clientHost } from './cluster-layout.ts'
import type { SeededRandom } from './seeded-random.ts'
import type { Letter } from './truth.ts'

const domains = ['customer1.example', 'customer1.example', 'example.com', 'elsewhere.example'] as const

export function makeLetter(token: number, random: SeededRandom): Letter {
  const recipients = Array.from({ length: 1 + random.below(random.pick([1, 4])) }, (_, index) => {
    const local = random.chance(0.25) ? 'gone' : 'ok'
    return `${local}-${token}-${index}@${random.pick(domains)}`
  })
  const sender = senderOf(token, random)
  const filler = 'x'.repeat(random.pick([10, 70, 900]))
  const lines = Array.from({ length: random.pick([1, 5, 40]) }, () => `${filler}\r\n`).join('')
  const header = `From: <sender@example.com>\r\nSubject: letter ${token} from ${clientHost}\r\nX-Letter: ${token}\r\n`
  const text = Buffer.from(`${header}\r\n${lines}`, 'latin1')
  return { token, sender, recipients, text, attempts: [], ackedAtMs: undefined, refusedAtMs: undefined }
}

/** From a customer of ours, from the Internet, from nobody, or from an address to which no bounce can go. */
function senderOf(token: number, random: SeededRandom): string {
  const kind = random.below(10)
  if (kind < 4) return `sender-${token}@example.com`
  if (kind < 7) return `back-${token}@elsewhere.example`
  if (kind < 8) return `back-${token}@customer1.example`
  return kind < 9 ? '' : `gone-${token}-s@elsewhere.example`
}
