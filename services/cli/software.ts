/** Which qmq this is, and the one way its tiers are started: by `up`, by `run`, and to look at a journal offline. */

import fs from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import type { TierKind } from '../runtime/tier-layout.ts'

const services = path.join(import.meta.dirname, '..')

export function softwareVersion(): string {
  const text = fs.readFileSync(path.join(services, '../package.json'), 'utf8')
  const parsed: { readonly version?: unknown } = JSON.parse(text)
  return String(parsed.version)
}

interface TierPlace {
  readonly tier: TierKind
  readonly id: string
  /** The state directory. */
  readonly state: string
}

/** Program and arguments: this Node with its own flags, not announcing at every start that it runs TypeScript. */
export function tierProgram(
  place: TierPlace,
  verb: 'run' | 'audit' | 'list' | 'verify',
  words: readonly string[] = [],
): readonly [string, ...string[]] {
  const flags = [...process.execArgv, '--disable-warning=ExperimentalWarning']
  const where = ['--state', place.state, '--id', place.id]
  return [process.execPath, ...flags, path.join(services, place.tier, 'main.ts'), verb, ...where, ...words]
}
