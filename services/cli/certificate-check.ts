/** The part of `qmq check` that looks at the cluster's certificates: which are missing, and which will be over soon. */

import fs from 'node:fs'
import { type Layout, needsCertificates } from '../contract/layout.ts'
import { errorText } from '../protocol/failure.ts'
import { credentialsDirectory } from '../runtime/tier-credentials.ts'
import { authorityDirectory, canSign, readAuthority } from './certificate-authority.ts'
import { type CertificateHolder, placeHolders, soonOver } from './certificate-holders.ts'
import type { Finding } from './cluster-check.ts'
import { certifiedPlaces } from './tier-certificates.ts'
import type { Context } from './verb.ts'

const what = 'certificates'

export function checkCertificates(context: Context, layout: Layout, openSslIsThere: boolean): readonly Finding[] {
  if (!needsCertificates(layout)) return []
  try {
    const authority = readAuthority(context.state)
    const signs = authority !== undefined && canSign(authority)
    const given = certifiedPlaces(layout).some(({ id }) => fs.existsSync(credentialsDirectory(context.state, id)))
    if (authority === undefined && !given) return [firstOnes(openSslIsThere)]
    const own: Finding = signs
      ? { verdict: 'ok', what, detail: `the authority is here: ${authorityDirectory(context.state)}` }
      : { verdict: 'warn', what, detail: 'the key of the authority is not on this host: nothing is renewed by itself' }
    return [own, ...checkPlaces(placeHolders(context, authority, layout), context.world.clock.now(), signs)]
  } catch (error) {
    return [{ verdict: 'fail', what, detail: errorText(error) }]
  }
}

function firstOnes(openSslIsThere: boolean): Finding {
  return openSslIsThere
    ? { verdict: 'ok', what, detail: 'none yet: `qmq up` makes them' }
    : { verdict: 'fail', what, detail: 'openssl is not installed: instances that are not on loopback will refuse mail' }
}

function checkPlaces(places: readonly CertificateHolder[], now: number, signs: boolean): readonly Finding[] {
  const findings: Finding[] = []
  for (const place of places) {
    const warning = soonOver(place, now)
    if (warning === undefined) continue
    const gone = place.state === 'missing' || place.until < now
    findings.push({ verdict: gone && !signs ? 'fail' : 'warn', what, detail: warning })
  }
  if (findings.length > 0) return findings
  const first = Math.min(...places.map(({ until }) => until))
  const detail = `${places.length} are good, the first until ${new Date(first).toISOString().slice(0, 10)}`
  return [{ verdict: 'ok', what, detail }]
}
