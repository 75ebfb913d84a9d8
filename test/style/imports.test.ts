/** Imports point down, tiers never meet, and each outside package has its door. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { filesPerDoor, importExceptions, importRules, packageDoors } from './import-table.ts'
import { cyclesOf, type Import, importsOf } from './imports.ts'
import { sourcesBelow } from './source-files.ts'

/** Of `@scope/name/file`, `@scope/name`. */
function packageOf({ target }: Import): string {
  return target
    .split('/')
    .slice(0, target.startsWith('@') ? 2 : 1)
    .join('/')
}

/** Why an import is not allowed; undefined where it is. */
function objection(one: Import): string | undefined {
  const file = one.from.slice('services/'.length)
  const rule = importRules.find((candidate) => file.startsWith(`${candidate.of}/`))
  if (rule === undefined) return 'no row in the import table for this folder'
  if (one.target.startsWith('node:')) return rule.platform ? undefined : 'may not import the platform'
  if (one.target.startsWith('services/')) {
    const target = one.target.slice('services/'.length)
    const allowed = [rule.of, ...rule.folders].some((folder) => target.startsWith(`${folder}/`))
    if (allowed) return undefined
    const excused = importExceptions.some((entry) => entry.file === file && target.startsWith(`${entry.imports}/`))
    return excused ? undefined : `may not import ${target}`
  }
  if (one.target.startsWith('test/')) return 'nothing imports test'
  const name = packageOf(one)
  if (!rule.packages.includes(name)) return `may not import the package ${one.target}`
  const doors = packageDoors[name] ?? []
  const through = doors.some((door) => (door.endsWith('/') ? file.startsWith(door) : file === door))
  return through ? undefined : `${name} is imported only by ${doors.join(', ')}`
}

const services = sourcesBelow('services')
const imports = services.flatMap(importsOf)

test('every folder with a row in the import table has files', () => {
  for (const rule of importRules) {
    assert.ok(
      services.some((file) => file.path.startsWith(`services/${rule.of}/`)),
      `services/${rule.of} has no files: its row checks nothing`,
    )
  }
  assert.ok(imports.length > services.length / 2, `only ${imports.length} imports seen in ${services.length} files`)
})

test('every folder of services has a row', () => {
  const known = new Set(importRules.map((rule) => rule.of))
  const unknown = services.filter((file) => !known.has(file.path.split('/')[1] ?? ''))
  assert.deepEqual(
    unknown.map((file) => file.path),
    [],
  )
})

test('imports point only where the table allows', () => {
  const wrong = imports.flatMap((one) => {
    const why = objection(one)
    return why === undefined ? [] : [`${one.from}: ${why}`]
  })
  assert.deepEqual(wrong, [])
})

test('the check would see a violation', () => {
  const from = (path: string, target: string): Import => ({ from: path, target, typeOnly: false })
  assert.match(objection(from('services/protocol/netstring.ts', 'node:fs')) ?? '', /platform/)
  assert.match(objection(from('services/edge/session.ts', 'services/queue/instance.ts')) ?? '', /may not import queue/)
  assert.match(objection(from('services/queue/instance.ts', 'services/bounce/policy.ts')) ?? '', /bounce/)
  assert.match(objection(from('services/cli/up.ts', 'services/control/drain/plan.ts')) ?? '', /control/)
  assert.match(objection(from('services/runtime/clock.ts', 'test/support/child.ts')) ?? '', /test/)
  assert.match(objection(from('services/settings/conf-qmq.ts', 'yaml')) ?? '', /yaml is imported only by/)
  assert.equal(objection(from('services/cli/up.ts', 'services/control/layout/compile.ts')), undefined)
})

test('each outside package has its door, and nobody stands beside it', () => {
  for (const [name, most] of Object.entries(filesPerDoor)) {
    const importers = new Set(imports.filter((one) => packageOf(one) === name).map((one) => one.from))
    assert.ok(importers.size >= 1, `no file imports ${name}: take it out of package.json or of the table`)
    assert.ok(importers.size <= most, `${name} is imported by ${[...importers].join(', ')}`)
  }
})

test('every exception is still needed', () => {
  for (const entry of importExceptions) {
    const used = imports.some(
      (one) => one.from === `services/${entry.file}` && one.target.startsWith(`services/${entry.imports}/`),
    )
    assert.ok(used, `${entry.file} no longer imports ${entry.imports}: take the exception out`)
  }
})

test('no circular imports', () => {
  const all = [...imports, ...sourcesBelow('test').flatMap(importsOf)]
  assert.deepEqual(cyclesOf(all), [])
  const planted: Import[] = [
    { from: 'a', target: 'b', typeOnly: false },
    { from: 'b', target: 'a', typeOnly: false },
  ]
  assert.deepEqual(cyclesOf(planted), [['a', 'b', 'a']])
})
