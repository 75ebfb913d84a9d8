/** Asking the journal of an instance that is not running, by its own program: the command itself knows no journal. */

import { runProgram } from './program-runner.ts'
import { tierProgram } from './software.ts'

const lookTimeoutMs = 600_000
/** Each reads a whole journal and keeps its index in memory. */
const looksAtOnceMax = 4

/** Rejects with the program's own words. */
export async function askOffline(
  verb: 'audit' | 'list' | 'verify',
  state: string,
  id: string,
  words: readonly string[] = [],
): Promise<unknown> {
  const [program, ...rest] = tierProgram({ tier: 'queue', id, state }, verb, words)
  const result = await runProgram(program, rest, lookTimeoutMs)
  if (result.kind === 'missing') throw new Error(`${program} is not there`)
  if (result.code !== 0) throw new Error(result.stderr.trim())
  return JSON.parse(result.stdout)
}

/** `look` for every place, few of them at once; results in the order of the places. */
export async function lookOffline<Place, Result>(
  places: readonly Place[],
  look: (place: Place) => Promise<Result>,
): Promise<readonly Result[]> {
  const results = new Map<Place, Result>()
  const waiting = places.values()
  const work = async () => {
    for (const place of waiting) results.set(place, await look(place))
  }
  await Promise.all(Array.from({ length: looksAtOnceMax }, work))
  return places.map((place) => results.get(place) as Result)
}
