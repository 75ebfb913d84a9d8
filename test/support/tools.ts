/**
 * Other people's mail programs, for tests that need a real peer.
 *
 * `.ci/tools` knows where they come from and installs what is missing; that takes root. A test whose program is missing
 * therefore skips with that reason for other users, and fails for root.
 */

import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { TestContext } from 'node:test'
import { runWell } from './child.ts'

const script = new URL('../../.ci/tools', import.meta.url).pathname
const alsoIn = ['/usr/sbin', '/sbin', '/usr/local/sbin']

export function findTool(name: string): string | undefined {
  const { PATH = '' } = process.env
  if (name.startsWith('/')) return existsSync(name) ? name : undefined
  const folders = [...PATH.split(delimiter), ...alsoIn]
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path))
}

/** False: the test has been skipped, with the reason. */
export async function haveTools(context: TestContext, names: readonly string[]): Promise<boolean> {
  const missing = names.filter((name) => findTool(name) === undefined)
  if (process.getuid?.() !== 0) {
    context.skip(`needs root to run ${names.join(', ')} as a mail server does`)
    return false
  }
  if (missing.length > 0) await runWell(script, [])
  const still = names.filter((name) => findTool(name) === undefined)
  if (still.length > 0) throw new Error(`${script} did not install ${still.join(', ')}`)
  return true
}

/** The path of a program that must be there. */
export function tool(name: string): string {
  const path = findTool(name)
  if (path === undefined) throw new Error(`${name} is not installed; run .ci/tools as root`)
  return path
}
