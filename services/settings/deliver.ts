/**
 * Where a pool's mail goes next: `maildir`, `mx`, `hold`, `smtp:HOST:PORT`, `qmtp:HOST:PORT`; an IPv6 host in brackets.
 * Without a port: 25, or 209 for QMTP.
 */

import type { DeliverSpec } from '../contract/layout.ts'
import { readHost } from './network.ts'
import { type Reading, right, shown, wrong } from './reading.ts'

export const deliverPattern = '^(maildir|mx|hold|(smtp|qmtp):.+)$'

const remedy =
  'write maildir, mx, hold, smtp:HOST:PORT or qmtp:HOST:PORT, such as smtp:exchange.example.com:25 or smtp:[::1]:25'
const defaultPort = { smtp: 25, qmtp: 209 } as const

export function readDeliver(input: unknown): Reading<DeliverSpec> {
  if (input === 'maildir' || input === 'mx' || input === 'hold') return right({ kind: input })
  const match =
    typeof input === 'string' ? /^(smtp|qmtp):(?:\[([^\]]*)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(input) : null
  if (match === null) return wrong(`${shown(input)} is not a way to deliver`, remedy)
  const kind = match[1] as 'smtp' | 'qmtp'
  const host = readHost(match[2] ?? match[3])
  if (!host.ok) return wrong(`${shown(input)}: ${host.message}`, remedy)
  if (match[2] !== undefined && !host.value.includes(':'))
    return wrong(`${shown(input)} has brackets around no IPv6 address`, remedy)
  const port = match[4] === undefined ? defaultPort[kind] : Number(match[4])
  if (port < 1 || port > 65_535) return wrong(`${shown(input)}: port ${port} is not between 1 and 65535`, remedy)
  return right({ kind, host: host.value, port })
}

/** The form `readDeliver` reads. */
export function writeDeliver(deliver: DeliverSpec): string {
  if (deliver.kind !== 'smtp' && deliver.kind !== 'qmtp') return deliver.kind
  const host = deliver.host.includes(':') ? `[${deliver.host}]` : deliver.host
  return `${deliver.kind}:${host}:${deliver.port}`
}
