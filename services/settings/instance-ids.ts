/**
 * Instance numbers as the layout writes them: `00`, `01-09`, or a list of these. Always decimal: 08 and 09 are eight and
 * nine, which the historical generator's shell arithmetic took for broken octal numbers.
 */

import { type Reading, right, shown, wrong } from './reading.ts'

export const instanceNumberMax = 99
export const instanceIdsPattern = '^[0-9]{1,2}(-[0-9]{1,2})?$'

const remedy = 'write two digits, a run such as 01-09, or a list such as [01, 05-07]; ids go from 00 to 99'

/** The numbers in the order written; at least one, none twice. */
export function readInstanceIds(input: unknown): Reading<readonly number[]> {
  const items: readonly unknown[] = Array.isArray(input) ? input : [input]
  const numbers: number[] = []
  for (const item of items) {
    const run = readRun(item)
    if (!run.ok) return run
    for (const number of run.value) {
      if (numbers.includes(number)) return wrong(`id ${instanceId(number)} is written twice`, 'write each id once')
      numbers.push(number)
    }
  }
  return numbers.length > 0 ? right(numbers) : wrong('the list of ids is empty', remedy)
}

function readRun(item: unknown): Reading<readonly number[]> {
  const match = typeof item === 'string' || typeof item === 'number' ? /^(\d+)(?:-(\d+))?$/.exec(String(item)) : null
  if (match === null) return wrong(`${shown(item)} is not an instance id`, remedy)
  const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])]
  if (first > instanceNumberMax || last > instanceNumberMax) return wrong(`${shown(item)} goes past 99`, remedy)
  if (last < first) return wrong(`${shown(item)} runs backwards`, remedy)
  return right(Array.from({ length: last - first + 1 }, (_, index) => first + index))
}

/** Two digits. */
export function instanceId(number: number): string {
  return String(number).padStart(2, '0')
}
