/** Whether a certificate and a key can serve TLS together, found out before anybody connects. */

import { X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { errorText } from '../protocol/failure.ts'
import type { TlsServerOptions } from './world.ts'

/** Why OpenSSL would not serve with them, in its words; undefined where it would. Dates are not looked at. */
export function tlsPairProblem(pair: TlsServerOptions): string | undefined {
  try {
    createSecureContext({ cert: pair.certificate, key: pair.key })
    return undefined
  } catch (error) {
    return errorText(error)
  }
}

/** Unix milliseconds until which a certificate that OpenSSL can read is valid. */
export function certificateEndsAt(certificate: Buffer): number {
  return Date.parse(new X509Certificate(certificate).validTo)
}
