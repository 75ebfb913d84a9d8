/**
 * The door to pino: JSON lines on one file descriptor, written behind the caller.
 *
 * A reader that is slow or gone never stops a tier: past `backlogBytesMax` lines are dropped, and a broken pipe is ignored.
 * Never write message content here; ids, addresses and reasons only.
 */

import { pino } from 'pino'
import { LineWriter } from './line-writer.ts'
import type { Log, LogFields } from './world.ts'

const backlogBytesMax = 1024 * 1024
const flushMsMax = 500

type LogLevel = 'debug' | 'info' | 'warn' | 'error'

export interface ProcessLog extends Log {
  /** Writes what is waiting, at once: for the last line before an exit. */
  flush(): void
}

/** `base` is in every line: tier, instance. */
export function openLog(options: {
  readonly descriptor: number
  readonly level: LogLevel
  readonly base: LogFields
}): ProcessLog {
  const lines = new LineWriter(options.descriptor, { backlogBytesMax, flushMsMax })
  const formatters = { level: (label: string) => ({ level: label }) }
  const logger = pino({ level: options.level, base: { ...options.base }, formatters }, lines)
  return {
    debug: (event, fields) => logger.debug(fields ?? {}, event),
    info: (event, fields) => logger.info(fields ?? {}, event),
    warn: (event, fields) => logger.warn(fields ?? {}, event),
    error: (event, fields) => logger.error(fields ?? {}, event),
    flush: () => lines.flush(),
  }
}
