/** A TCP proxy of a test's own that passes bytes on, or late, or answers nonsense in the server's place. */

import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { Cleanup } from './temporary-directory.ts'

/** `lateMs`: what the server sends arrives so much later. */
export type ProxyMode = { readonly kind: 'pass'; readonly lateMs: number } | { readonly kind: 'nonsense' }

const nonsense = [
  'HTTP/1.1 400 Bad Request\r\n\r\n',
  '*3\r\n:1\r\n',
  '$-5\r\n',
  '\0\0\0\0',
  ':not a number\r\n',
  '+OK\r\n',
]

export class FaultyProxy {
  mode: ProxyMode = { kind: 'pass', lateMs: 0 }
  readonly port: number
  #answers = 0

  private constructor(port: number) {
    this.port = port
  }

  static async start(test: Cleanup, serverPort: number): Promise<FaultyProxy> {
    const sockets = new Set<Socket>()
    const server = createServer((client) => {
      const behind = connect(serverPort, '127.0.0.1')
      for (const socket of [client, behind]) {
        sockets.add(socket)
        socket.on('error', () => socket.destroy())
      }
      client.on('close', () => behind.destroy())
      behind.on('close', () => client.destroy())
      client.on('data', (chunk) => {
        if (proxy.mode.kind === 'pass') behind.write(chunk)
        else client.write(nonsense[proxy.#answers++ % nonsense.length] as string)
      })
      behind.on('data', (chunk) => {
        if (proxy.mode.kind === 'pass') setTimeout(() => client.write(chunk), proxy.mode.lateMs)
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    const proxy = new FaultyProxy(typeof address === 'object' && address !== null ? address.port : 0)
    test.after(async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    })
    return proxy
  }
}
