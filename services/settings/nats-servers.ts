/**
 * Where a cluster's NATS servers are, as conf-qmq writes it: `nats://HOST:PORT`, `tls://HOST:PORT`, several after commas or as a
 * list; an IPv6 host in brackets, 4222 where no port is given. A name before `@` is the user every process logs in as. A password is
 * refused wherever it stands: conf-qmq is read by many, secrets are in files of their own.
 */

import { readHost } from './network.ts'
import { type Reading, right, shown, wrong } from './reading.ts'

export interface NatsServers {
  /** `host:port`. */
  readonly servers: readonly string[]
  /** Every server must speak TLS. */
  readonly isSecure: boolean
  readonly user?: string
}

export const natsServersPattern = '^(nats|tls)://.+$'

const serversMax = 16
const defaultPort = 4222
const remedy =
  'write nats://HOST:PORT or tls://HOST:PORT, several after commas, such as nats://10.0.0.1:4222,10.0.0.2:4222'

/** One text, or a list of them. */
export function readNatsServers(input: unknown): Reading<NatsServers> {
  const texts = (Array.isArray(input) ? input : [input]) as readonly unknown[]
  const parts: Server[] = []
  for (const text of texts) {
    if (typeof text !== 'string' || text === '') return wrong(`${shown(text)} is not a NATS server`, remedy)
    let scheme: Scheme | undefined
    for (const part of text.split(',')) {
      const reading = readServer(part.trim(), scheme)
      if (!reading.ok) return reading
      scheme = reading.value.scheme
      parts.push(reading.value)
    }
  }
  return together(parts)
}

type Scheme = 'nats' | 'tls'

interface Server {
  readonly scheme: Scheme
  readonly user: string | undefined
  readonly server: string
}

/** The scheme may be left out behind a comma. */
function readServer(text: string, before: Scheme | undefined): Reading<Server> {
  const match = /^(?:(nats|tls):\/\/)?(?:([^@/]*)@)?(?:\[([^\]]*)\]|([^:[\]/@]+))(?::(\d{1,5}))?\/?$/.exec(text)
  const secret = /^[^@]*:[^@/]*@/.test(text.replace(/^\w+:\/\//, ''))
  // The text itself is not repeated: it would be in a log next.
  if (secret)
    return wrong('a password does not belong in this file', 'write it into keys/nats/password in the state directory')
  const scheme = (match?.[1] as Scheme | undefined) ?? before
  if (match === null || scheme === undefined) return wrong(`${shown(text)} is not a NATS server`, remedy)
  const host = readHost(match[3] ?? match[4])
  if (!host.ok) return wrong(`${shown(text)}: ${host.message}`, remedy)
  if ((match[3] !== undefined) !== host.value.includes(':'))
    return wrong(`${shown(text)} has no host in brackets`, remedy)
  const port = match[5] === undefined ? defaultPort : Number(match[5])
  if (port < 1 || port > 65_535) return wrong(`${shown(text)}: port ${port} is not between 1 and 65535`, remedy)
  const user = match[2]
  if (user !== undefined && !/^[A-Za-z0-9_.-]{1,64}$/.test(user)) {
    return wrong(`${shown(user)} is not a user's name`, 'write letters, digits, dots, hyphens and underscores')
  }
  return right({ scheme, user, server: `${match[3] === undefined ? host.value : `[${host.value}]`}:${port}` })
}

function together(parts: readonly Server[]): Reading<NatsServers> {
  const [first] = parts
  if (first === undefined) return wrong('no server is named', remedy)
  if (parts.length > serversMax) return wrong(`these are ${parts.length} servers`, `name at most ${serversMax}`)
  const servers = parts.map(({ server }) => server)
  const twice = servers.find((server, index) => servers.indexOf(server) !== index)
  if (twice !== undefined) return wrong(`${twice} is named twice`, 'name each server once')
  if (parts.some(({ scheme }) => scheme !== first.scheme)) {
    return wrong('some servers are to speak TLS and some are not', 'write nats:// or tls:// for all of them')
  }
  const users = new Set(parts.flatMap(({ user }) => user ?? []))
  if (users.size > 1) return wrong('the servers have different users', 'write one user for all of them, or none')
  const [user] = users
  return right({ servers, isSecure: first.scheme === 'tls', ...(user === undefined ? {} : { user }) })
}
