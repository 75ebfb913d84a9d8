/** The door to execa: runs another program to its end. A program that is not there is a value, not a throw. */

import process from 'node:process'
import { execa } from 'execa'

type ProgramResult =
  | { readonly kind: 'ended'; readonly code: number; readonly stdout: string; readonly stderr: string }
  | { readonly kind: 'missing' }

const outputBytesMax = 256 * 1024 * 1024

export async function runProgram(
  file: string,
  words: readonly string[],
  timeoutMs: number,
  directory?: string,
): Promise<ProgramResult> {
  const options = { reject: false, stdin: 'ignore', timeout: timeoutMs, maxBuffer: outputBytesMax } as const
  const where = directory === undefined ? {} : { cwd: directory }
  const result = await execa(file, words, { ...options, ...where })
  if (result.code === 'ENOENT') return { kind: 'missing' }
  const { stdout, stderr } = result
  return { kind: 'ended', code: result.exitCode ?? 1, stdout, stderr: result.timedOut ? 'it took too long' : stderr }
}

/** Replaces this process by the program, where the system can; else runs it below this one, and answers its exit code. */
export async function becomeProgram(command: readonly [string, ...string[]]): Promise<number> {
  const [file, ...words] = command
  if (process.execve === undefined) return await runInForeground(file, words)
  return process.execve(file, command)
}

/** Runs with this terminal's input and output, passing SIGTERM and SIGINT on. */
async function runInForeground(file: string, words: readonly string[]): Promise<number> {
  const running = execa(file, words, { reject: false, stdio: 'inherit' })
  const pass = (signal: NodeJS.Signals) => running.kill(signal)
  process.on('SIGTERM', pass)
  // The terminal gives Ctrl-C to both; the child stops and this command ends with it.
  process.on('SIGINT', () => {})
  const result = await running
  return result.exitCode ?? 1
}
