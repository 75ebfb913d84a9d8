/** Asking the journal of an instance that is not running, by its own program: the command itself knows no journal. */

import process from 'node:process'
import { runProgram } from './program-runner.ts'
import { tierProgram } from './software.ts'

const lookTimeoutMs = 600_000

/** Rejects with the program's own words. */
export async function askOffline(verb: 'audit' | 'list' | 'verify', state: string, id: string): Promise<unknown> {
  const words = ['--disable-warning=ExperimentalWarning', tierProgram('queue'), verb, '--state', state, '--id', id]
  const result = await runProgram(process.execPath, words, lookTimeoutMs)
  if (result.kind === 'missing') throw new Error(`${process.execPath} is not there`)
  if (result.code !== 0) throw new Error(result.stderr.trim())
  return JSON.parse(result.stdout)
}
