/**
 * A real redis-server of a test's own: on a free port of loopback, in memory, ended by its process id. It can run on a host of its own, and
 * keep an append-only file on a disk whose power can be cut.
 *
 * A missing program is a failure with the way to install it, never a skip.
 */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Child, runWell } from './child.ts'
import { freePortRange } from './free-ports.ts'
import type { PowerCutDisk } from './power-cut-disk.ts'
import { type Cleanup, temporaryDirectory } from './temporary-directory.ts'
import { tool } from './tools.ts'

export interface RedisServerOptions {
  /** Lines of an ACL file, `user NAME ...`. */
  readonly users?: readonly string[]
  /** More options, as on its command line. */
  readonly more?: readonly string[]
  /** The port speaks TLS only. */
  readonly tls?: { readonly certificate: string; readonly key: string; readonly authority: string }
  /** What it is started by, as `ip netns exec NAME`; it then listens on every address there. */
  readonly starter?: readonly string[]
  /** One of its addresses; loopback unless given. */
  readonly host?: string
  /** Its append-only file lies there. Its owner is whoever made it. */
  readonly disk?: PowerCutDisk
}

export class RedisServer {
  readonly port: number
  readonly host: string
  readonly #options: RedisServerOptions
  readonly #arguments: readonly string[]
  readonly #directory: string
  #child: Child | undefined

  private constructor(port: number, options: RedisServerOptions, args: readonly string[], directory: string) {
    this.port = port
    this.host = options.host ?? '127.0.0.1'
    this.#options = options
    this.#arguments = args
    this.#directory = directory
  }

  static async start(test: Cleanup, options: RedisServerOptions = {}): Promise<RedisServer> {
    const directory = temporaryDirectory(test, 'redis')
    const port = await freePortRange(1)
    const { starter, disk } = options
    const listens = starter === undefined ? ['127.0.0.1'] : ['0.0.0.0', '--protected-mode', 'no']
    const keeps = [
      '--save',
      '',
      '--appendonly',
      disk === undefined ? 'no' : 'yes',
      '--dir',
      disk?.mountPoint ?? directory,
    ]
    const args = ['--bind', ...listens, '--daemonize', 'no', ...keeps]
    if (options.users !== undefined) {
      const file = join(directory, 'users.acl')
      writeFileSync(file, `${options.users.join('\n')}\n`)
      args.push('--aclfile', file)
    }
    if (options.tls === undefined) args.push('--port', String(port))
    else {
      const { certificate, key, authority } = options.tls
      args.push('--port', '0', '--tls-port', String(port), '--tls-cert-file', certificate, '--tls-key-file', key)
      args.push('--tls-ca-cert-file', authority, '--tls-auth-clients', 'no')
    }
    const server = new RedisServer(port, options, [...args, ...(options.more ?? [])], directory)
    test.after(() => server.kill())
    await server.restart()
    return server
  }

  /** Starts a server again, with nothing but what is on its disk, where the last one was. */
  async restart(): Promise<void> {
    const program = tool('redis-server')
    const [first = program, ...words] = [...(this.#options.starter ?? []), program]
    this.#child = new Child(first, [...words, ...this.#arguments], { cwd: this.#directory })
    await this.#child.until((child) => (/Ready to accept connections/.test(child.stdout) ? true : undefined))
  }

  /** SIGKILL, and waits until it is gone. */
  async kill(): Promise<void> {
    if (this.#child?.running === true) this.#child.process.kill('SIGKILL')
    await this.#child?.finished
  }

  /** Only with a disk; until `powerOn`. */
  async cutPower(): Promise<void> {
    if (this.#child === undefined) throw new Error('redis-server is not running')
    await this.#options.disk?.cutUnder(this.#child)
  }

  async powerOn(): Promise<void> {
    await this.#options.disk?.powerOn()
    await this.restart()
  }

  /** It keeps its sockets and answers nothing. */
  freeze(): void {
    this.#child?.process.kill('SIGSTOP')
  }

  thaw(): void {
    this.#child?.process.kill('SIGCONT')
  }

  /** One command by redis-cli; its raw output without the last line end. */
  async command(
    words: readonly string[],
    user?: { readonly name: string; readonly password: string },
  ): Promise<string> {
    const login = user === undefined ? [] : ['--user', user.name, '--pass', user.password, '--no-auth-warning']
    const { stdout } = await runWell(tool('redis-cli'), [
      '-h',
      this.host,
      '-p',
      String(this.port),
      ...login,
      '--raw',
      ...words,
    ])
    return stdout.replace(/\n$/, '')
  }
}
