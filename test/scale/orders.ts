/**
 * An operator who wants a pool to have a number of instances and does not give up: gives the order by the command, and gives it again when
 * the command or what it spoke to has died, until the layout says that it is so.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { ScaleWorld } from './scale-world.ts'

export const pool = 'CUSTOMER_1'

export interface Order {
  readonly count: number
  readonly tries: number
  readonly seconds: number
  /** The last line the command answered, of the try that went through. */
  readonly answer: unknown
  /** What it said of the tries that did not. */
  readonly complaints: readonly string[]
}

const againMs = 500

export async function scaleTo(
  world: Pick<ScaleWorld, 'order' | 'watch'>,
  count: number,
  patienceMs: number,
): Promise<Order> {
  const begun = performance.now()
  const complaints: string[] = []
  for (let tries = 1; ; tries++) {
    const verb = ['scale', `${pool}=${count}`, '--yes', '--reason', 'a test', '-o', 'json']
    const finished = await world.order(verb, tries)
    const { layout, plan } = await world.watch.look()
    const takers = layout.instances.filter((instance) => instance.pool === pool && instance.standing === 'active')
    const all = layout.instances.filter((instance) => instance.pool === pool)
    const isSo = plan === undefined && takers.length === count && all.length === count
    const seconds = (performance.now() - begun) / 1000
    if (isSo) return { count, tries, seconds, answer: lastLine(finished.stdout), complaints }
    const said = `exit ${finished.code}: ${(finished.stderr.trim() || finished.stdout.trim()).slice(-300)}`
    if (complaints.at(-1) !== said) complaints.push(said)
    if (seconds * 1000 > patienceMs) {
      const where = `${takers.length} active of ${all.length}, plan ${JSON.stringify(plan)}`
      throw new Error(
        `not scaled to ${count} after ${Math.round(seconds)} s: ${where}; ${complaints.slice(-3).join(' | ')}`,
      )
    }
    await sleep(againMs)
  }
}

/** Parsed; the text itself where it is no JSON. */
function lastLine(stdout: string): unknown {
  const line = stdout.trimEnd().split('\n').at(-1) ?? ''
  try {
    return JSON.parse(line)
  } catch {
    return line
  }
}
