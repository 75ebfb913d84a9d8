/**
 * The cluster's signature: what one process says so that any other, and an auditor years later, can see that it was said here and is
 * unchanged. Ed25519; receipts and layouts are signed with it.
 *
 * The pair lives in `<state>/keys/`: `cluster.key` (PKCS#8, mode 0600) signs, `cluster.pub` verifies. A host that only verifies has
 * the public half alone, and no key is ever made beside it: a second key would disown what the first one signed. A key that is
 * lost or damaged stops signing and nothing else; mail never waits for it. No error tells what is in the key's file.
 */

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto'
import { errorCode } from '../protocol/failure.ts'
import { sha256 } from './digest.ts'
import { makeDirectoryDurably, readFileIfThere, writeFileDurably } from './durable-file.ts'
import type { Disk } from './world.ts'

export const signedVersion = 1

/** A text with its signature: as a file or a record, JSON with these keys. */
export interface SignedDocument {
  readonly version: typeof signedVersion
  /** Which key: the beginning of the SHA-256 of the public one, hexadecimal. */
  readonly signer: string
  readonly document: string
  /** Base64. */
  readonly signature: string
}

export interface Signer {
  readonly signer: string
  /** The document in, the text of its `SignedDocument` out. */
  sign(document: string): string
}

export type Verified =
  | { readonly ok: true; readonly document: string; readonly signer: string }
  /** In words: why nothing in it may be believed. */
  | { readonly ok: false; readonly why: string }

export interface Verifier {
  readonly signer: string
  /** The text of a `SignedDocument` in. Never throws, whatever it is given. */
  verify(text: string): Verified
}

const keyDirectory = 'keys'
export const privateKeyFileName = `${keyDirectory}/cluster.key`
export const publicKeyFileName = `${keyDirectory}/cluster.pub`
const signerCharacters = 32
/** What is signed begins with this, so that the key says nothing that another program could take for its own. */
const preamble = 'qmq signed document 1\n'

/** `made`: a new pair. `kept`: one was there. `verifies-only`: the public half alone, which stays so. Rejects, naming the file. */
export async function ensureClusterKey(disk: Disk, state: string): Promise<'made' | 'kept' | 'verifies-only'> {
  const [privateFile, publicFile] = [`${state}/${privateKeyFileName}`, `${state}/${publicKeyFileName}`]
  const privateText = await readFileIfThere(disk, privateFile)
  const publicText = await readFileIfThere(disk, publicFile)
  if (privateText === undefined && publicText !== undefined) return 'verifies-only'
  if (privateText !== undefined && publicText !== undefined) return 'kept'
  await makeDirectoryDurably(disk, `${state}/${keyDirectory}`, 1)
  const key = privateText === undefined ? generateKeyPairSync('ed25519').privateKey : readKey(privateText, privateFile)
  // The private half first: a crash in between leaves one that the public half is made from again.
  if (privateText === undefined) {
    await writeFileDurably(disk, privateFile, [Buffer.from(key.export({ type: 'pkcs8', format: 'pem' }))])
  }
  const publicPem = createPublicKey(key).export({ type: 'spki', format: 'pem' })
  await writeFileDurably(disk, publicFile, [Buffer.from(publicPem)])
  return privateText === undefined ? 'made' : 'kept'
}

/** Rejects, naming the file, where it cannot sign. */
export async function openSigner(disk: Disk, state: string): Promise<Signer> {
  const file = `${state}/${privateKeyFileName}`
  const key = readKey(await readNamed(disk, file), file)
  const signer = signerOf(createPublicKey(key))
  return {
    signer,
    sign: (document) => {
      const signature = sign(null, signedBytes(document), key).toString('base64')
      return writeSigned({ version: signedVersion, signer, document, signature })
    },
  }
}

/** Rejects, naming the file, where there is no public key. */
export async function openVerifier(disk: Disk, state: string): Promise<Verifier> {
  const file = `${state}/${publicKeyFileName}`
  return verifierOf((await readNamed(disk, file)).toString('utf8'), file)
}

/** From the text of a public key in PEM form, which an auditor may have from anywhere. Throws, naming `file`, where it is none. */
export function verifierOf(pem: string, file: string): Verifier {
  const key = parseKey(() => createPublicKey(pem), file)
  const signer = signerOf(key)
  return { signer, verify: (text) => verifySigned(text, key, signer) }
}

function verifySigned(text: string, key: KeyObject, signer: string): Verified {
  const signed = readSigned(text)
  if (signed === undefined) return { ok: false, why: `it is no signed document of version ${signedVersion}` }
  if (signed.signer !== signer) {
    return { ok: false, why: `it was signed by key ${signed.signer}, and the key at hand is ${signer}` }
  }
  const isTrue = verify(null, signedBytes(signed.document), key, Buffer.from(signed.signature, 'base64'))
  if (!isTrue) return { ok: false, why: 'its signature is wrong: it was changed after it was signed' }
  return { ok: true, document: signed.document, signer }
}

function writeSigned({ version, signer, document, signature }: SignedDocument): string {
  return JSON.stringify({ version, signer, document, signature })
}

/** Only what `writeSigned` writes, a final line end apart: a second way of writing would be a second document of one signature. */
function readSigned(text: string): SignedDocument | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const signed = value as SignedDocument
  const texts = [signed.signer, signed.document, signed.signature]
  if (signed.version !== signedVersion || !texts.every((part) => typeof part === 'string')) return undefined
  const isCanonical = Buffer.from(signed.signature, 'base64').toString('base64') === signed.signature
  return isCanonical && writeSigned(signed) === text.replace(/\n$/, '') ? signed : undefined
}

function signedBytes(document: string): Buffer {
  return Buffer.from(preamble + document)
}

function signerOf(publicKey: KeyObject): string {
  return sha256([publicKey.export({ type: 'spki', format: 'der' })]).slice(0, signerCharacters)
}

async function readNamed(disk: Disk, file: string): Promise<Buffer> {
  try {
    return await disk.readFile(file)
  } catch (error) {
    throw new Error(`${file} cannot be read (${errorCode(error)})`)
  }
}

function readKey(text: Buffer, file: string): KeyObject {
  return parseKey(() => createPrivateKey(text), file)
}

/** The library's own words may quote what it was given. */
function parseKey(read: () => KeyObject, file: string): KeyObject {
  let key: KeyObject
  try {
    key = read()
  } catch {
    throw new Error(`${file} is no key that can be used`)
  }
  if (key.asymmetricKeyType !== 'ed25519') throw new Error(`${file} is no Ed25519 key`)
  return key
}
