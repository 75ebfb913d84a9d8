/**
 * What the interoperability tests share: a next hop that counts, and the wait for what must arrive.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { MailSink, type ReceivedMail } from '../support/mail-sink.ts'
import type { Cleanup } from '../support/temporary-directory.ts'

export interface Arrivals {
  readonly port: number
  readonly mails: readonly ReceivedMail[]
  /** Rejects, saying how many came, when `count` have not arrived in time. */
  reaches(count: number, timeoutMs?: number): Promise<void>
}

export async function arrivals(test: Cleanup, refuse?: (recipient: string) => string | undefined): Promise<Arrivals> {
  const mails: ReceivedMail[] = []
  const received = (mail: ReceivedMail): void => {
    mails.push(mail)
  }
  const sink = await MailSink.start(refuse === undefined ? { received } : { received, refuse })
  test.after(() => sink.close())
  return {
    port: sink.port,
    mails,
    reaches: (count, timeoutMs = 30_000) =>
      until(
        () => mails.length >= count,
        timeoutMs,
        () => `${mails.length} of ${count}`,
      ),
  }
}

export async function until(done: () => boolean, timeoutMs: number, state: () => string): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!done()) {
    if (Date.now() > deadline) throw new Error(`after ${timeoutMs} ms: ${state()}`)
    await sleep(20)
  }
}

/** The text after the header, lines ending in CR LF. */
export function bodyOf(data: Buffer): string {
  const text = data.toString('latin1').replace(/\r?\n/g, '\r\n')
  return text.slice(text.indexOf('\r\n\r\n') + 4)
}
