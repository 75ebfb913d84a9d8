/**
 * What one process of the cluster proves itself with: its certificate and key, and whom it trusts, from
 * `STATE/tls/ID/{cert,key,ca}.pem`. Read again every few seconds, so that renewed ones count without a restart: for handshakes that begin later;
 * sessions that are open stay open.
 *
 * Files that cannot be used never replace those that can: what is in force stays, and the log says once why the others are not.
 * A process that has none that can be used, or whose certificate has expired, is told why by `usable`, and takes and sends nothing that
 * needs them; mail waits, or is answered 451 at the edge.
 */

import { X509Certificate } from 'node:crypto'
import {
  exactly,
  type Identity,
  type NameRule,
  type TierName,
  tierIdentity,
  urisIn,
  writeIdentity,
} from '../contract/identity.ts'
import { type Layout, needsCertificates } from '../contract/layout.ts'
import { errorText } from '../protocol/failure.ts'
import type { LinkSecurity } from './qmtp-link.ts'
import { certificatesIn, isSignedBy, tlsPairProblem, type Validity, validityOf } from './tls-pair.ts'
import type { Timer, TlsClientOptions, TlsServerOptions, World } from './world.ts'

/** PEM, as `ca` may hold several. */
export interface CredentialFiles {
  readonly ca: Buffer
  readonly certificate: Buffer
  readonly key: Buffer
}

interface Credentials extends CredentialFiles {
  readonly validity: Validity
}

/** The credentials in force, or why there are none. */
export type Usable =
  | { readonly kind: 'usable'; readonly credentials: CredentialFiles }
  | { readonly kind: 'unusable'; readonly why: string }

export const credentialsPollMs = 5000

export function credentialsDirectory(state: string, id: string): string {
  return `${state}/tls/${id}`
}

type CredentialsWorld = Pick<World, 'clock' | 'disk' | 'log'>

export class TierCredentials {
  readonly #world: CredentialsWorld
  readonly #directory: string
  readonly #identity: Identity
  readonly #listeners = new Set<() => void>()
  #current: Credentials | undefined
  /** Why the files as they are now cannot be used; '' where they can. */
  #problem = 'not read yet'
  #poll: Timer | undefined
  #closed = false

  constructor(world: CredentialsWorld, directory: string, identity: Identity) {
    this.#world = world
    this.#directory = directory
    this.#identity = identity
  }

