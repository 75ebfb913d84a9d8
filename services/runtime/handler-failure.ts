/**
 * What becomes of an error nobody foresaw in the handling of one connection: a line in the log, and the end of that
 * connection by whoever caught it. It never ends the process, which serves all the others.
 */

import { errorText } from '../protocol/failure.ts'
import type { Log } from './world.ts'

/** The event under which such an error is logged: each one is a defect of this software. */
export const handlerFailed = 'connection handler failed'

/** `where` names the handler. Gives the error as one that a connection can be closed with. */
export function reportHandlerFailure(log: Log, where: string, error: unknown): Error {
  const known = error instanceof Error ? error : new Error(errorText(error))
  log.error(handlerFailed, { where, error: known.message, stack: known.stack })
  return known
}
