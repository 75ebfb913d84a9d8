/** Clients of shared state for tests: answers as promises, connections to a test's own server. */

import type { Answered, SharedAnswer } from '../../services/contract/shared-state.ts'
import { RedisSharedState, type RedisSharedStateOptions } from '../../services/runtime/redis-shared-state.ts'
import { systemWorld } from '../../services/runtime/system-world.ts'
import type { LogFields } from '../../services/runtime/world.ts'
import type { Cleanup } from '../support/temporary-directory.ts'

/** The answer; rejects where there is a second one. */
export function answerOf<Value>(ask: (answered: Answered<Value>) => void): Promise<SharedAnswer<Value>> {
  return new Promise((resolve) => {
    let answers = 0
    ask((answer) => {
      if (++answers > 1) throw new Error('answered twice')
      resolve(answer)
    })
  })
}

/** The answer's value; rejects where it is gone. */
export async function known<Value>(ask: (answered: Answered<Value>) => void): Promise<Value> {
  const answer = await answerOf(ask)
  if (answer.kind === 'gone') throw new Error(`gone: ${answer.why}`)
  return answer.value
}

export const cluster = 'mail.example.com'

export interface Told {
  readonly event: string
  readonly fields: LogFields | undefined
}

export interface RedisClient {
  readonly state: RedisSharedState
  /** What it logged. */
  readonly told: readonly Told[]
}

/** Patient, for a machine that is busy; tests of deadlines say their own. */
export function redisClient(test: Cleanup, port: number, options: Partial<RedisSharedStateOptions> = {}): RedisClient {
  const told: Told[] = []
  const tell = (event: string, fields?: LogFields) => {
    told.push({ event, fields })
  }
  const state = new RedisSharedState(systemWorld({ debug: tell, info: tell, warn: tell, error: tell }), {
    server: `redis://127.0.0.1:${port}`,
    cluster,
    access: async () => ({ host: '127.0.0.1', port }),
    deadlineMs: 5000,
    ...options,
  })
  test.after(() => state.close())
  return { state, told }
}

export async function until(holds: () => boolean, withinMs = 15_000): Promise<void> {
  const end = performance.now() + withinMs
  while (!holds()) {
    if (performance.now() > end) throw new Error(`never: ${holds}`)
    await sleep(5)
  }
}

export async function reachedClient(
  test: Cleanup,
  port: number,
  options: Partial<RedisSharedStateOptions> = {},
): Promise<RedisSharedState> {
  const { state } = redisClient(test, port, options)
  await until(() => state.reach === 'cluster')
  return state
}

export function sleep(delayMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs))
}
