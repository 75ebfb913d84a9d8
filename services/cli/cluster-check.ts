/** The checks behind `qmq check`. Each looks at one thing, changes nothing, and answers in words; none throws. */

import fs from 'node:fs'
import path from 'node:path'
import type { DeliverSpec, Layout } from '../contract/layout.ts'
import { compile } from '../control/layout/compile.ts'
import { errorCode, errorText } from '../protocol/failure.ts'
import { homeOwner } from '../runtime/home-lock.ts'
import type { Conf } from '../settings/conf.ts'
import { readConfFile } from './prepare-state.ts'
import { runProgram } from './program-runner.ts'
import type { Context } from './verb.ts'

export interface Finding {
  readonly verdict: 'ok' | 'warn' | 'fail'
  readonly what: string
  readonly detail: string
}

/** A queue instance refuses mail below 32 MiB; this is enough not to come near. */
const freeBytesWanted = 1024 * 1024 * 1024
const freeBytesNeeded = 64 * 1024 * 1024
const openSslTimeoutMs = 10_000

export async function checkCluster(context: Context): Promise<readonly Finding[]> {
  const file = readConfFile(context.confFile)
  if (file.kind === 'wrong') return file.problems.map((problem) => finding('fail', 'conf-qmq', problem))
  const layout = compile(file.conf, 1)
  const read = finding(
    'ok',
    'conf-qmq',
    `${context.confFile}: ${layout.instances.length} instances, ${layout.edges.length} edges`,
  )
  return [
    read,
    ...file.notes.map((note) => finding('warn', 'conf-qmq', note)),
    ...checkState(context),
    await checkSpace(context),
    ...(await checkKey(context, file.conf)),
    ...(await checkPorts(context, layout)),
    ...(await checkNextHops(context, layout)),
  ]
}

function finding(verdict: Finding['verdict'], what: string, detail: string): Finding {
  return { verdict, what, detail }
}

/** The directory, or the nearest one above it that exists. */
function existing(directory: string): string {
  let nearest = directory
  while (!fs.existsSync(nearest) && path.dirname(nearest) !== nearest) nearest = path.dirname(nearest)
  return nearest
}

function checkState(context: Context): readonly Finding[] {
  const nearest = existing(context.state)
  try {
    fs.accessSync(nearest, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK)
  } catch (error) {
    return [finding('fail', 'state', `${nearest} cannot be written: ${errorText(error)}`)]
  }
  const owner = nearest === context.state ? homeOwner(context.state) : undefined
  const running = owner === undefined ? 'no cluster runs on it' : `\`qmq up\` runs on it as process ${owner}`
  return [finding('ok', 'state', `${context.state}: ${nearest === context.state ? running : 'will be made'}`)]
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

async function checkKey(context: Context, conf: Conf): Promise<readonly Finding[]> {
  const { tls } = conf.edge
  if (tls === undefined) {
    const openSsl = await runProgram('openssl', ['version'], openSslTimeoutMs)
    const detail = openSsl.kind === 'missing' ? 'and openssl is not installed: no TLS' : 'self-signed by `qmq up`'
    return [finding('warn', 'tls', `conf-qmq names no certificate: ${detail}`)]
  }
  return [tls.certificateFile, tls.keyFile].map((name) => {
    const file = path.resolve(context.state, name)
    try {
      fs.accessSync(file, fs.constants.R_OK)
      const open = (fs.statSync(file).mode & 0o077) !== 0 && name === tls.keyFile
      return open ? finding('warn', 'tls', `${file} can be read by others: chmod 600`) : finding('ok', 'tls', file)
    } catch (error) {
      return finding('fail', 'tls', errorText(error))
    }
  })
}

async function checkPorts(context: Context, layout: Layout): Promise<readonly Finding[]> {
  const running = fs.existsSync(context.state) && homeOwner(context.state) !== undefined
  const edges = layout.edges.flatMap((edge) => edge.listeners.map(({ host, port }) => ({ id: edge.id, host, port })))
  const places = [...edges, ...layout.instances.map(({ id, host, port }) => ({ id, host, port }))]
  const unique = new Map(places.map((place) => [`${place.host}:${place.port}`, place]))
  const findings: Finding[] = []
  for (const { id, host, port } of unique.values()) {
    const problem = await portProblem(context, host, port)
    const where = `${id} ${host}:${port}`
    if (problem === undefined) findings.push(finding('ok', 'port', `${where} is free`))
    else if (problem === 'EADDRINUSE' && running) findings.push(finding('ok', 'port', `${where} is in use, by us`))
    else findings.push(finding('fail', 'port', `${where}: ${problem}`))
  }
  return findings
}

async function portProblem(context: Context, host: string, port: number): Promise<string | undefined> {
  try {
    const listener = await context.world.network.listen({ host, port }, (connection) => {
      connection.destroy()
      return { onOpen() {}, onSecure() {}, onData() {}, onDrain() {}, onEnd() {}, onClose() {} }
    })
    await listener.close()
    return undefined
  } catch (error) {
    return errorCode(error) || errorText(error)
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
