/**
 * One certificate with a new key, made by openssl: EC P-256, what it may be used for, when it is valid to the second.
 *
 * The key is made by this process and is on the disk only while openssl needs it, in a directory nobody else may enter, which is
 * removed whatever happens. Without openssl, or where it fails, the answer says why.
 */

import { generateKeyPairSync } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { errorText } from '../protocol/failure.ts'
import { runProgram } from './program-runner.ts'

/** `authority` may sign others and do nothing else; `tier` serves and connects; `person` only connects. */
export type CertificateUse = 'authority' | 'tier' | 'person'

export interface CertificateOrder {
  readonly use: CertificateUse
  /** Common name: for people who look at it, nothing is decided by it. */
  readonly subject: string
  /** `URI:qmq://...`, `DNS:01.mail.example.com`, `IP:192.0.2.1`. */
  readonly names: readonly string[]
  /** Unix milliseconds. */
  readonly startsAt: number
  readonly endsAt: number
}

/** PEM. */
export interface CertificatePair {
  readonly certificate: Buffer
  readonly key: Buffer
}

export type MadeCertificate =
  | ({ readonly kind: 'made' } & CertificatePair)
  | { readonly kind: 'failed'; readonly why: string }

const openSslTimeoutMs = 60_000
/** What the common name of a certificate holds at most (ub-common-name in X.509). */
const commonNameCharactersMax = 64

const extensions: Readonly<Record<CertificateUse, readonly string[]>> = {
  authority: ['basicConstraints = critical,CA:TRUE,pathlen:0', 'keyUsage = critical,keyCertSign,cRLSign'],
  tier: [
    'basicConstraints = critical,CA:FALSE',
    'keyUsage = critical,digitalSignature',
    'extendedKeyUsage = serverAuth,clientAuth',
    'authorityKeyIdentifier = keyid:always',
  ],
  person: [
    'basicConstraints = critical,CA:FALSE',
    'keyUsage = critical,digitalSignature',
    'extendedKeyUsage = clientAuth',
    'authorityKeyIdentifier = keyid:always',
  ],
}

/** Signed by `issuer`, or by itself where there is none. `below` is an existing directory on the disk the key may be on. */
export async function makeCertificate(
  order: CertificateOrder,
  issuer: CertificatePair | undefined,
  below: string,
): Promise<MadeCertificate> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const key = Buffer.from(privateKey.export({ type: 'pkcs8', format: 'pem' }))
  let place = ''
  try {
    place = fs.mkdtempSync(path.join(below, 'making-'))
    writePrivately(place, { 'openssl.conf': configurationOf(order), database: '', 'key.pem': key })
    if (issuer !== undefined) writePrivately(place, { 'issuer.pem': issuer.certificate, 'issuer-key.pem': issuer.key })
    const why = (await openssl(place, requestWords)) ?? (await openssl(place, signingWords(order, issuer)))
    if (why !== undefined) return { kind: 'failed', why }
    return { kind: 'made', certificate: fs.readFileSync(path.join(place, 'certificate.pem')), key }
  } catch (error) {
    return { kind: 'failed', why: errorText(error) }
  } finally {
    if (place !== '') fs.rmSync(place, { recursive: true, force: true })
  }
}

function writePrivately(directory: string, files: Readonly<Record<string, string | Buffer>>): void {
  for (const [name, content] of Object.entries(files)) {
    fs.writeFileSync(path.join(directory, name), content, { mode: 0o600 })
  }
}

const requestWords = ['req', '-new', '-config', 'openssl.conf', '-key', 'key.pem', '-out', 'request.pem']

function signingWords(order: CertificateOrder, issuer: CertificatePair | undefined): readonly string[] {
  const signer = issuer === undefined ? ['-selfsign', '-keyfile', 'key.pem'] : []
  const authority = issuer === undefined ? [] : ['-cert', 'issuer.pem', '-keyfile', 'issuer-key.pem']
  return [
    ...['ca', '-batch', '-notext', '-config', 'openssl.conf', '-in', 'request.pem', '-out', 'certificate.pem'],
    ...['-startdate', utcTime(order.startsAt), '-enddate', utcTime(order.endsAt)],
    ...signer,
    ...authority,
  ]
}

/** Why it failed, in its words. */
async function openssl(directory: string, words: readonly string[]): Promise<string | undefined> {
  const result = await runProgram('openssl', words, openSslTimeoutMs, directory)
  if (result.kind === 'missing') return 'openssl is not installed'
  if (result.code === 0) return undefined
  return `openssl ${words[0]}: ${result.stderr.trim().split('\n').at(-1)}`
}

/** Every file is named relative to the directory openssl runs in, so that no path can be taken for something else. */
function configurationOf({ use, subject, names }: CertificateOrder): string {
  const count = new Map<string, number>()
  const alternatives = names.map((name) => {
    const [kind = '', ...value] = name.split(':')
    const number = (count.get(kind) ?? 0) + 1
    count.set(kind, number)
    return `${kind}.${number} = ${value.join(':')}`
  })
  return [
    ...['[ca]', 'default_ca = own', '[own]', 'database = database', 'new_certs_dir = .', 'rand_serial = yes'],
    ...['default_md = sha256', 'policy = any', 'unique_subject = no', 'x509_extensions = wanted'],
    ...['[any]', 'commonName = supplied', '[req]', 'distinguished_name = name', 'prompt = no', 'utf8 = yes'],
    ...['[name]', `commonName = ${subject.slice(0, commonNameCharactersMax)}`],
    ...['[wanted]', ...extensions[use], 'subjectKeyIdentifier = hash', 'subjectAltName = @alternatives'],
    ...['[alternatives]', ...alternatives, ''],
  ].join('\n')
}

/** `20260131235959Z`. */
function utcTime(at: number): string {
  return new Date(at).toISOString().replace(/\.\d+|[-:T]/g, '')
}
