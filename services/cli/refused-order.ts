/** What a call that did not end well means for the user, and for the exit code: his mistake is 2, ours or the cluster's state is 1. */

import type { RpcFailure } from '../runtime/rpc-client.ts'
import type { Context, ExitCode } from './verb.ts'

const mistakes: ReadonlySet<string> = new Set(['INVALID_ARGUMENT', 'NOT_FOUND', 'OUT_OF_RANGE'])

export function complainOf(context: Context, { code, why }: RpcFailure): ExitCode {
  const away = code === 'UNAVAILABLE' ? 'the control plane cannot do it now: ' : ''
  context.complain(`${away}${why}`)
  return mistakes.has(code) ? 2 : 1
}
