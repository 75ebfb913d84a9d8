/** Shared state as an edge holds it: always there, following the layout, and able to say how it stands. */

import type { Layout } from '../contract/layout.ts'
import type { SharedState, SharedStateStatus } from '../contract/shared-state.ts'
import { FallbackSharedState } from './fallback-shared-state.ts'
import { LocalSharedState } from './local-shared-state.ts'
import type { Clock } from './world.ts'

export interface SharedStateSource {
  /** The same one whatever the layout says. */
  readonly state: SharedState
  /** Absent: no server is wanted. */
  readonly status: SharedStateStatus | undefined
  apply(layout: Layout): void
  close(): void
}

/** Of this process alone. */
export function ownSharedState(clock: Clock): SharedStateSource {
  const state = new FallbackSharedState(new LocalSharedState(clock))
  return { state, status: undefined, apply: () => {}, close: () => state.close() }
}
