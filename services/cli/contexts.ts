/**
 * The file of contexts: clusters on other hosts by name, each with its address and the files of our credentials. YAML, made by
 * `qmq context`, readable by its owner alone. A file that is wrong is an error that names it; nothing is guessed.
 */

import fs from 'node:fs'
import path from 'node:path'
import { errorCode, errorText } from '../protocol/failure.ts'
import type { RemoteCluster } from './verb.ts'

export interface Contexts {
  /** '' where none is. */
  readonly current: string
  readonly clusters: readonly RemoteCluster[]
}

export const contextNamePattern = /^[A-Za-z][A-Za-z0-9._-]{0,62}$/

/** `host:port` or `[address]:port`; undefined where it is neither. */
export function addressOf(text: string): { readonly host: string; readonly port: number } | undefined {
  const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(text)
  const port = Number(parts?.[3])
  if (parts === null || port < 1 || port > 65_535) return undefined
  return { host: parts[1] ?? parts[2] ?? '', port }
}

/** None where there is no file: the usual case, in which YAML is not even loaded. Rejects, naming the file, where it is wrong. */
export async function readContexts(file: string): Promise<Contexts> {
  let text: string
  try {
    text = fs.readFileSync(file, 'utf8')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return { current: '', clusters: [] }
    throw new Error(`${file} cannot be read: ${errorText(error)}`)
  }
  const { readYaml } = await import('../settings/yaml-document.ts')
  const reading = readYaml(text)
  if (!reading.ok) {
    const [problem] = reading.problems
    throw new Error(`${file}:${problem?.line}: ${problem?.message}`)
  }
  const { current = '', contexts = {} } = asSection(reading.document.value)
  const clusters = Object.entries(asSection(contexts)).map(([name, value]) => clusterOf(file, name, asSection(value)))
  return { current: String(current), clusters }
}

export async function writeContexts(file: string, { current, clusters }: Contexts): Promise<void> {
  const { writeYaml } = await import('../settings/yaml-document.ts')
  const contexts = Object.fromEntries(
    clusters.map(({ name, host, port, ca, certificate, key }) => {
      const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
      return [name, { address, ca, cert: certificate, key }]
    }),
  )
  fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 })
  const temporary = `${file}.new`
  fs.writeFileSync(temporary, writeYaml(current === '' ? { contexts } : { current, contexts }), { mode: 0o600 })
  fs.renameSync(temporary, file)
}

function clusterOf(file: string, name: string, section: Readonly<Record<string, unknown>>): RemoteCluster {
  const { address, ca, cert, key } = section
  const parsed = addressOf(String(address ?? ''))
  if (parsed === undefined) throw new Error(`${file}: context ${name}: address is not HOST:PORT`)
  for (const [field, value] of Object.entries({ ca, cert, key })) {
    if (typeof value !== 'string') throw new Error(`${file}: context ${name}: ${field} names no file`)
  }
  return { name, ...parsed, ca: String(ca), certificate: String(cert), key: String(key) }
}

function asSection(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}
