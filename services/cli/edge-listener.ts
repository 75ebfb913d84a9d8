/** Where a command on this machine reaches the cluster's edge: the submission listener, or the plain one. */

import type { Layout } from '../contract/layout.ts'
import type { SubmitTarget } from './submit.ts'

/** Throws where no edge listens for SMTP. */
export function submitTargetOf(layout: Layout): SubmitTarget {
  const listeners = layout.edges.flatMap((edge) => edge.listeners)
  const listener = listeners.find(({ kind }) => kind === 'submission') ?? listeners.find(({ kind }) => kind === 'smtp')
  if (listener === undefined) throw new Error('no edge of this layout listens for SMTP or submission')
  return { host: reachable(listener.host), port: listener.port, helloName: layout.cluster }
}

/** An address that means "all of mine" is reached by loopback. */
export function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  return host === '::' ? '::1' : host
}
