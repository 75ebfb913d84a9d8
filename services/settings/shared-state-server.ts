/**
 * The server that edges share state through, as conf-qmq names it: `redis://HOST:PORT`, `rediss://HOST:PORT/DATABASE` for TLS; an IPv6
 * host in brackets. Without a port: 6379.
 *
 * No secret is ever read here or shown: a user or password in the URL is refused without being repeated.
 */

import { readHost } from './network.ts'
import { type Reading, right, shown, wrong } from './reading.ts'

export interface SharedStateServer {
  readonly host: string
  readonly port: number
  readonly database: number
  readonly secure: boolean
}

export const sharedStatePattern = '^(embedded|rediss?://[^@]+)$'

const form = /^(rediss?):\/\/(?:\[([^\]]*)\]|([^:/[\]]+))(?::(\d{1,5}))?(?:\/(\d{0,4}))?$/
const remedy =
  'write embedded, redis://HOST:PORT, rediss://HOST:PORT for TLS, or a section with server: and what goes with it'
const standardPort = 6379

export function readSharedStateServer(input: unknown): Reading<SharedStateServer> {
  if (typeof input === 'string' && input.includes('@')) {
    const instead = 'write a section: server: without it, user: and password-file: with the name of a file'
    return wrong('a user or a password has no place in a URL, which is shown to anybody', instead)
  }
  const match = typeof input === 'string' ? form.exec(input) : null
  if (match === null) return wrong(`${shown(input)} is no server for shared state`, remedy)
  const [, scheme, bracketed, plain, portText, databaseText] = match
  const host = readHost(bracketed ?? plain)
  if (!host.ok) return wrong(`${shown(input)}: ${host.message}`, remedy)
  if (bracketed !== undefined && !host.value.includes(':')) {
    return wrong(`${shown(input)} has brackets around no IPv6 address`, remedy)
  }
  const port = portText === undefined ? standardPort : Number(portText)
  if (port < 1 || port > 65_535) return wrong(`${shown(input)}: port ${port} is not between 1 and 65535`, remedy)
  return right({ host: host.value, port, database: Number(databaseText ?? 0), secure: scheme === 'rediss' })
}
