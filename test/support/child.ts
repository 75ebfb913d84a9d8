/**
 * A child process whose output is kept, line by line, and which is ended by its id, never by name.
 */

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { processState } from './process-tree.ts'

export interface Finished {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export class Child {
  readonly process: ChildProcess
  readonly command: string
  /** Resolves when the process is gone and its output is read; never rejects. */
  readonly finished: Promise<Finished>
  stdout = ''
  stderr = ''
  #ended = false
  #waiting: { check: () => void; fail: (why: string) => void }[] = []

  constructor(command: string, args: readonly string[], options: SpawnOptions = {}) {
    this.command = [command, ...args].join(' ')
    this.process = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
    this.process.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text
      this.#wake()
    })
    this.process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
      this.#wake()
    })
    this.finished = new Promise((resolve) => {
      const end = (code: number | null, signal: NodeJS.Signals | null): void => {
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr })
        this.#ended = true
        this.#wake()
        for (const entry of this.#waiting) entry.fail('ended before')
      }
      this.process.once('error', (error) => {
        this.stderr += `${error.message}\n`
        end(null, null)
      })
      this.process.once('close', end)
    })
  }

  get pid(): number {
    if (this.process.pid === undefined) throw new Error(`${this.command} did not start: ${this.stderr}`)
    return this.process.pid
  }

  get running(): boolean {
    return this.process.pid !== undefined && this.process.exitCode === null && this.process.signalCode === null
  }

  /** The first answer of `find` over the text printed so far, asked again at every new text. */
  until<Value>(find: (child: Child) => Value | undefined, timeoutMs = 60_000): Promise<Value> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer)
        this.#waiting = this.#waiting.filter((entry) => entry !== waiting)
      }
      const fail = (why: string): void => {
        leave()
        reject(new Error(`${this.command}: ${why}\n${this.stdout.slice(-4000)}\n${this.stderr.slice(-4000)}`))
      }
      const timer = setTimeout(() => fail(`nothing after ${timeoutMs} ms`), timeoutMs)
      const check = (): void => {
        const value = find(this)
        if (value === undefined) return
        leave()
        resolve(value)
      }
      const waiting = { check, fail }
      this.#waiting.push(waiting)
      check()
      if (this.#ended && this.#waiting.includes(waiting)) fail('ended before')
    })
  }

  /** Asks with `signal`, insists with SIGKILL after `patienceMs`. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', patienceMs = 15_000): Promise<Finished> {
    if (this.running) {
      this.process.kill(signal)
      const insist = setTimeout(() => this.process.kill('SIGKILL'), patienceMs)
      await this.finished
      clearTimeout(insist)
    }
    return await this.finished
  }

  #wake(): void {
    for (const entry of [...this.#waiting]) entry.check()
  }
}

/** Runs to the end. */
export async function run(command: string, args: readonly string[], options: SpawnOptions = {}): Promise<Finished> {
  return await new Child(command, args, options).finished
}

/** Runs to the end; throws with everything printed unless the exit code is 0. */
export async function runWell(command: string, args: readonly string[], options: SpawnOptions = {}): Promise<Finished> {
  const finished = await run(command, args, options)
  if (finished.code !== 0) {
    const ending = finished.code ?? finished.signal ?? 'not started'
    throw new Error(`${command} ${args.join(' ')}: ${ending}\n${finished.stdout}${finished.stderr}`)
  }
  return finished
}

/** True when the process `pid` runs no more, waited for or not; used for processes that are not our children. */
export async function gone(pid: number, patienceMs = 10_000): Promise<boolean> {
  const deadline = performance.now() + patienceMs
  while (performance.now() < deadline) {
    if (['', 'Z'].includes(processState(pid))) return true
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  return false
}
