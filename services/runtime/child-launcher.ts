/**
 * Starting a tier as a child process of this one: its own IPC channel to the hub, its standard output and error to a log
 * file, line by line also to whoever listens (`qmq up` shows warnings).
 *
 * The child outlives nothing: when this process dies, its channel closes and it stops by itself. A system that has no process
 * or descriptor left for it is an ending like any other.
 */

import { spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { childChannel } from './embedded-ipc.ts'
import type { HubChannel } from './embedded-message.ts'
import type { LogFile } from './log-file.ts'
import type { Ending, Launched } from './supervisor.ts'

interface ChildSpec {
  /** The program and its arguments. */
  readonly command: readonly string[]
  readonly log: LogFile
  readonly line: (line: string) => void
  readonly attach: (channel: HubChannel) => void
}

const lineBytesMax = 64 * 1024

export function launchChild(spec: ChildSpec, ended: (ending: Ending) => void): Launched {
  const [program = '', ...words] = spec.command
  const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], serialization: 'json' })
  let finished = false
  const finish = (ending: Ending) => {
    if (!finished) ended(ending)
    finished = true
  }
  child.once('error', (error) => finish({ code: null, signal: null, error: error.message }))
  child.once('exit', (code, signal) => finish({ code, signal }))
  // Undefined, whatever the types say, where the process ran out of descriptors before it had pipes.
  for (const stream of [child.stdout, child.stderr]) if (stream) keepLines(stream, spec)
  spec.attach(childChannel(child))
  return { pid: child.pid ?? 0, signal: (signal) => child.kill(signal) }
}

function keepLines(stream: Readable, spec: ChildSpec): void {
  let rest = ''
  stream.on('error', () => {})
  stream.on('data', (chunk: Buffer) => {
    spec.log.append(chunk)
    const lines = (rest + chunk.toString('utf8')).split('\n')
    rest = (lines.pop() ?? '').slice(-lineBytesMax)
    for (const line of lines) if (line !== '') spec.line(line)
  })
  stream.on('end', () => {
    if (rest !== '') spec.line(rest)
  })
}
