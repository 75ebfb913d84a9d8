/** A certificate authority for tests of mutual TLS, and certificates by it with the names asked for; made by openssl. */

import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { RpcTls } from '../../services/runtime/rpc-identity.ts'
import { type Cleanup, temporaryDirectory } from './temporary-directory.ts'

const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

export class Authority {
  readonly #directory: string
  #made = 0

  constructor(test: Cleanup) {
    this.#directory = temporaryDirectory(test, 'authority')
    this.#openssl('req', '-x509', ...curve, '-subj', '/CN=authority', '-keyout', 'ca.key', '-out', 'ca.pem')
  }

  get ca(): Buffer {
    return readFileSync(this.file('ca.pem'))
  }

  file(name: string): string {
    return join(this.#directory, name)
  }

  /** `names` as openssl writes them: `URI:qmq://a/role/viewer`. `days` of -1: it has ended. Gives the name of its files. */
  issue(names: readonly string[], days = 2): string {
    const name = `holder-${++this.#made}`
    const [key, request, certificate] = [`${name}.key`, `${name}.csr`, `${name}.pem`]
    this.#openssl('req', '-new', ...curve, '-subj', `/CN=${name}`, '-keyout', key, '-out', request)
    writeFileSync(this.file(`${name}.ext`), `subjectAltName=${names.join(',')}\nbasicConstraints=CA:FALSE\n`)
    const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-set_serial', String(this.#made), '-days', String(days)]
    this.#openssl('x509', '-req', '-in', request, '-out', certificate, '-extfile', `${name}.ext`, ...by)
    return name
  }

  tls(names: readonly string[], allowed: (names: readonly string[]) => boolean = () => true, days?: number): RpcTls {
    const name = this.issue(names, days)
    const [certificate, key] = [readFileSync(this.file(`${name}.pem`)), readFileSync(this.file(`${name}.key`))]
    return { ca: this.ca, certificate, key, allowed }
  }

  #openssl(...words: readonly string[]): void {
    execFileSync('openssl', words, { cwd: this.#directory, stdio: 'ignore' })
  }
}
