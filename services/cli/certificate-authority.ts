/**
 * The cluster's own certificate authority, on the disk of the host that has it:
 *
 *   STATE/ca/1/cert.pem, key.pem     its generations: the last one signs, all of them are trusted
 *   STATE/ca/issued/SERIAL.pem       what was signed and has not expired
 *
 * A generation appears whole or not at all: its directory is made beside and renamed. Nothing here ever writes over a key. A key
 * that was taken away to be kept elsewhere leaves an authority that is trusted and cannot sign; asking it to says which file is missing.
 */

import { X509Certificate } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { errorText } from '../protocol/failure.ts'
import { makeDirectoryDurably, writeFileDurably } from '../runtime/durable-file.ts'
import { type HomeLock, lockHome } from '../runtime/home-lock.ts'
import { tlsPairProblem, validityOf } from '../runtime/tls-pair.ts'
import type { Disk } from '../runtime/world.ts'
import { type CertificateOrder, type CertificatePair, makeCertificate } from './certificate-maker.ts'
import type { Context } from './verb.ts'

export const dayMs = 24 * 3600 * 1000
export const authorityLifetimeMs = 3650 * dayMs
/** Certificates are valid from a little before they are made: clocks of hosts differ. */
export const backdatedMs = 5 * 60_000

export interface Generation {
  /** 1, 2, ... */
  readonly number: number
  readonly directory: string
  readonly certificate: Buffer
  readonly parsed: X509Certificate
}

export interface Authority {
  readonly directory: string
  /** The oldest first; never empty. */
  readonly generations: readonly Generation[]
}

export function authorityDirectory(state: string): string {
  return path.join(state, 'ca')
}

/** Two that sign at once could leave a key beside the other's certificate: whoever signs holds this. */
export async function lockAuthority({ world, state }: Context): Promise<HomeLock> {
  await world.disk.makeDirectory(authorityDirectory(state))
  return lockHome(authorityDirectory(state))
}

/** Undefined where none was ever made. Throws, naming the file, where there is one that cannot be read. */
export function readAuthority(state: string): Authority | undefined {
  const directory = authorityDirectory(state)
  const names = fs.existsSync(directory) ? fs.readdirSync(directory).filter((name) => /^[1-9]\d{0,3}$/.test(name)) : []
  const generations = names.map((name) => readGeneration(path.join(directory, name), Number(name)))
  if (generations.length === 0) return undefined
  return { directory, generations: generations.toSorted((one, other) => one.number - other.number) }
}

function readGeneration(directory: string, number: number): Generation {
  const file = path.join(directory, 'cert.pem')
  try {
    const certificate = fs.readFileSync(file)
    return { number, directory, certificate, parsed: new X509Certificate(certificate) }
  } catch (error) {
    throw new Error(`${file} cannot be used: ${errorText(error)}`)
  }
}

export function newestOf({ generations }: Authority): Generation {
  return generations.at(-1) as Generation
}

/** What everyone in the cluster trusts, as PEM. */
export function trustOf({ generations }: Authority): Buffer {
  return Buffer.concat(generations.map(({ certificate }) => certificate))
}

/** The key of the newest is on this host. */
export function canSign(authority: Authority): boolean {
  return fs.existsSync(path.join(newestOf(authority).directory, 'key.pem'))
}

/** The next generation beside those there are. Throws where openssl or the disk says no. */
export async function makeGeneration(context: Context, cluster: string): Promise<Authority> {
  const { world, state } = context
  const directory = authorityDirectory(state)
  await makeDirectoryDurably(world.disk, directory)
  removeLeftovers(directory)
  const number = (readAuthority(state)?.generations.at(-1)?.number ?? 0) + 1
  const now = world.clock.now()
  const order: CertificateOrder = {
    use: 'authority',
    subject: `qmq CA ${number} of ${cluster}`,
    names: [`URI:qmq://${cluster}`],
    startsAt: now - backdatedMs,
    endsAt: now + authorityLifetimeMs,
  }
  const made = await makeCertificate(order, undefined, directory)
  if (made.kind === 'failed') throw new Error(`no certificate authority in ${directory}: ${made.why}`)
  const making = fs.mkdtempSync(path.join(directory, 'making-'))
  try {
    await writePair(world.disk, making, made)
    await world.disk.rename(making, path.join(directory, String(number)))
    await world.disk.syncDirectory(directory)
  } finally {
    fs.rmSync(making, { recursive: true, force: true })
  }
  return readAuthority(state) as Authority
}

