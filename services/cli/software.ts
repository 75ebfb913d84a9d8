/** Which qmq this is, and where its programs are. */

import fs from 'node:fs'
import path from 'node:path'
import type { TierKind } from '../runtime/tier-layout.ts'

const services = path.join(import.meta.dirname, '..')

export function softwareVersion(): string {
  const text = fs.readFileSync(path.join(services, '../package.json'), 'utf8')
  const parsed: { readonly version?: unknown } = JSON.parse(text)
  return String(parsed.version)
}

/** Path of a tier's program. */
export function tierProgram(tier: TierKind): string {
  return path.join(services, tier, 'main.ts')
}
