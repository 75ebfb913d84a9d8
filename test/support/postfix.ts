/**
 * A Postfix of its own: configuration, queue, data and port are private, the system's Postfix is not touched.
 *
 * Needs root, as `postfix start` does. It runs as the package sets it up (chroot off), with a fixed host name, IPv4
 * loopback only and no mail of its own: everything it accepts is relayed, held or delivered as `settings` say.
 */

import { chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gone, run, runWell } from './child.ts'
import { tool } from './tools.ts'

export interface PostfixOptions {
  readonly directory: string
  readonly port: number
  readonly settings: Readonly<Record<string, string>>
}

const masterTable = `
PORT inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
`

export class Postfix {
  readonly port: number
  readonly queue: string
  readonly #config: string

  private constructor(options: PostfixOptions) {
    this.port = options.port
    this.#config = join(options.directory, 'etc')
    this.queue = join(options.directory, 'queue')
    const data = join(options.directory, 'data')
    for (const path of [this.#config, this.queue, data]) mkdirSync(path, { recursive: true, mode: 0o755 })
    chownSync(data, idOf('/etc/passwd', 'postfix'), idOf('/etc/group', 'postfix'))
    const settings: Record<string, string> = {
      compatibility_level: '3.6',
      queue_directory: this.queue,
      data_directory: data,
      command_directory: '/usr/sbin',
      daemon_directory: '/usr/lib/postfix/sbin',
      mail_owner: 'postfix',
      setgid_group: 'postdrop',
      myhostname: 'postfix.example.net',
      mydestination: '',
      inet_interfaces: '127.0.0.1',
      inet_protocols: 'ipv4',
      mynetworks: '127.0.0.0/8',
      local_recipient_maps: '',
      alias_maps: '',
      alias_database: '',
      smtp_host_lookup: 'native',
      smtpd_peername_lookup: 'no',
      smtp_address_preference: 'ipv4',
      mailbox_size_limit: '0',
      message_size_limit: '52428800',
      ...options.settings,
    }
    const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}`)
    writeFileSync(join(this.#config, 'main.cf'), `${lines.join('\n')}\n`)
    writeFileSync(join(this.#config, 'master.cf'), masterTable.replace('PORT', String(options.port)))
  }

  static async start(options: PostfixOptions): Promise<Postfix> {
    const postfix = new Postfix(options)
    await runWell(tool('postfix'), ['-c', postfix.#config, 'start'])
    return postfix
  }

  /** Process id of its master, the root of all its processes. */
  get pid(): number {
    return Number.parseInt(readFileSync(join(this.queue, 'pid/master.pid'), 'latin1'), 10)
  }

  /** Takes every message out of its queues. */
  async empty(): Promise<void> {
    await run(tool('postsuper'), ['-c', this.#config, '-d', 'ALL'])
  }

  async queued(): Promise<number> {
    const { stdout } = await runWell(tool('postqueue'), ['-c', this.#config, '-j'])
    return stdout.split('\n').filter((line) => line !== '').length
  }

  async flush(): Promise<void> {
    await runWell(tool('postqueue'), ['-c', this.#config, '-f'])
  }

  /** Rejects when it still runs afterwards. */
  async stop(): Promise<void> {
    const { pid } = this
    await run(tool('postfix'), ['-c', this.#config, 'abort'])
    if (!(await gone(pid))) throw new Error(`postfix ${pid} did not stop`)
  }
}

/** A number from the third field of a colon-separated system file. */
function idOf(file: string, name: string): number {
  const line = readFileSync(file, 'latin1')
    .split('\n')
    .find((candidate) => candidate.startsWith(`${name}:`))
  return Number(line?.split(':')[2])
}