/** The key first: a power cut between the two leaves a pair that does not fit, which is made again. */
export async function writePair(disk: Disk, directory: string, pair: CertificatePair): Promise<void> {
  await writeFileDurably(disk, path.join(directory, 'key.pem'), [pair.key])
  await writeFileDurably(disk, path.join(directory, 'cert.pem'), [pair.certificate])
}

/** Signed by the newest generation, and on record. Throws, naming the file, where it cannot be. */
export async function issue(context: Context, authority: Authority, order: CertificateOrder): Promise<CertificatePair> {
  const { directory, certificate } = newestOf(authority)
  const keyFile = path.join(directory, 'key.pem')
  const issuer = { certificate, key: readKey(keyFile) }
  const problem = tlsPairProblem(issuer)
  if (problem !== undefined) throw new Error(`${keyFile} does not fit the certificate beside it: ${problem}`)
  const made = await makeCertificate(order, issuer, authority.directory)
  if (made.kind === 'failed') throw new Error(`no certificate for ${order.subject}: ${made.why}`)
  await record(context, authority, made.certificate)
  return { certificate: made.certificate, key: made.key }
}

function readKey(file: string): Buffer {
  try {
    return fs.readFileSync(file)
  } catch (error) {
    throw new Error(`${file} is needed to sign certificates: ${errorText(error)}`)
  }
}

async function record(context: Context, authority: Authority, certificate: Buffer): Promise<void> {
  const { disk, clock } = context.world
  const directory = path.join(authority.directory, 'issued')
  await disk.makeDirectory(directory)
  for (const old of readIssued(authority)) {
    if (validityOf(old.parsed).endsAt < clock.now()) await disk.unlink(old.file)
  }
  const file = path.join(directory, `${new X509Certificate(certificate).serialNumber.toLowerCase()}.pem`)
  await writeFileDurably(disk, file, [certificate])
}

export interface Issued {
  readonly file: string
  readonly parsed: X509Certificate
}

/** Throws, naming it, where a record cannot be read. */
export function readIssued({ directory }: Authority): readonly Issued[] {
  const place = path.join(directory, 'issued')
  const names = fs.existsSync(place) ? fs.readdirSync(place).filter((name) => name.endsWith('.pem')) : []
  return names.map((name) => {
    const file = path.join(place, name)
    try {
      return { file, parsed: new X509Certificate(fs.readFileSync(file)) }
    } catch (error) {
      throw new Error(`${file} is no certificate: ${errorText(error)}`)
    }
  })
}

/** What a command that was killed left behind, keys among it. */
function removeLeftovers(directory: string): void {
  for (const name of fs.readdirSync(directory).filter((one) => /^(making|leaving)-/.test(one))) {
    fs.rmSync(path.join(directory, name), { recursive: true, force: true })
  }
}

/** Ends the trust in all generations but the newest. Their keys go with them: nobody may sign with them again. */
export async function forgetOldGenerations(disk: Disk, authority: Authority): Promise<Authority> {
  const newest = newestOf(authority)
  removeLeftovers(authority.directory)
  for (const { directory } of authority.generations.slice(0, -1)) {
    const leaving = path.join(authority.directory, `leaving-${path.basename(directory)}`)
    await disk.rename(directory, leaving)
    await disk.syncDirectory(authority.directory)
    fs.rmSync(leaving, { recursive: true, force: true })
  }
  return { directory: authority.directory, generations: [newest] }
}
