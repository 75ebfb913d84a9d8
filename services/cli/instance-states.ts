/** Reading what instances say of themselves. A record that is none is passed over: anybody may write to the hub. */

import type { Json } from '../contract/coordination.ts'
import type { InstanceState } from '../contract/operations.ts'

export function readState(value: Json): InstanceState | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const state = value as Readonly<Record<string, unknown>>
  const { id, phase, pid, epoch, at, startedAt, listeners, load } = state
  const words = [id, phase].every((one) => typeof one === 'string')
  const numbers = [pid, epoch, at, startedAt].every((one) => typeof one === 'number')
  const parts = Array.isArray(listeners) && typeof load === 'object' && load !== null
  return words && numbers && parts ? (value as unknown as InstanceState) : undefined
}

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
