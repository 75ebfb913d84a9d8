/**
 * Certificates of a cluster that runs here: made at its first start, renewed as they grow old, as long as this host has the key of
 * the authority. A host that was given its certificates by another one makes none of its own, for nobody would trust them.
 *
 * What cannot be made is said and waited for: a process without a usable certificate refuses, and mail waits.
 */

import fs from 'node:fs'
import path from 'node:path'
import { type Layout, needsCertificates } from '../contract/layout.ts'
import { errorText } from '../protocol/failure.ts'
import { credentialsDirectory } from '../runtime/tier-credentials.ts'
import type { Timer } from '../runtime/world.ts'
import { authorityDirectory, canSign, lockAuthority, makeGeneration, readAuthority } from './certificate-authority.ts'
import { certifiedPlaces, issueDue, writeTrust } from './tier-certificates.ts'
import type { Context } from './verb.ts'

const renewalCheckMs = 3600 * 1000

/** Never rejects. */
export async function ensureCertificates(context: Context, layout: Layout): Promise<void> {
  if (!needsCertificates(layout)) return
  try {
    const lock = await lockAuthority(context)
    // Whoever holds it issues what is due.
    if (lock.kind === 'taken') return
    try {
      await makeAndIssue(context, layout)
    } finally {
      lock.release()
    }
  } catch (error) {
    context.complain(`certificates of the cluster are not in order: ${errorText(error)}`)
  }
}

async function makeAndIssue(context: Context, layout: Layout): Promise<void> {
  const places = certifiedPlaces(layout)
  const known = readAuthority(context.state)
  if (known === undefined && hasGiven(context.state, layout)) return
  const authority = known ?? (await makeGeneration(context, layout.cluster))
  if (known === undefined) {
    context.complain(`note: the cluster has its own certificate authority now: ${authorityDirectory(context.state)}`)
  }
  if (!canSign(authority)) return
  await writeTrust(context, authority, places)
  const issued = await issueDue(context, authority, layout.cluster, places)
  if (known !== undefined && issued.length > 0) context.complain(`note: certificates renewed: ${issued.join(', ')}`)
}

function hasGiven(state: string, layout: Layout): boolean {
  return certifiedPlaces(layout).some(({ id }) => fs.existsSync(path.join(credentialsDirectory(state, id), 'ca.pem')))
}

/** Looks every hour, until it is closed. */
export class CertificateRenewal {
  readonly #context: Context
  readonly #layout: () => Layout
  #timer: Timer | undefined
  #closed = false

  constructor(context: Context, layout: () => Layout) {
    this.#context = context
    this.#layout = layout
    this.#wait()
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  #wait(): void {
    if (this.#closed) return
    this.#timer = this.#context.world.clock.after(renewalCheckMs, () => {
      // It says by itself what goes wrong.
      ensureCertificates(this.#context, this.#layout()).then(
        () => this.#wait(),
        () => {},
      )
    })
  }
}
