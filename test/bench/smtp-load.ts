/**
 * `smtp-source` as a stop watch: so many messages of one size over so many sessions, timed from start to exit.
 */

import { runWell } from '../support/child.ts'
import { tool } from '../support/tools.ts'

export interface SmtpLoad {
  readonly port: number
  readonly messages: number
  readonly bytes: number
  readonly sessions: number
  /** Many messages over one connection; else a connection for each. */
  readonly reuse: boolean
}

const messagesMax = 60_000

export const benchSender = 'bench@example.net'
export const benchRecipient = 'sink@customer1.example'

/** Milliseconds the whole load took. Throws when a message was refused: smtp-source then exits with an error. */
export async function smtpLoad(load: SmtpLoad): Promise<number> {
  const args = ['-s', String(load.sessions), '-l', String(load.bytes), '-m', String(load.messages)]
  if (load.reuse) args.push('-d')
  args.push('-f', benchSender, '-t', benchRecipient, `127.0.0.1:${load.port}`)
  const begun = performance.now()
  const finished = await runWell(tool('smtp-source'), args)
  const took = performance.now() - begun
  if (finished.stderr !== '') throw new Error(`smtp-source: ${finished.stderr}`)
  return took
}

/** How many messages fill about `seconds`. The trials it takes to know also warm the server up, twice over. */
export async function messagesFor(load: SmtpLoad, seconds: number): Promise<number> {
  let messages = load.messages
  for (let trial = 0; trial < 3; trial++) {
    const took = await smtpLoad({ ...load, messages })
    const rate = messages / (took / 1000)
    messages = Math.max(load.sessions * 5, Math.min(Math.round(rate * seconds), messagesMax))
  }
  return messages
}
