/** The checks behind `qmq check`. Each looks at one thing, changes nothing, and answers in words; none throws. */

import fs from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import type { DeliverSpec, Layout } from '../contract/layout.ts'
import { compile } from '../control/layout/compile.ts'
import { errorCode, errorText } from '../protocol/failure.ts'
import { homeOwner } from '../runtime/home-lock.ts'
import { readAccess, serverName } from '../runtime/layout-shared-state.ts'
import { certificateEndsAt, tlsPairProblem } from '../runtime/tls-pair.ts'
import type { Conf } from '../settings/conf.ts'
import { checkCertificates } from './certificate-check.ts'
import { ClusterClient } from './cluster-client.ts'
import { portProblem, portsOf } from './port-probe.ts'
import { readConfFile } from './prepare-state.ts'
import { runProgram } from './program-runner.ts'
import type { Context } from './verb.ts'

/** `what` of the findings about the file itself. */
export const confFinding = 'conf-qmq'

export interface Finding {
  readonly verdict: 'ok' | 'warn' | 'fail'
  readonly what: string
  readonly detail: string
}

/** A queue instance refuses mail below 32 MiB; this is enough not to come near. */
const freeBytesWanted = 1024 * 1024 * 1024
const freeBytesNeeded = 64 * 1024 * 1024
const openSslTimeoutMs = 10_000
const dayMs = 24 * 3600 * 1000
const expiryWarningMs = 14 * dayMs

export async function checkCluster(context: Context): Promise<readonly Finding[]> {
  const file = readConfFile(context.confFile)
  if (file.kind === 'wrong') return file.problems.map((problem) => finding('fail', confFinding, problem))
  const layout = compile(file.conf, 1)
  const read = finding(
    'ok',
    confFinding,
    `${context.confFile}: ${layout.instances.length} instances, ${layout.edges.length} edges`,
  )
  return [
    read,
    ...file.notes.map((note) => finding('warn', confFinding, note)),
    ...checkState(context),
    await checkSpace(context),
    ...(await checkKey(context, file.conf)),
    ...checkCertificates(context, layout, await hasOpenSsl()),
    ...(await checkSharedState(context, file.conf)),
    ...(await checkPorts(context, layout)),
    ...(await checkNextHops(context, layout)),
  ]
}

function finding(verdict: Finding['verdict'], what: string, detail: string): Finding {
  return { verdict, what, detail }
}

/** The directory, or the nearest one above it that exists. One that may not be looked into exists. */
function existing(directory: string): string {
  let nearest = directory
  while (!isThere(nearest) && path.dirname(nearest) !== nearest) nearest = path.dirname(nearest)
  return nearest
}

function isThere(directory: string): boolean {
  try {
    fs.lstatSync(directory)
    return true
  } catch (error) {
    return errorCode(error) !== 'ENOENT'
  }
}

function checkState(context: Context): readonly Finding[] {
  const { state } = context
  const nearest = existing(state)
  try {
    fs.accessSync(nearest, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK)
    if (nearest !== state) return [finding('ok', 'state', `${state}: will be made`)]
    const owner = homeOwner(state)
    const running = owner === undefined ? 'no cluster runs on it' : `\`qmq up\` runs on it as process ${owner}`
    return [finding('ok', 'state', `${state}: ${running}`), ...checkOwner(state)]
  } catch (error) {
    return [finding('fail', 'state', `${nearest} cannot be used by this user: ${errorText(error)}`)]
  }
}

/** What root makes in somebody's state directory, its owner cannot write afterwards. */
function checkOwner(state: string): readonly Finding[] {
  const own = process.getuid?.()
  const { uid } = fs.statSync(state)
  if (own === undefined || own === uid) return []
  return [
    finding('warn', 'state', `${state} belongs to user ${uid}, this is user ${own}: start the cluster as its owner`),
  ]
}

async function checkSpace(context: Context): Promise<Finding> {
  try {
    const free = await context.world.disk.freeBytes(existing(context.state))
    const detail = `${Math.floor(free / 1024 / 1024)} MiB free`
    return finding(free < freeBytesNeeded ? 'fail' : free < freeBytesWanted ? 'warn' : 'ok', 'disk', detail)
  } catch (error) {
    return finding('warn', 'disk', errorText(error))
  }
}

