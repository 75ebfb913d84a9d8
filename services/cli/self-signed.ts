/**
 * A certificate for an edge whose conf-qmq names none: self-signed, ten years, made once by openssl. Enough for STARTTLS
 * between servers, which rarely check; clients that check need a real one in conf-qmq.
 */

import fs from 'node:fs'
import path from 'node:path'
import { runProgram } from './program-runner.ts'

export type SelfSigned =
  | { readonly kind: 'ready'; readonly certificateFile: string; readonly keyFile: string }
  /** No TLS is offered, for this reason. */
  | { readonly kind: 'unavailable'; readonly why: string }

const certificateFile = 'tls/cert.pem'
const keyFile = 'tls/key.pem'
const openSslTimeoutMs = 60_000
/** What the common name of a certificate holds at most (ub-common-name in X.509). */
const commonNameCharactersMax = 64

/** File names are relative to `state`. */
export async function ensureSelfSigned(state: string, cluster: string): Promise<SelfSigned> {
  const certificate = path.join(state, certificateFile)
  const key = path.join(state, keyFile)
  if (fs.existsSync(certificate) && fs.existsSync(key)) return { kind: 'ready', certificateFile, keyFile }
  fs.mkdirSync(path.dirname(key), { recursive: true, mode: 0o700 })
  const name = cluster.length <= commonNameCharactersMax ? cluster : 'qmq'
  const words = [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc', '-days', '3650'],
    ...['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${cluster},DNS:localhost,IP:127.0.0.1`],
    ...['-keyout', `${key}.new`, '-out', `${certificate}.new`],
  ]
  // The key is born with the mode it keeps.
  fs.writeFileSync(`${key}.new`, '', { mode: 0o600 })
  const result = await runProgram('openssl', words, openSslTimeoutMs)
  if (result.kind === 'missing') return { kind: 'unavailable', why: 'openssl is not installed' }
  if (result.code !== 0) return { kind: 'unavailable', why: `openssl: ${result.stderr.trim().split('\n').at(-1)}` }
  fs.chmodSync(`${key}.new`, 0o600)
  makeDurable(`${key}.new`)
  makeDurable(`${certificate}.new`)
  fs.renameSync(`${key}.new`, key)
  fs.renameSync(`${certificate}.new`, certificate)
  makeDurable(path.dirname(key))
  return { kind: 'ready', certificateFile, keyFile }
}

/** Before its last name is given: a certificate that a power cut emptied would keep the edge from starting ever after. */
function makeDurable(file: string): void {
  const descriptor = fs.openSync(file, 'r')
  fs.fsyncSync(descriptor)
  fs.closeSync(descriptor)
}
