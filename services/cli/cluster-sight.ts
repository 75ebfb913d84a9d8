/**
 * The status of the cluster, from whoever can tell it: the control plane, or, where none runs on this state, what its processes say to the
 * hub themselves.
 */

import { type ClusterStatus, clusterStatus } from '../contract/cluster-status.ts'
import { ClusterClient } from './cluster-client.ts'
import { ControlClient } from './control-client.ts'
import type { Context } from './verb.ts'

/** Heartbeats come every second; past this a process is stuck. */
const staleMs = 10_000

export interface Seen {
  readonly status: ClusterStatus
  /** Why it may not be all there is, and what can be done. One line each, for the user. */
  readonly notes: readonly string[]
}

export interface ClusterSight {
  look(): Promise<Seen>
  close(): void
}

/** Rejects, in words for the user, where there is no cluster to be seen. */
export async function openSight(context: Context): Promise<ClusterSight> {
  if (context.remote !== undefined) return await controlSight(context)
  return localSight(context)
}

async function controlSight(context: Context): Promise<ClusterSight> {
  const client = await ControlClient.open(context)
  return {
    look: async () => {
      const { status } = await client.must<{ status: ClusterStatus }>('ClusterService', 'GetStatus', {})
      return { status, notes: placeNotes(status) }
    },
    close: () => client.close(),
  }
}

function localSight(context: Context): ClusterSight {
  const { clock } = context.world
  return {
    look: async () => {
      const client = await ClusterClient.open(context)
      try {
        const heard = await client.states()
        const states = heard.kind === 'heard' ? heard.states : new Map()
        const leads = [...states.values()].find((state) => state.control?.fence !== undefined)
        const plans = leads?.control?.plans ?? []
        const waiting = new Map<string, readonly string[]>(
          plans.map(({ plan, why }: { plan: string; why: readonly string[] }) => [plan, why]),
        )
        const view = { layout: client.layout, states, leader: leads?.id, waiting, now: clock.now() }
        const status = clusterStatus(view, (state, now) => state === undefined || now - state.at > staleMs)
        return { status, notes: [...(heard.kind === 'heard' ? heard.notes : [heard.why]), ...placeNotes(status)] }
      } finally {
        client.close()
      }
    },
    close: () => {},
  }
}

function placeNotes({ places }: ClusterStatus): readonly string[] {
  return places.flatMap(({ id, why }) => (why === '' ? [] : [`${id}: ${why}`]))
}
