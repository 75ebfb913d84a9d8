/**
 * A TCP server that follows a script, one script per connection: the misbehaving peer of tests.
 *
 * A step either sends bytes, waits until what was received contains a text (and forgets everything up to it), waits a
 * while, or closes. Everything received stays readable, byte for byte.
 */

import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import type { Cleanup } from './temporary-directory.ts'

export type ScriptStep =
  | { readonly send: string | Buffer }
  /** Latin1. */
  | { readonly expect: string }
  | { readonly waitMs: number }
  | { readonly close: 'end' | 'reset' }

export interface ScriptedServer {
  readonly port: number
  /** One entry per connection, in order of arrival; latin1. */
  readonly received: readonly string[]
}

/** The script of connection n is `scripts[n]`; connections beyond the last repeat it. */
export async function scriptedServer(test: Cleanup, scripts: readonly ScriptStep[][]): Promise<ScriptedServer> {
  const received: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    const index = received.push('') - 1
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    const script = scripts[Math.min(index, scripts.length - 1)] ?? []
    follow(socket, script, (text) => {
      received[index] += text
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  test.after(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  })
  const address = server.address()
  return { port: typeof address === 'object' && address !== null ? address.port : 0, received }
}

function follow(socket: Socket, script: readonly ScriptStep[], heard: (text: string) => void): void {
  let unread = ''
  let step = 0
  const advance = (): void => {
    for (; step < script.length; step++) {
      const now = script[step] as ScriptStep
      if ('send' in now) socket.write(now.send, 'latin1')
      else if ('close' in now) now.close === 'end' ? socket.end() : socket.resetAndDestroy()
      else if ('waitMs' in now) {
        step++
        setTimeout(advance, now.waitMs)
        return
      } else {
        const at = unread.indexOf(now.expect)
        if (at < 0) return
        unread = unread.slice(at + now.expect.length)
      }
    }
  }
  socket.setEncoding('latin1').on('data', (text: string) => {
    heard(text)
    unread += text
    advance()
  })
  advance()
}
