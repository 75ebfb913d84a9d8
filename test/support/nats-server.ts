/**
 * A real nats-server on a free port of loopback, with its records in a directory of its own. It can be killed, frozen, wiped and
 * started again on the same port. Where the program is missing the test fails: `.ci/tools` installs it.
 */

import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Child } from './child.ts'
import { freePorts } from './free-ports.ts'
import type { PowerCutDisk } from './power-cut-disk.ts'
import { makeTemporaryDirectory } from './temporary-directory.ts'
import { tool } from './tools.ts'

export interface NatsProgram {
  readonly name: string
  readonly path: string
}

const builtIn = process.env['QMQ_NATS'] ?? '/opt/qmq-test/nats'

/** Debian's, and the current one where `.ci/tools` could build it. */
export function natsPrograms(): readonly NatsProgram[] {
  const built = existsSync(builtIn) ? readdirSync(builtIn).filter((name) => /^v[0-9.]+$/.test(name)) : []
  return [
    { name: 'nats-server of Debian', path: tool('nats-server') },
    ...built.map((name) => ({ name: `nats-server ${name}`, path: join(builtIn, name, 'nats-server') })),
  ]
}

export interface NatsServerOptions {
  /** More lines of configuration: users, TLS. */
  readonly configuration?: string
  /** All of it, instead of ours; it must listen on `address`. */
  readonly whole?: (server: NatsServer) => string
  /** Path of the program; Debian's unless given. */
  readonly program?: string
  /** What it is started by, as `ip netns exec NAME`. */
  readonly starter?: readonly string[]
  /** Where it listens; loopback unless given. */
  readonly host?: string
  /** Each record is on the disk before it is acknowledged; servers from 2.10 on can do so. */
  readonly syncAlways?: boolean
  /** Where its records lie; in its own directory unless given. Its owner is whoever made it. */
  readonly disk?: PowerCutDisk
}

export class NatsServer {
  readonly port: number
  readonly directory: string
  readonly #options: NatsServerOptions
  #child: Child | undefined

  private constructor(port: number, options: NatsServerOptions) {
    this.port = port
    this.directory = makeTemporaryDirectory('qmq-nats')
    this.#options = options
  }

  /** Its port is chosen, nothing runs. */
  static async prepare(options: NatsServerOptions = {}): Promise<NatsServer> {
    const [port] = (await freePorts(1)) as [number]
    return new NatsServer(port, options)
  }

  static async start(options: NatsServerOptions = {}): Promise<NatsServer> {
    const server = await NatsServer.prepare(options)
    await server.start()
    return server
  }

  /** The same place with other options, while nothing runs in it. */
  with(options: NatsServerOptions): NatsServer {
    return new NatsServer(this.port, options)
  }

  get address(): string {
    return `${this.#options.host ?? '127.0.0.1'}:${this.port}`
  }

  /** It has JetStream's files below it. */
  get storeDirectory(): string {
    return this.#options.disk?.mountPoint ?? join(this.directory, 'store')
  }

  get pid(): number {
    if (this.#child === undefined) throw new Error('nats-server is not running')
    return this.#child.pid
  }

  /** Resolves when it takes connections. */
  async start(): Promise<void> {
    const file = join(this.directory, 'nats.conf')
    const { whole, configuration = '', program = tool('nats-server'), syncAlways = false } = this.#options
    const sync = syncAlways ? ', sync_interval: always' : ''
    const own = [`listen: "${this.address}"`, `jetstream { store_dir: "${this.storeDirectory}"${sync} }`]
    writeFileSync(file, whole?.(this) ?? `${[...own, configuration].join('\n')}\n`)
    const [first = program, ...words] = [...(this.#options.starter ?? []), program]
    this.#child = new Child(first, [...words, '-c', file])
    await this.#child.until(({ stderr }) => (stderr.includes('Server is ready') ? true : undefined))
  }

  async kill(): Promise<void> {
    await this.#child?.stop('SIGKILL')
    this.#child = undefined
  }

  /** Only with a disk; until `powerOn`. */
  async cutPower(): Promise<void> {
    if (this.#child === undefined) throw new Error('nats-server is not running')
    await this.#options.disk?.cutUnder(this.#child)
    this.#child = undefined
  }

  /** The disk has what it kept; nothing runs yet. */
  async powerOn(): Promise<void> {
    await this.#options.disk?.powerOn()
  }

  freeze(): void {
    process.kill(this.pid, 'SIGSTOP')
  }

  thaw(): void {
    process.kill(this.pid, 'SIGCONT')
  }

  /** Only while it does not run. */
  wipe(): void {
    rmSync(join(this.storeDirectory, 'jetstream'), { recursive: true, force: true })
  }

  async remove(): Promise<void> {
    await this.kill()
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 })
  }
}
