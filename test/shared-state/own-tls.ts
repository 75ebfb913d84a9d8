/** What a test's own Redis server speaks TLS with: a certificate that is its own authority. */

import { writeFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { certificate } from '../support/certificate.ts'
import type { RedisServerOptions } from '../support/redis-server.ts'
import { type Cleanup, temporaryDirectory } from '../support/temporary-directory.ts'

export interface OwnTls {
  readonly files: NonNullable<RedisServerOptions['tls']>
  /** PEM. */
  readonly authority: Buffer
}

/** `hosts`: whom the certificate is for. */
export function ownTls(test: Cleanup, ...hosts: readonly string[]): OwnTls {
  const names = hosts.map((host) => `${isIP(host) === 0 ? 'DNS' : 'IP'}:${host}`)
  const pair = certificate(test, names.join())
  const directory = temporaryDirectory(test, 'redis-tls')
  const file = (name: string, content: Buffer) => {
    writeFileSync(join(directory, name), content)
    return join(directory, name)
  }
  const own = file('cert.pem', pair.certificate)
  return { files: { certificate: own, key: file('key.pem', pair.key), authority: own }, authority: pair.certificate }
}
