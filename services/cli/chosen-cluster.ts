/**
 * Which cluster a command means: the one of `--context`; else the one whose conf-qmq or state is named; else the one chosen by `qmq context
 * use`; else the one of ./conf-qmq.
 */

import { readContexts } from './contexts.ts'
import type { RemoteCluster, Verb } from './verb.ts'

interface Named {
  readonly conf: string | undefined
  readonly state: string | undefined
  readonly context: string | undefined
}

/** The cluster of a context, undefined where it is one of this host, or in words why neither can be. */
export async function chosenRemote(
  named: Named,
  verb: Verb,
  contextsFile: string | undefined,
): Promise<RemoteCluster | string | undefined> {
  if (verb.placeless === true || contextsFile === undefined) return undefined
  const { context, conf, state } = named
  if (context === undefined && (verb.remote !== true || conf !== undefined || state !== undefined)) return undefined
  const { current, clusters } = await readContexts(contextsFile)
  const name = context ?? current
  if (name === '') return undefined
  if (verb.remote !== true) return `qmq ${verb.name} works on the state of a cluster on this host alone`
  return (
    clusters.find((cluster) => cluster.name === name) ??
    `there is no context ${name} in ${contextsFile}: qmq context ls`
  )
}
