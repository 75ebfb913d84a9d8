/**
 * A certificate for an edge whose conf-qmq names none: self-signed, ten years, made by openssl once, and again where the files
 * are of no use any more. Enough for STARTTLS between servers, which rarely check; clients that check need a real one in conf-qmq.
 */

import fs from 'node:fs'
import path from 'node:path'
import { errorText } from '../protocol/failure.ts'
import { writeFileDurably } from '../runtime/durable-file.ts'
import { certificateEndsAt, tlsPairProblem } from '../runtime/tls-pair.ts'
import { runProgram } from './program-runner.ts'
import type { Context } from './verb.ts'

type SelfSigned =
  | { readonly kind: 'ready'; readonly certificateFile: string; readonly keyFile: string }
  /** No TLS is offered, for this reason. */
  | { readonly kind: 'unavailable'; readonly why: string }

const certificateFile = 'tls/cert.pem'
const keyFile = 'tls/key.pem'
const openSslTimeoutMs = 60_000
/** What the common name of a certificate holds at most (ub-common-name in X.509). */
const commonNameCharactersMax = 64

/** File names are relative to the state directory. Rejects where they cannot be written. */
export async function ensureSelfSigned(context: Context, cluster: string): Promise<SelfSigned> {
  const { world, state } = context
  const [certificate, key] = [path.join(state, certificateFile), path.join(state, keyFile)]
  const problem = pairProblem(certificate, key, world.clock.now())
  if (problem === undefined) return { kind: 'ready', certificateFile, keyFile }
  if (problem !== 'absent') context.complain(`note: the self-signed certificate is made again: ${problem}`)
  await world.disk.makeDirectory(path.dirname(key))
  const made = { certificate: `${certificate}.made`, key: `${key}.made` }
  try {
    const why = await makePair(made, cluster)
    if (why !== undefined) return { kind: 'unavailable', why }
    // A power cut between the two leaves a pair that does not match, which the next start makes again.
    await writeFileDurably(world.disk, key, [fs.readFileSync(made.key)])
    await writeFileDurably(world.disk, certificate, [fs.readFileSync(made.certificate)])
  } finally {
    for (const file of [made.key, made.certificate]) fs.rmSync(file, { force: true })
  }
  return { kind: 'ready', certificateFile, keyFile }
}

/** `absent` where neither has been made. */
function pairProblem(certificateFile: string, keyFile: string, now: number): string | undefined {
  if (!fs.existsSync(certificateFile) && !fs.existsSync(keyFile)) return 'absent'
  try {
    const pair = { certificate: fs.readFileSync(certificateFile), key: fs.readFileSync(keyFile) }
    const problem = tlsPairProblem(pair)
    if (problem !== undefined) return problem
    return certificateEndsAt(pair.certificate) > now ? undefined : 'it has expired'
  } catch (error) {
    return errorText(error)
  }
}

/** Why there is none, in words. */
async function makePair(
  files: { readonly certificate: string; readonly key: string },
  cluster: string,
): Promise<string | undefined> {
  const name = cluster.length <= commonNameCharactersMax ? cluster : 'qmq'
  const words = [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc', '-days', '3650'],
    ...['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${cluster},DNS:localhost,IP:127.0.0.1`],
    ...['-keyout', files.key, '-out', files.certificate],
  ]
  // The key is born with the mode it keeps.
  fs.writeFileSync(files.key, '', { mode: 0o600 })
  const result = await runProgram('openssl', words, openSslTimeoutMs)
  if (result.kind === 'missing') return 'openssl is not installed'
  return result.code === 0 ? undefined : `openssl: ${result.stderr.trim().split('\n').at(-1)}`
}
