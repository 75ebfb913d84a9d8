/**
 * What a control directory needs to become another: files to write, to remove, to leave. Pure; the caller owns the disk, and
 * passes only files of ours as existing, so that nothing of the operator's is removed.
 */

import type { ControlFiles } from './control-files.ts'

export interface ControlDifference {
  readonly write: ControlFiles
  readonly remove: readonly string[]
  readonly same: readonly string[]
}

/** Relative paths to texts, both. */
export function diffControl(existing: ControlFiles, wanted: ControlFiles): ControlDifference {
  const write = new Map([...wanted].filter(([path, text]) => existing.get(path) !== text))
  const remove = [...existing.keys()].filter((path) => !wanted.has(path))
  const same = [...wanted.keys()].filter((path) => !write.has(path))
  return { write, remove, same }
}