/** What edges read to reach the server that they share through. */
async function checkSharedState(context: Context, { sharedState }: Conf): Promise<readonly Finding[]> {
  if (sharedState === 'embedded') return []
  try {
    await readAccess(context.world.disk, context.state, sharedState)
  } catch (error) {
    return [finding('fail', 'shared state', errorText(error))]
  }
  const open = (file: string) => (fs.statSync(path.resolve(context.state, file)).mode & 0o077) !== 0
  const { passwordFile, tls } = sharedState
  const exposed = [passwordFile, tls?.keyFile].filter((file) => file !== undefined && open(file))
  return [
    ...exposed.map((file) => finding('warn', 'shared state', `${file} can be read by others: chmod 600`)),
    finding('ok', 'shared state', serverName(sharedState)),
  ]
}

async function checkKey(context: Context, conf: Conf): Promise<readonly Finding[]> {
  const { tls } = conf.edge
  if (tls === undefined) {
    const detail = (await hasOpenSsl()) ? 'self-signed by `qmq up`' : 'and openssl is not installed: no TLS'
    return [finding('warn', 'tls', `conf-qmq names no certificate: ${detail}`)]
  }
  const [certificate, key] = [tls.certificateFile, tls.keyFile].map((name) => path.resolve(context.state, name))
  return checkPair(certificate ?? '', key ?? '', context.world.clock.now())
}

async function hasOpenSsl(): Promise<boolean> {
  return (await runProgram('openssl', ['version'], openSslTimeoutMs)).kind !== 'missing'
}

function checkPair(certificateFile: string, keyFile: string, now: number): readonly Finding[] {
  try {
    const pair = { certificate: fs.readFileSync(certificateFile), key: fs.readFileSync(keyFile) }
    const problem = tlsPairProblem(pair)
    if (problem !== undefined) return [finding('fail', 'tls', `${certificateFile} and ${keyFile}: ${problem}`)]
    const open = (fs.statSync(keyFile).mode & 0o077) !== 0
    const leftMs = certificateEndsAt(pair.certificate) - now
    const soon = leftMs < expiryWarningMs
    const days = Math.floor(leftMs / dayMs)
    return [
      finding(
        soon ? 'warn' : 'ok',
        'tls',
        `${certificateFile} ${days < 0 ? 'has expired' : `is valid for ${days} days`}`,
      ),
      open ? finding('warn', 'tls', `${keyFile} can be read by others: chmod 600`) : finding('ok', 'tls', keyFile),
    ]
  } catch (error) {
    return [finding('fail', 'tls', errorText(error))]
  }
}

async function checkPorts(context: Context, layout: Layout): Promise<readonly Finding[]> {
  const ours = await ownPorts(context)
  const findings: Finding[] = []
  for (const { who, host, port } of portsOf(layout)) {
    const where = `${who} ${host}:${port}`
    const problem = await portProblem(context.world, host, port)
    if (problem === undefined) findings.push(finding('ok', 'port', `${where} is free`))
    else if (problem === 'EADDRINUSE' && ours.has(`${host}:${port}`))
      findings.push(finding('ok', 'port', `${where} is in use, by us`))
    else findings.push(finding('fail', 'port', `${where}: ${problem}`))
  }
  return findings
}

/** Where the running instances say they listen; empty where none runs. */
async function ownPorts(context: Context): Promise<ReadonlySet<string>> {
  try {
    const client = await ClusterClient.open(context)
    const heard = await client.states()
    client.close()
    const states = heard.kind === 'heard' ? [...heard.states.values()] : []
    return new Set(states.flatMap(({ listeners }) => listeners.map(({ host, port }) => `${host}:${port}`)))
  } catch {
    // No cluster has been here yet.
    return new Set()
  }
}

async function checkNextHops(context: Context, layout: Layout): Promise<readonly Finding[]> {
  const specs = layout.pools.flatMap((pool) => [pool.deliver, ...pool.nextHops.map((hop) => hop.deliver)])
  const hosts = new Set(specs.flatMap(hostOf))
  const findings: Finding[] = []
  for (const host of hosts) {
    try {
      const addresses = await context.world.resolver.addresses(host)
      findings.push(finding('ok', 'dns', `${host} is ${addresses.join(', ')}`))
    } catch (error) {
      findings.push(finding('fail', 'dns', `${host}: ${errorText(error)}`))
    }
  }
  return findings
}

/** Names that need DNS; addresses need none. */
function hostOf(deliver: DeliverSpec): readonly string[] {
  if (deliver.kind !== 'smtp' && deliver.kind !== 'qmtp') return []
  return /^[\d.]+$/.test(deliver.host) || deliver.host.includes(':') ? [] : [deliver.host]
}
