/**
 * An OpenSMTPD that takes mail on a loopback port and relays it to a next hop.
 *
 * Debian cannot install it beside Postfix, so it runs from the directory where `.ci/tools` unpacked it, in a mount namespace
 * of its own that holds the users, spool and run directories it insists on. Needs root; the system outside sees nothing.
 */

import { appendFileSync, copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Child } from './child.ts'

const { QMQ_OPENSMTPD: unpacked = '/opt/qmq-test/opensmtpd' } = process.env
export const openSmtpdProgram = join(unpacked, 'usr/sbin/smtpd')

export interface OpenSmtpdOptions {
  /** Private to the server; readable by everybody. */
  readonly directory: string
  readonly port: number
  /** Where it relays to. */
  readonly nextHop: number
}

const prepare = `
set -e
mount --make-rprivate /
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/group" /etc/group
mount -t tmpfs -o mode=755 tmpfs /var/spool
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 711 /var/spool/smtpd
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir -p /var/lib/opensmtpd/empty
exec "$2" -d -f "$1/smtpd.conf"
`

export async function startOpenSmtpd(options: OpenSmtpdOptions): Promise<Child> {
  const { directory, port, nextHop } = options
  for (const name of ['passwd', 'group']) copyFileSync(`/etc/${name}`, join(directory, name))
  for (const [name, id] of [
    ['opensmtpd', 64_901],
    ['opensmtpq', 64_902],
  ]) {
    appendFileSync(join(directory, 'passwd'), `${name}:x:${id}:${id}::/var/lib/opensmtpd/empty:/bin/false\n`)
    appendFileSync(join(directory, 'group'), `${name}:x:${id}:\n`)
  }
  const conf = [
    `listen on 127.0.0.1 port ${port} hostname opensmtpd.example.net`,
    `action "onward" relay host smtp://127.0.0.1:${nextHop}`,
    'match from any for any action "onward"',
    '',
  ]
  writeFileSync(join(directory, 'smtpd.conf'), conf.join('\n'), { mode: 0o600 })
  const child = new Child('unshare', ['--mount', 'sh', '-c', prepare, 'sh', directory, openSmtpdProgram])
  await child.until(({ stdout, stderr }) => (/smtpd|OpenSMTPD/.test(stdout + stderr) ? true : undefined))
  return child
}
