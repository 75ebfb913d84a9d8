import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { describe, it } from 'node:test'
import tls from 'node:tls'
import { handlerFailed } from '../../services/runtime/handler-failure.ts'
import { SystemNetwork } from '../../services/runtime/system-network.ts'
import type { Connection, ConnectionHandler, Listener, ListenOptions } from '../../services/runtime/world.ts'
import { certificate } from '../support/certificate.ts'
import type { Cleanup } from '../support/temporary-directory.ts'

type Part = keyof ConnectionHandler

/** Answers what it hears, and throws where it is told to. */
class Echo implements ConnectionHandler {
  readonly heard: string[] = []
  readonly closed: Promise<Error | undefined>
  readonly #connection: Connection
  readonly #breaks: Part | undefined
  #tellClosed: (error: Error | undefined) => void = () => {}

  constructor(connection: Connection, breaks?: Part) {
    this.#connection = connection
    this.#breaks = breaks
    this.closed = new Promise((resolve) => {
      this.#tellClosed = resolve
    })
  }

  onOpen(): void {
    this.#hear('onOpen')
  }
  onSecure(): void {
    this.#hear('onSecure')
  }
  onData(chunk: Buffer): void {
    this.#hear('onData')
    this.#connection.write(chunk)
  }
  onDrain(): void {
    this.#hear('onDrain')
  }
  onEnd(): void {
    this.#hear('onEnd')
    this.#connection.end()
  }
  onClose(error: Error | undefined): void {
    this.#tellClosed(error)
    this.#hear('onClose')
  }

  #hear(part: Part): void {
    this.heard.push(part)
    if (part === this.#breaks) throw new Error(`${part} is broken`)
  }
}

interface Served {
  readonly port: number
  readonly echoes: Echo[]
  readonly logged: string[]
}

/** The first connection has the broken handler. */
async function serve(test: Cleanup, breaks: Part | 'accept', options?: ListenOptions['tls']): Promise<Served> {
  const logged: string[] = []
  const error = (event: string, fields?: object) => void logged.push(`${event}: ${Object.values(fields ?? {})[0]}`)
  const network = new SystemNetwork({ debug() {}, info() {}, warn() {}, error })
  const echoes: Echo[] = []
  let connections = 0
  const listener: Listener = await network.listen(
    { host: '127.0.0.1', port: 0, ...(options === undefined ? {} : { tls: options }) },
    (connection) => {
      const first = connections++ === 0
      if (first && breaks === 'accept') throw new Error('accept is broken')
      const echo = first && breaks !== 'accept' ? new Echo(connection, breaks) : new Echo(connection)
      echoes.push(echo)
      return echo
    },
  )
  test.after(() => listener.close())
  return { port: listener.address.port, echoes, logged }
}

/** True where what is sent comes back. */
async function echoed(socket: net.Socket): Promise<boolean> {
  socket.on('error', () => {})
  socket.write('hello')
  return Promise.race([once(socket, 'data').then(() => true), once(socket, 'close').then(() => false)])
}

describe('a handler that throws', { concurrency: true }, () => {
  for (const part of ['accept', 'onOpen', 'onData'] as const) {
    it(`in ${part} loses its connection and nothing else`, async (test) => {
      const { port, echoes, logged } = await serve(test, part)
      assert.equal(await echoed(net.connect(port, '127.0.0.1')), false)
      const second = net.connect(port, '127.0.0.1')
      test.after(() => second.destroy())
      assert.equal(await echoed(second), true)
      assert.deepEqual(logged, [`${handlerFailed}: ${part}`])
      if (part === 'accept') return
      assert.equal((await echoes[0]?.closed)?.message, `${part} is broken`)
      assert.equal(echoes[0]?.heard.filter((heard) => heard === 'onClose').length, 1)
    })
  }

  it('in onEnd or onClose does as much', async (test) => {
    for (const part of ['onEnd', 'onClose'] as const) {
      const { port, echoes, logged } = await serve(test, part)
      const first = net.connect(port, '127.0.0.1')
      assert.equal(await echoed(first), true)
      first.end()
      await echoes[0]?.closed
      const second = net.connect(port, '127.0.0.1')
      test.after(() => second.destroy())
      assert.equal(await echoed(second), true)
      assert.deepEqual(logged, [`${handlerFailed}: ${part}`])
    }
  })

  it('in onSecure does as much', async (test) => {
    const { port, echoes, logged } = await serve(test, 'onSecure', { mode: 'implicit', options: certificate(test) })
    const open = () => tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
    assert.equal(await echoed(open()), false)
    assert.equal((await echoes[0]?.closed)?.message, 'onSecure is broken')
    const second = open()
    test.after(() => second.destroy())
    assert.equal(await echoed(second), true)
    assert.deepEqual(logged, [`${handlerFailed}: onSecure`])
  })

  it('as a client hears of it by onClose', async (test) => {
    const server = net.createServer((socket) => socket.on('error', () => {}).end('hi')).listen(0, '127.0.0.1')
    await once(server, 'listening')
    test.after(() => void server.close())
    const logged: string[] = []
    const network = new SystemNetwork({ debug() {}, info() {}, warn() {}, error: (event) => void logged.push(event) })
    const { port } = server.address() as net.AddressInfo
    let echo: Echo | undefined
    const late: ConnectionHandler = {
      onOpen: () => echo?.onOpen(),
      onSecure: () => {},
      onData: (chunk) => echo?.onData(chunk),
      onDrain: () => {},
      onEnd: () => echo?.onEnd(),
      onClose: (error) => echo?.onClose(error),
    }
    echo = new Echo(network.connect({ host: '127.0.0.1', port, timeoutMs: 1000 }, late), 'onData')
    assert.equal((await echo.closed)?.message, 'onData is broken')
    assert.deepEqual(logged, [handlerFailed])
  })
})
