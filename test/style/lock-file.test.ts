/**
 * `npm ci` refuses a lock file that lacks any package another one names, even one for another platform; and where a registry
 * does not carry that package, npm writes such a lock file itself.
 */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

interface Locked {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly resolved?: string
}

const lock = JSON.parse(readFileSync(new URL('../../package-lock.json', import.meta.url), 'utf8')) as {
  readonly packages: Readonly<Record<string, Locked>>
}

test('the lock file holds every package that another one names', () => {
  const packages = Object.entries(lock.packages)
  assert.ok(packages.length > 20)
  const missing = packages.flatMap(([path, { dependencies, optionalDependencies }]) =>
    Object.keys({ ...dependencies, ...optionalDependencies }).filter((name) => !isLocked(path, name)),
  )
  assert.deepEqual(missing, [])
})

test('the lock file names no place to download from', () => {
  for (const [path, locked] of Object.entries(lock.packages)) assert.equal(locked.resolved, undefined, path)
})

/** Node's look-up: in the package's own folder, then in each one above. */
function isLocked(path: string, name: string): boolean {
  for (let folder = path; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
    const found = folder === '' ? `node_modules/${name}` : `${folder}/node_modules/${name}`
    if (lock.packages[found] !== undefined) return true
    if (folder === '') return false
  }
}
