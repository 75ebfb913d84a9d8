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
  return validityOf(new X509Certificate(certificate)).endsAt
}

export interface Validity {
  /** Unix milliseconds. */
  readonly startsAt: number
  readonly endsAt: number
}

export function validityOf({ validFrom, validTo }: X509Certificate): Validity {
  return { startsAt: Date.parse(validFrom), endsAt: Date.parse(validTo) }
}

/** Each certificate of a PEM file. Throws where one of them is damaged. */
export function certificatesIn(pem: Buffer): readonly X509Certificate[] {
  const blocks = pem.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  return blocks.map((block) => new X509Certificate(block))
}

export function isSignedBy(certificate: X509Certificate, authority: X509Certificate): boolean {
  return certificate.checkIssued(authority) && certificate.verify(authority.publicKey)
}
