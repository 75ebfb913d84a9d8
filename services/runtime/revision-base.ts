/**
 * Revisions rise for ever, also over a store that was lost and counts from 1 again: they are counted on from the second the store was made
 * in. Two lives of a store cannot meet unless one took more than `changesPerSecondMax` changes a second from its first to its last. Both
 * back ends count so, and a fencing number of the one is comparable with one of the other.
 */

const changesPerSecondMax = 2 ** 22
const originMs = Date.UTC(2020, 0, 1)

/** `createdMs`: when the store was made, by its clock. */
export function revisionBase(createdMs: number): number {
  return Math.max(0, Math.floor((createdMs - originMs) / 1000)) * changesPerSecondMax
}