  usable(): Usable {
    if (this.#current === undefined) return { kind: 'unusable', why: this.#problem }
    const why = dateProblem(this.#current.validity, this.#world.clock.now())
    if (why === undefined) return { kind: 'usable', credentials: this.#current }
    return { kind: 'unusable', why: `${this.#directory}/cert.pem ${why}` }
  }

  /** For a connection to `server` and nobody else; or why there can be none. */
  clientTls(server: Identity): TlsClientOptions | string {
    const mutual = this.mutual(exactly(server))
    return typeof mutual === 'string' ? mutual : { serverName: '', verify: true, mutual }
  }

  /** For a listener whose clients must be `allowed`; or why it cannot serve. */
  serverTls(allowed: NameRule): TlsServerOptions | string {
    const mutual = this.mutual(allowed)
    if (typeof mutual === 'string') return mutual
    const { ca, certificate, key } = mutual
    return { certificate, key, clients: { ca, allowed } }
  }

  /** For whatever else is spoken with peers that must be `allowed`; or why nothing can be. */
  mutual(allowed: NameRule): (CredentialFiles & { readonly allowed: NameRule }) | string {
    const usable = this.usable()
    if (usable.kind === 'unusable') return usable.why
    const { ca, certificate, key } = usable.credentials
    return { ca, certificate, key, allowed }
  }

  /** Called when others than before are in force. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener)
  }

  /** Never rejects. */
  async reload(): Promise<void> {
    const files = await this.#read()
    const problem = typeof files === 'string' ? files : this.#problemOf(files)
    if (typeof files === 'string' || typeof problem === 'string') return this.#tell(String(problem))
    this.#tell('')
    if (this.#current !== undefined && sameFiles(this.#current, files)) return
    this.#current = { ...files, validity: problem }
    const until = new Date(problem.endsAt).toISOString()
    this.#world.log.info('certificate in force', { name: writeIdentity(this.#identity), until })
    for (const listener of this.#listeners) listener()
  }

  /** From now on; the first look is taken at once. */
  async watch(): Promise<void> {
    await this.reload()
    if (this.#closed) return
    this.#poll = this.#world.clock.after(credentialsPollMs, () => {
      // `reload` and what follows it have no failure of their own.
      this.watch().catch(() => {})
    })
  }

  close(): void {
    this.#closed = true
    this.#poll?.cancel()
    this.#listeners.clear()
  }

  async #read(): Promise<CredentialFiles | string> {
    const { disk } = this.#world
    try {
      const ca = await disk.readFile(`${this.#directory}/ca.pem`)
      const certificate = await disk.readFile(`${this.#directory}/cert.pem`)
      return { ca, certificate, key: await disk.readFile(`${this.#directory}/key.pem`) }
    } catch (error) {
      return errorText(error)
    }
  }

  /** How long they are valid, or why they cannot be used. */
  #problemOf(files: CredentialFiles): Validity | string {
    const problem = credentialsProblem(files, this.#identity)
    if (problem !== undefined) return `${this.#directory}: ${problem}`
    const validity = validityOf(new X509Certificate(files.certificate))
    const why = dateProblem(validity, this.#world.clock.now())
    return why === undefined ? validity : `${this.#directory}/cert.pem ${why}`
  }

  #tell(problem: string): void {
    const before = this.#problem
    this.#problem = problem
    if (problem === '' || problem === before) return
    if (this.#current === undefined) this.#world.log.error('no usable certificate', { why: problem })
    else this.#world.log.error('certificate not replaced, the one in force stays', { why: problem })
  }
}

/** Why a process has no credentials at all, where it needs them. */
export const startedWithoutCertificates = 'it was started without certificates'

/** For a link to `server` and nobody else. */
export function securityTo(credentials: TierCredentials | undefined, server: Identity): LinkSecurity {
  return () => credentials?.clientTls(server) ?? startedWithoutCertificates
}

/** Those of a place of the layout, watched from now on; undefined where nothing in the layout needs any. Never rejects. */
export async function openTierCredentials(
  world: CredentialsWorld,
  layout: Layout,
  state: string,
  tier: TierName,
  id: string,
): Promise<TierCredentials | undefined> {
  if (!needsCertificates(layout)) return undefined
  const identity = tierIdentity(layout.cluster, tier, id)
  const credentials = new TierCredentials(world, credentialsDirectory(state, id), identity)
  await credentials.watch()
  return credentials
}

/** Why these do not prove that somebody is `identity`, whatever the time; undefined where they do. */
export function credentialsProblem(files: CredentialFiles, identity: Identity): string | undefined {
  try {
    const pair = tlsPairProblem(files)
    if (pair !== undefined) return `cert.pem and key.pem are of no use for TLS: ${pair}`
    const certificate = new X509Certificate(files.certificate)
    const names = urisIn(certificate.subjectAltName ?? '')
    if (!exactly(identity)(names)) {
      return `cert.pem is of ${names.join(' and ') || 'nobody'}, this is ${writeIdentity(identity)}`
    }
    const authorities = certificatesIn(files.ca)
    if (authorities.length === 0) return 'ca.pem has no certificate'
    return authorities.some((authority) => isSignedBy(certificate, authority))
      ? undefined
      : 'cert.pem is signed by none of the authorities in ca.pem'
  } catch (error) {
    return errorText(error)
  }
}

function dateProblem({ startsAt, endsAt }: Validity, now: number): string | undefined {
  if (now < startsAt) return `is not valid before ${new Date(startsAt).toISOString()}`
  return now < endsAt ? undefined : `has expired at ${new Date(endsAt).toISOString()}`
}

function sameFiles(one: CredentialFiles, other: CredentialFiles): boolean {
  return one.ca.equals(other.ca) && one.certificate.equals(other.certificate) && one.key.equals(other.key)
}
