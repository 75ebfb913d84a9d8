/** A certificate authority for tests, that signs whatever a test wants signed, the wrong things above all. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type CertificatePair, type CertificateUse, makeCertificate } from '../../services/cli/certificate-maker.ts'
import type { NameRule } from '../../services/contract/identity.ts'
import type { RpcTls } from '../../services/runtime/rpc-identity.ts'
import { type Cleanup, temporaryDirectory } from './temporary-directory.ts'

export const dayMs = 24 * 3600 * 1000

export interface Wanted {
  readonly use?: CertificateUse
  readonly startsAt?: number
  readonly endsAt?: number
  /** Besides the URIs: `DNS:localhost`, `IP:127.0.0.1`. */
  readonly otherNames?: readonly string[]
}

export class TestAuthority {
  readonly certificate: Buffer
  readonly #own: CertificatePair
  readonly #directory: string

  private constructor(own: CertificatePair, directory: string) {
    this.#own = own
    this.#directory = directory
    this.certificate = own.certificate
  }

  static async make(test: Cleanup, number = 1): Promise<TestAuthority> {
    const directory = temporaryDirectory(test, 'authority')
    const own = await made({ use: 'authority' }, [], `test CA ${number}`, undefined, directory)
    return new TestAuthority(own, directory)
  }

  /** A certificate with these URIs. */
  async issue(uris: readonly string[], wanted: Wanted = {}): Promise<CertificatePair> {
    const names = [...uris.map((uri) => `URI:${uri}`), ...(wanted.otherNames ?? [])]
    return await made(wanted, names, 'somebody', this.#own, this.#directory)
  }

  /** What somebody with these URIs shows who trusts this authority, and talks to those that are `allowed`. */
  async tls(uris: readonly string[], allowed: NameRule = () => true, wanted: Wanted = {}): Promise<RpcTls> {
    return { ca: this.certificate, ...(await this.issue(uris, wanted)), allowed }
  }
}

async function made(
  { use = 'tier', startsAt = Date.now() - dayMs, endsAt = Date.now() + dayMs }: Wanted,
  names: readonly string[],
  subject: string,
  issuer: CertificatePair | undefined,
  directory: string,
): Promise<CertificatePair> {
  const all = names.length === 0 ? ['DNS:nobody.example'] : names
  const result = await makeCertificate({ use, subject, names: all, startsAt, endsAt }, issuer, directory)
  if (result.kind === 'failed') throw new Error(result.why)
  return result
}

/** As a tier finds them. */
export function writeCredentials(directory: string, ca: Buffer, pair: CertificatePair): void {
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'ca.pem'), ca)
  writeFileSync(join(directory, 'cert.pem'), pair.certificate)
  writeFileSync(join(directory, 'key.pem'), pair.key)
}
