/** Who has a certificate of the cluster: its authority, every place of the layout, and whoever else one was signed for. */

import type { X509Certificate } from 'node:crypto'
import { readIdentity, urisIn } from '../contract/identity.ts'
import type { Layout } from '../contract/layout.ts'
import { isSignedBy, validityOf } from '../runtime/tls-pair.ts'
import { type Authority, dayMs, readIssued } from './certificate-authority.ts'
import { certifiedPlaces, placeCertificate } from './tier-certificates.ts'
import type { Context } from './verb.ts'

export interface CertificateHolder {
  /** `queue 01`, `alice (operator)`, `authority 1`. */
  readonly who: string
  /** `missing`: for the reason in `names`. `replaced`: of a place that uses a later one. `given out`: of somebody elsewhere. */
  readonly state: 'authority' | 'in use' | 'given out' | 'replaced' | 'missing'
  readonly names: string
  /** Unix milliseconds; 0 where there is none. */
  readonly until: number
  /** Of the authority that signed it; 0 where that is no longer trusted. */
  readonly generation: number
  readonly serial: string
}

/** A place's certificate should have been renewed long before this; a person has to ask for a new one. */
const warningMs: Readonly<Record<CertificateHolder['state'], number>> = {
  authority: 180 * dayMs,
  'in use': 14 * dayMs,
  'given out': 0,
  replaced: 0,
  missing: 0,
}

export function certificateHolders(
  context: Context,
  authority: Authority,
  layout: Layout,
): readonly CertificateHolder[] {
  const authorities = authority.generations.map(({ number, parsed }) =>
    holderOf(`authority ${number}`, 'authority', parsed, authority),
  )
  const places = placeHolders(context, authority, layout)
  const inUse = new Map(places.map(({ who, serial }) => [who, serial]))
  const others = readIssued(authority)
    .map(({ parsed }) => {
      const who = nameOf(parsed)
      const later = inUse.get(who)
      return holderOf(who, later === undefined || later === '' ? 'given out' : 'replaced', parsed, authority)
    })
    .filter(({ who, serial }) => inUse.get(who) !== serial)
  return [...authorities, ...places, ...others.toSorted((one, other) => one.until - other.until)]
}

/** The places of the layout as they are on this host, whoever signed for them. */
export function placeHolders(
  context: Context,
  authority: Authority | undefined,
  layout: Layout,
): readonly CertificateHolder[] {
  return certifiedPlaces(layout).map((place): CertificateHolder => {
    const who = `${place.tier} ${place.id}`
    const certificate = placeCertificate(context.state, layout.cluster, place)
    if (typeof certificate !== 'string') return holderOf(who, 'in use', certificate, authority)
    return { who, state: 'missing', names: certificate, until: 0, generation: 0, serial: '' }
  })
}

function holderOf(
  who: string,
  state: CertificateHolder['state'],
  certificate: X509Certificate,
  authority: Authority | undefined,
): CertificateHolder {
  return {
    ...{ who, state, names: certificate.subjectAltName ?? '', until: validityOf(certificate).endsAt },
    generation: authority?.generations.find(({ parsed }) => isSignedBy(certificate, parsed))?.number ?? 0,
    serial: certificate.serialNumber.toLowerCase(),
  }
}

function nameOf(certificate: X509Certificate): string {
  const [uri = ''] = urisIn(certificate.subjectAltName ?? '')
  const identity = readIdentity(uri)
  const subject = certificate.subject.replace(/^CN=/, '')
  if (identity === undefined) return subject
  return identity.kind === 'tier' ? `${identity.tier} ${identity.id}` : `${subject} (${identity.role})`
}

/** A sentence where a certificate is over, is soon, or is not there. */
export function soonOver({ who, state, until, names }: CertificateHolder, now: number): string | undefined {
  if (state === 'missing') return `${who} has no certificate: ${names}`
  const leftMs = until - now
  if (leftMs < 0) return warningMs[state] === 0 ? undefined : `the certificate of ${who} has expired`
  return leftMs < warningMs[state]
    ? `the certificate of ${who} is valid for ${Math.floor(leftMs / dayMs)} days`
    : undefined
}
