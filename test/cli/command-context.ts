/** What a verb is given, for tests that call its parts in this process: what is said is kept. */

import type { Context } from '../../services/cli/verb.ts'
import { silentLog } from '../../services/runtime/silent-log.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import type { Conf } from '../../services/settings/conf.ts'
import { readConf } from '../../services/settings/conf-qmq.ts'

export interface KeptContext extends Context {
  readonly printed: string[]
  readonly complaints: string[]
}

export function contextIn(state: string): KeptContext {
  const [printed, complaints]: [string[], string[]] = [[], []]
  return {
    ...{ world: systemWorld(silentLog), state, confFile: 'conf-qmq', output: 'text', printed, complaints },
    print: (text) => printed.push(text),
    complain: (text) => complaints.push(text),
    sleep: (delayMs) => new Promise((resolve) => setTimeout(resolve, delayMs)),
  }
}

export function confOf(text: string): Conf {
  const reading = readConf(text, 'conf-qmq')
  if (!reading.ok) throw new Error(JSON.stringify(reading.problems))
  return reading.conf
}
