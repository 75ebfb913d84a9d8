/**
 * The certificates of a layout's places: what each must say, which are due, and the files the processes read them from
 * (`STATE/tls/ID/`). Idempotent: what is good stays as it is, byte for byte.
 *
 * Due is what is missing, damaged, somebody else's, signed by nobody the cluster trusts, past two thirds of its life, or without an
 * address the layout gives its place. A place that runs on another host needs its directory copied there.
 */

import { X509Certificate } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { type Identity, type TierName, tierIdentity, writeIdentity } from '../contract/identity.ts'
import type { Layout } from '../contract/layout.ts'
import { errorText } from '../protocol/failure.ts'
import { writeFileDurably } from '../runtime/durable-file.ts'
import { type CredentialFiles, credentialsDirectory, credentialsProblem } from '../runtime/tier-credentials.ts'
import { validityOf } from '../runtime/tls-pair.ts'
import { type Authority, backdatedMs, dayMs, issue, newestOf, trustOf, writePair } from './certificate-authority.ts'
import type { Context } from './verb.ts'

export const tierLifetimeMs = 90 * dayMs
/** A certificate is renewed once this much of its life is over. */
const renewedAfter = 2 / 3

export interface CertifiedPlace {
  readonly tier: TierName
  readonly id: string
  /** Addresses it is reached at, or comes from. */
  readonly addresses: readonly string[]
}

export function certifiedPlaces(layout: Layout): readonly CertifiedPlace[] {
  const place = (tier: TierName, id: string, hosts: readonly string[]): CertifiedPlace => ({
    ...{ tier, id },
    addresses: [...new Set(hosts.filter((host) => host !== '0.0.0.0' && host !== '::'))],
  })
  return [
    ...layout.edges.map(({ id, listeners }) =>
      place(
        'edge',
        id,
        listeners.map(({ host }) => host),
      ),
    ),
    ...layout.instances.map(({ id, host, sourceAddress }) => place('queue', id, [host, sourceAddress ?? host])),
    ...layout.control.map(({ id, host }) => place('control', id, [host])),
  ]
}

export interface IssueOptions {
  readonly lifetimeMs?: number
  /** Those of an older generation of the authority are due as well. */
  readonly ofNewest?: boolean
  /** All are due. */
  readonly again?: boolean
}

/** Writes whom to trust into every place's directory; answers the ids where that was news. */
export async function writeTrust(
  context: Context,
  authority: Authority,
  places: readonly CertifiedPlace[],
): Promise<readonly string[]> {
  const { disk } = context.world
  const trust = trustOf(authority)
  const told: string[] = []
  for (const { id } of places) {
    const directory = credentialsDirectory(context.state, id)
    await disk.makeDirectory(directory)
    if (readIfThere(path.join(directory, 'ca.pem'))?.equals(trust) === true) continue
    await writeFileDurably(disk, path.join(directory, 'ca.pem'), [trust])
    told.push(id)
  }
  return told
}

/** Issues what is due; answers the ids. Throws, naming the file or the place, where one cannot be made. */
export async function issueDue(
  context: Context,
  authority: Authority,
  cluster: string,
  places: readonly CertifiedPlace[],
  options: IssueOptions = {},
): Promise<readonly string[]> {
  const { disk, clock } = context.world
  const issued: string[] = []
  for (const place of places) {
    if (options.again !== true && whyDue(context, authority, cluster, place, options) === undefined) continue
    const now = clock.now()
    const pair = await issue(context, authority, {
      use: 'tier',
      subject: `${place.id}.${cluster}`,
      names: alternativesOf(cluster, place),
      startsAt: now - backdatedMs,
      endsAt: now + (options.lifetimeMs ?? tierLifetimeMs),
    })
    await writePair(disk, credentialsDirectory(context.state, place.id), pair)
    issued.push(place.id)
  }
  return issued
}

function identityOf(cluster: string, { tier, id }: CertifiedPlace): Identity {
  return tierIdentity(cluster, tier, id)
}

function alternativesOf(cluster: string, place: CertifiedPlace): readonly string[] {
  return [
    `URI:${writeIdentity(identityOf(cluster, place))}`,
    `DNS:${place.id}.${cluster}`,
    ...place.addresses.map((address) => `IP:${address}`),
  ]
}

function whyDue(
  context: Context,
  authority: Authority,
  cluster: string,
  place: CertifiedPlace,
  { ofNewest }: IssueOptions,
): string | undefined {
  const ca = ofNewest === true ? newestOf(authority).certificate : trustOf(authority)
  const certificate = placeCertificate(context.state, cluster, place, ca)
  if (typeof certificate === 'string') return certificate
  const { startsAt, endsAt } = validityOf(certificate)
  const now = context.world.clock.now()
  if (now < startsAt || now > startsAt + (endsAt - startsAt) * renewedAfter) return 'its time is nearly over'
  const missing = place.addresses.find((address) => certificate.checkIP(address) === undefined)
  return missing === undefined ? undefined : `it does not name ${missing}`
}

/** The certificate a place would prove itself with to those who trust `ca`, or why it could not. Dates are not looked at. */
export function placeCertificate(
  state: string,
  cluster: string,
  place: CertifiedPlace,
  ca?: Buffer,
): X509Certificate | string {
  const directory = credentialsDirectory(state, place.id)
  const read = (name: string) => fs.readFileSync(path.join(directory, name))
  try {
    const files: CredentialFiles = { ca: ca ?? read('ca.pem'), certificate: read('cert.pem'), key: read('key.pem') }
    const problem = credentialsProblem(files, identityOf(cluster, place))
    return problem === undefined ? new X509Certificate(files.certificate) : `${directory}: ${problem}`
  } catch (error) {
    return errorText(error)
  }
}

function readIfThere(file: string): Buffer | undefined {
  return fs.existsSync(file) ? fs.readFileSync(file) : undefined
}
