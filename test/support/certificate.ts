/** A certificate of its own for tests of TLS, made by openssl. */

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Cleanup, temporaryDirectory } from './temporary-directory.ts'

/** `names`: further ones, as `IP:127.0.0.1`. */
export function certificate(test: Cleanup, names?: string): { certificate: Buffer; key: Buffer } {
  const directory = temporaryDirectory(test, 'tls')
  const [key, pem] = [join(directory, 'key.pem'), join(directory, 'certificate.pem')]
  const subject = [
    '-subj',
    '/CN=mail.example.com',
    '-days',
    '1',
    '-nodes',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    ...(names === undefined ? [] : ['-addext', `subjectAltName=${names}`]),
  ]
  execFileSync('openssl', ['req', '-x509', ...subject, '-keyout', key, '-out', pem], { stdio: 'ignore' })
  return { certificate: readFileSync(pem), key: readFileSync(key) }
}
