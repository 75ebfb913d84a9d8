/**
 * What runs the places of a layout: a supervisor of child processes, daemontools, jails, systemd, Kubernetes. A driver is told nothing of
 * mail and decides nothing: it makes what runs the same as what the layout in force says, and the layout lets a place go only when it is
 * empty and sealed, or parked on purpose. Pure; the driver owns the processes.
 *
 * `local` is the supervisor in `qmq up` (`cli/cluster-tree.ts`). Others must keep these rules:
 * - the layout is durable on the host before anything is started or stopped by it;
 * - a stop is the clean one, and long enough for running hand-overs; a place that is gone from the layout keeps its home, journal and seal;
 * - what the platform starts or stops by itself changes no layout: a place that does not run is lost until it is back.
 */

import type { Layout } from '../../contract/layout.ts'
import type { TierKind } from '../../runtime/tier-layout.ts'

export interface RunningPlace {
  readonly id: string
  readonly tier: TierKind
}

export interface PlatformDriver {
  /** Starts the place, and again whenever it ends. Its home and control files are there. */
  start(place: RunningPlace): void
  /** The clean stop. Resolves when its process has ended; the place may be started anew before that. */
  stop(place: RunningPlace): Promise<void>
  /** What it keeps running now. */
  observe(): readonly RunningPlace[]
}

/** Every place that should run: all but the parked instances. Queues first, since edges need them. */
export function placesToRun({ instances, edges, control }: Layout): readonly RunningPlace[] {
  const queues = instances.filter(({ standing }) => standing !== 'parked')
  return [
    ...queues.map(({ id }) => ({ id, tier: 'queue' as const })),
    ...edges.map(({ id }) => ({ id, tier: 'edge' as const })),
    ...control.map(({ id }) => ({ id, tier: 'control' as const })),
  ]
}

export interface PlatformChange {
  readonly start: readonly RunningPlace[]
  readonly stop: readonly RunningPlace[]
}

export function platformChange(layout: Layout, running: readonly RunningPlace[]): PlatformChange {
  const wanted = placesToRun(layout)
  return { start: missing(wanted, running), stop: missing(running, wanted) }
}

function missing(from: readonly RunningPlace[], among: readonly RunningPlace[]): readonly RunningPlace[] {
  const ids = new Set(among.map(({ id }) => id))
  return from.filter(({ id }) => !ids.has(id))
}
