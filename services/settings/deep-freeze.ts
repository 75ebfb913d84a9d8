/**
 * Freezes a tree of plain values, so that a record that was checked stays as it was checked. The tree has no cycles: it comes
 * from a file.
 */

export function deepFreeze<Value>(value: Value): Value {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    for (const inner of Object.values(value)) deepFreeze(inner)
    Object.freeze(value)
  }
  return value
}
