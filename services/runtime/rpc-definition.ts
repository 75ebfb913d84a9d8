/**
 * The door to the loader of `.proto` files: the published ones of `contract/proto/`, as services by their full names.
 *
 * Fields are camel case, enumerations are their names, numbers of 64 bits are plain numbers (nothing we count passes 2^53), bytes are
 * Buffers into what was received. Throws where a file is missing or wrong: both are defects of the installation.
 */

import { fileURLToPath } from 'node:url'
import { loadSync, type PackageDefinition, type ServiceDefinition } from '@grpc/proto-loader'

export type RpcDefinition = PackageDefinition
export type RpcService = ServiceDefinition

const folder = fileURLToPath(new URL('../contract/proto', import.meta.url))
const loaded = new Map<string, RpcDefinition>()

/** `qmq/v1/handover.proto`, ...; with what they import. */
export function loadDefinition(...files: readonly string[]): RpcDefinition {
  const key = files.join(' ')
  const known = loaded.get(key)
  if (known !== undefined) return known
  const options = { longs: Number, enums: String, defaults: true, oneofs: true, includeDirs: [folder] }
  const definition = loadSync([...files], options)
  loaded.set(key, definition)
  return definition
}

/** The same files, and others by their paths, for those who want to know what is served: with the names as they are published. */
export function describeFiles(files: readonly string[]): RpcDefinition {
  return loadSync([...files], { keepCase: true, longs: Number, enums: String, includeDirs: [folder] })
}

/** `qmq.v1.HandoverService`. */
export function serviceIn(definition: RpcDefinition, name: string): RpcService {
  const service = definition[name]
  if (service === undefined || 'format' in service) throw new Error(`no service ${name} in the definitions`)
  return service as RpcService
}

/** Names of the services of a definition, sorted. */
export function serviceNames(definition: RpcDefinition): readonly string[] {
  return Object.keys(definition)
    .filter((name) => !('format' in (definition[name] as object)))
    .sort()
}
