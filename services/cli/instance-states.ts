/** What instances say of themselves, in words for people. */

import type { InstanceState } from '../contract/operations.ts'

/** Up to date and at work. A process on another epoch carries mail, but not by the layout in force. */
export function isReady(state: InstanceState, epoch: number): boolean {
  return state.phase === 'ready' && state.epoch === epoch
}

/** `refusing: no queue instance can be reached`, `ready, but on epoch 3 instead of 4`. */
export function describeState(state: InstanceState | undefined, epoch: number): string {
  if (state === undefined) return 'no process has reported yet'
  const { phase, why, epoch: own } = state
  const said = why === undefined ? phase : `${phase}: ${why}`
  return own === epoch ? said : `${said}, but on epoch ${own} instead of ${epoch}`
}
