/**
 * An amount divided among those who want some of it, by largest remainder. Pure.
 *
 * Where there is enough, everybody gets what he wants, and what is left over is divided evenly, so that a burst need not wait for the next
 * round. Where there is not, everybody who wants gets one while that is possible, and of the rest a part like his want.
 */

export function divide(amount: number, wants: readonly number[]): readonly number[] {
  const whole = wants.reduce((sum, want) => sum + want, 0)
  if (whole <= amount) {
    const spare = inProportion(
      amount - whole,
      wants.map(() => 1),
    )
    return wants.map((want, index) => want + (spare[index] ?? 0))
  }
  const wanting = wants.filter((want) => want > 0).length
  const least = amount >= wanting ? 1 : 0
  const rest = inProportion(
    amount - least * wanting,
    wants.map((want) => (want > 0 ? want - least : 0)),
  )
  return wants.map((want, index) => (want > 0 ? least : 0) + (rest[index] ?? 0))
}

/** The parts are whole and their sum is `amount`, unless all weights are 0. */
function inProportion(amount: number, weights: readonly number[]): readonly number[] {
  const whole = weights.reduce((sum, weight) => sum + weight, 0)
  if (whole === 0) return weights.map(() => 0)
  const exact = weights.map((weight) => (amount * weight) / whole)
  const parts = exact.map(Math.floor)
  const left = amount - parts.reduce((sum, part) => sum + part, 0)
  const remainders = exact.map((part, index) => ({ index, remainder: part - Math.floor(part) }))
  const first = remainders.toSorted((one, other) => other.remainder - one.remainder || one.index - other.index)
  for (const { index } of first.slice(0, left)) parts[index]! += 1
  return parts
}
